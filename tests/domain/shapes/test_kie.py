"""kie.ai's own JSON as the gateway writes it, held against what was recorded of kie.ai."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.domain.exact_json import render
from app.domain.shapes.kie import STATES, callback, created, record
from app.domain.task import FINAL, State

SAMPLES = Path(__file__).parents[2] / "kie" / "samples"
CREATED = datetime(2026, 11, 23, 2, 0, 0, 123_999, tzinfo=UTC)
FINISHED = datetime(2026, 11, 23, 2, 0, 13, 500_000, tzinfo=UTC)
CREATED_MS, FINISHED_MS = 1795399200123, 1795399213500

QUEUED: dict[str, Any] = {
    "id": UUID("01a204db-c799-726c-9c4c-4d3992420ebb"),
    "state": "queued",
    "model": "google/nano-banana",
    "input": {"prompt": "a café", "seed": 12345678901234567890, "cfg": Decimal("7.10")},
    "webhook_url": "https://shop.test/kie?a=1",
    "kie_state": None,
    "result": None,
    "fail_code": None,
    "fail_message": None,
    "credits_consumed": None,
    "duration_seconds": None,
    "created_at": CREATED,
    "finished_at": None,
}
RESTS = {**QUEUED, "finished_at": FINISHED}
SUCCEEDED = {
    **RESTS,
    "state": "succeeded",
    "kie_state": "success",
    "result": {"resultUrls": ["https://r.test/1.png"], "seed": Decimal("1.50")},
    "credits_consumed": Decimal("4.5"),
    "duration_seconds": Decimal("12.7"),
}
FAILED = {
    **RESTS,
    "state": "failed",
    "kie_state": "fail",
    "fail_code": "500",
    "fail_message": "Internal server error",
    "credits_consumed": Decimal(0),
    "duration_seconds": Decimal(0),
}


def sample(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SAMPLES / name).read_text())["body"]
    return found


def kinds(data: dict[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in data.items()}


def written(value: dict[str, Any]) -> dict[str, Any]:
    """Take it as a client reads it."""
    found: dict[str, Any] = json.loads(render(value))
    return found


def test_created_has_both_ids() -> None:
    body = created(QUEUED["id"])
    assert body == {
        "code": 200,
        "msg": "success",
        "data": {"taskId": QUEUED["id"].hex, "recordId": QUEUED["id"].hex},
    }
    recorded = sample("01-market-create-ok.json")
    assert list(body) == list(recorded)
    assert list(body["data"]) == list(recorded["data"])


def test_a_waiting_record_has_the_members_that_were_recorded() -> None:
    data = written(record(QUEUED))
    recorded = sample("02-market-recordinfo-waiting.json")["data"]
    assert list(data) == list(recorded)
    assert kinds(data) == kinds(recorded)
    assert data["createTime"] == CREATED_MS


def test_a_success_has_the_members_that_were_recorded() -> None:
    data = written(record(SUCCEEDED))
    recorded = sample("09-market-recordinfo-success-creditsconsumed.json")["data"]
    assert list(data) == list(recorded)
    assert kinds(data) == kinds(recorded)
    assert (data["costTime"], data["completeTime"]) == (12, FINISHED_MS)
    assert data["creditsConsumed"] == 4.5
    assert json.loads(data["resultJson"])["resultUrls"] == ["https://r.test/1.png"]


def test_a_success_without_a_result_is_empty_text() -> None:
    assert record({**SUCCEEDED, "result": None})["resultJson"] == ""


def test_param_is_text_and_its_input_is_text_once_more() -> None:
    recorded = json.loads(sample("23-market-callback-success-seedream4.json")["data"]["param"])
    param = json.loads(record(QUEUED)["param"])
    assert list(param) == list(recorded)
    assert param["model"] == QUEUED["model"]
    assert param["callBackUrl"] == "https://shop.test/kie?a=1"
    assert param["input"] == '{"prompt":"a café","seed":12345678901234567890,"cfg":7.10}'


def test_without_a_url_there_is_none_in_param() -> None:
    assert list(json.loads(record({**QUEUED, "webhook_url": None})["param"])) == ["input", "model"]


@pytest.mark.parametrize("state", [State.QUEUED, State.SUBMITTING, State.UNCONFIRMED])
def test_what_kie_has_not_confirmed_waits(state: State) -> None:
    """Also where kie.ai had said something of an earlier attempt."""
    assert record({**QUEUED, "state": state.value, "kie_state": "generating"})["state"] == "waiting"


@pytest.mark.parametrize(
    ("said", "shown"),
    [(None, "waiting"), ("queuing", "queuing"), ("generating", "generating"), ("new", "new")],
)
def test_of_a_running_task_kies_own_word_is_quoted(said: str | None, shown: str) -> None:
    assert record({**QUEUED, "state": "running", "kie_state": said})["state"] == shown


def test_every_state_has_its_word() -> None:
    assert set(STATES) == set(State) - {State.RUNNING}
    assert {state for state in STATES if STATES[state] in ("success", "fail")} == FINAL


FAILURES = [
    (FAILED, "500", "Internal server error"),
    ({**FAILED, "fail_code": None, "fail_message": None}, "501", "Playground task failed."),
    ({**FAILED, "fail_code": "", "fail_message": ""}, "501", "Playground task failed."),
    (
        {**RESTS, "state": "expired", "fail_code": "outcome_unknown", "fail_message": "lost"},
        "outcome_unknown",
        "lost",
    ),
    (
        {**RESTS, "state": "failed", "fail_code": "submit_deadline", "fail_message": "late"},
        "submit_deadline",
        "late",
    ),
    (
        {**RESTS, "state": "canceled"},
        "canceled",
        "The task was canceled before it was sent to kie.ai.",
    ),
]


@pytest.mark.parametrize(("task", "code", "message"), FAILURES)
def test_every_other_end_is_a_failure(
    task: dict[str, Any], code: str | None, message: str | None
) -> None:
    data = record(task)
    assert (data["state"], data["failCode"], data["failMsg"]) == ("fail", code, message)
    assert data["resultJson"] == ""
    assert data["updateTime"] == data["completeTime"] == FINISHED_MS
    told = callback(task)
    assert (told["code"], told["msg"]) == (501, "Playground task failed.")
    assert told["data"]["failCode"] == code


def test_a_callback_of_success_has_the_recorded_members() -> None:
    told = written(callback(SUCCEEDED))
    recorded = sample("18-market-callback-success-nulls.json")
    assert (told["code"], told["msg"]) == (recorded["code"], recorded["msg"])
    added = {"creditsConsumed", "consumeCredits", "updateTime"}
    assert set(told["data"]) == set(recorded["data"]) | added
    assert {name: kinds(told["data"])[name] for name in recorded["data"]} == kinds(recorded["data"])


def test_a_callback_of_failure_has_the_recorded_members() -> None:
    told = written(callback(FAILED))
    recorded = sample("20-market-callback-fail-seedance2.json")
    assert (told["code"], told["msg"]) == (recorded["code"], recorded["msg"])
    assert told["data"].pop("consumeCredits") == told["data"]["creditsConsumed"]
    assert set(told["data"]) == set(recorded["data"])
    assert kinds(told["data"]) == kinds(recorded["data"])


@pytest.mark.parametrize("task", [QUEUED, SUCCEEDED, FAILED])
def test_the_callback_is_the_record(task: dict[str, Any]) -> None:
    """One function writes both: what differs is said here, and nothing else."""
    data = record(task)
    if task["finished_at"] is None:
        return
    told = callback(task)["data"]
    differs = {name for name in data | told if data.get(name, "no") != told.get(name, "no")}
    assert differs <= {"updateTime", "resultJson", "consumeCredits"}
    assert data.get("updateTime", FINISHED_MS) == told["updateTime"]
