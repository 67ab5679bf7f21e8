"""The pages that are made from the code are up to date, and say what they have to."""

import json
import re
from pathlib import Path

import pytest

from app.config import Settings
from app.metrics import CATALOGUE
from app.metrics.metric import Kind
from tests.test_config import SECRETS
from tools.docs import PAGES
from tools.docs.__main__ import DOCS, main
from tools.docs.settings import settings_table


def written(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_the_codes(name: str) -> None:
    assert written(name) == PAGES[name](), "run: make docs"


def test_the_command_writes_the_pages(tmp_path: Path) -> None:
    main([str(tmp_path)])
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {
        name: page() for name, page in PAGES.items()
    }


def test_each_metric_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", written("metrics.md"), re.MULTILINE)
    assert rows == [(metric.name, metric.kind.value) for metric in CATALOGUE]


def test_each_setting_has_its_row() -> None:
    rows = re.findall(r"^\| `GATEWAY_(\w+)`", settings_table(), re.MULTILINE)
    assert sorted(rows) == sorted(name.upper() for name in Settings.model_fields)


def test_the_table_marks_secrets() -> None:
    rows = settings_table().splitlines()
    secret = {row.split("`")[1] for row in rows if "(secret)" in row}
    assert secret == {f"GATEWAY_{name}" for name in SECRETS}


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    panels = [one for one in json.loads(written("dashboard.json"))["panels"] if "targets" in one]
    known = {metric.name: metric for metric in CATALOGUE}
    shown = set[str]()
    for panel in panels:
        for target in panel["targets"]:
            (name,) = re.findall(r"kie_gateway_\w+", target["expr"])
            shown.add(name.removesuffix("_bucket"))
            metric = known[name.removesuffix("_bucket")]
            assert name.endswith("_bucket") == (metric.kind is Kind.HISTOGRAM)
            assert ("rate(" in target["expr"]) == (metric.kind is not Kind.GAUGE)
            grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
            labels = {label for one in grouped for label in one.split(", ")}
            assert labels <= {*metric.labels, "le"}
            assert target["expr"].count("(") == target["expr"].count(")")
    assert shown == set(known)
    places = {(one["gridPos"]["x"], one["gridPos"]["y"]) for one in panels}
    assert len(places) == len(panels)
