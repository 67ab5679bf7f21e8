"""The pages that are made from the code are up to date, and say what they have to."""

import re
from pathlib import Path

import pytest

from app.config import Settings
from app.metrics import CATALOGUE
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
    assert rows == [name.upper() for name in Settings.model_fields]


def test_the_table_marks_secrets_and_what_has_no_effect_yet() -> None:
    rows = settings_table().splitlines()
    secret = {row.split("`")[1] for row in rows if "(secret)" in row}
    assert secret == {f"GATEWAY_{name}" for name in SECRETS}
    idle = {row.split("`")[1] for row in rows if "(not in effect yet)" in row}
    assert "GATEWAY_KIE_UPLOAD_URL" in idle
    assert not [name for name in idle if name.startswith("GATEWAY_DELIVERY")]
    assert not {"GATEWAY_EGRESS_PROXY", "GATEWAY_KIE_CREATES_PER_10S"} & idle
    assert not {"GATEWAY_KIE_MAX_RUNNING", "GATEWAY_ADMIN_KEY"} & idle
