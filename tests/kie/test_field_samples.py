"""What was reported from the field: each payload, and what the gateway makes of it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.domain import exact_json
from app.domain.report import Answered, Progress, Report
from app.domain.submission import Accepted, Fault, Outcome, Refused
from app.kie import wire

SAMPLES = Path(__file__).parent / "field_samples"

ID = "738a001e654c7be865970326162fdc65"
CALLBACK = "https://gateway.test/callbacks/kie/1/t"

CREATES: dict[str, Outcome] = {
    "field-c01-create-500-value-not-allowed": Refused(
        fault=Fault.REQUEST,
        code="500",
        message="output_format is not within the range of allowed options",
    ),
    "field-c07-create-code-zero": Accepted(kie_task_id=ID),
}

LATE, OUT = f"https://example.com/late-{ID}.png", f"https://example.com/out-{ID}.png"
TIMEOUT = ("failed", (), "524", "generate task timeout.")
BLOCKED = ("failed", (), "422", "blocked")


def good(*urls: str) -> tuple[str, Sequence[str], None, None]:
    return "succeeded", urls, None, None


REPORTS: dict[str, tuple[list[object], list[object]]] = {
    "field-k01-callback-fail-524-then-success": ([TIMEOUT, good(LATE)], [TIMEOUT, good(OUT)]),
    "field-k05-resulturls-as-json-text": (
        [good("https://example.com/a.mp4")],
        [good("https://example.com/a.mp4")],
    ),
    "field-k14-state-failed-word": ([BLOCKED], [BLOCKED]),
    "field-k18-success-callback-without-result": ([good()], [good(OUT)]),
    "field-k20-callback-without-credits": ([good("https://example.com/a.png")], [good(OUT)]),
}
"""By sample: what its callbacks say, and what kie.ai's record says."""


def fake(name: str) -> dict[str, Any]:
    text = (SAMPLES / f"{name}.json").read_text()
    found: dict[str, Any] = json.loads(text.replace("{ID}", ID).replace("{CB}", CALLBACK))["fake"]
    return found


def body(step: dict[str, Any]) -> bytes:
    return exact_json.render(step["body"]).encode()


def essence(report: Report) -> object:
    assert report.kie_task_ids == (ID,)
    return report.progress.value, report.result_urls, report.fail_code, report.fail_message


def called(raw: bytes) -> Report:
    report = wire.read_callback(raw)
    assert isinstance(report, Report)
    return report


def asked(raw: bytes) -> Report:
    answer = wire.read_query(200, raw)
    assert isinstance(answer, Answered)
    if answer.report.progress is Progress.SUCCEEDED:
        assert answer.report.callback_url == CALLBACK
    return answer.report


@pytest.mark.parametrize("name", CREATES)
def test_each_create(name: str) -> None:
    assert wire.read_create(200, body(fake(name)["raw_create"])) == CREATES[name]


@pytest.mark.parametrize("name", REPORTS)
def test_each_report(name: str) -> None:
    callbacks, records = REPORTS[name]
    assert [essence(called(body(step))) for step in fake(name)["raw_cb"]] == callbacks
    assert [essence(asked(body(step))) for step in fake(name)["raw_rec"]] == records


def test_no_sample_is_left_out() -> None:
    assert {*CREATES, *REPORTS} == {path.stem for path in SAMPLES.glob("*.json")}
