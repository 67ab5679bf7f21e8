"""Every market sample through the real receiver or client, down to what the caller then sees."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse

from app.services.services import Services
from tests.gateway import Gateway
from tests.upstream import Upstream, accepted

SAMPLES = Path(__file__).parents[2] / "kie" / "samples"

Seen = dict[str, Any]
"""Some of a task's fields."""


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


def seen(state: str, **fields: object) -> Seen:
    return {
        "state": state,
        "result_urls": [],
        "fail_code": None,
        "fail_message": None,
        "fail_source": None,
        "credits_consumed": None,
        "duration_seconds": None,
        **fields,
    }


CALLBACKS: dict[str, Seen] = {
    "15-market-callback-success-2025": seen(
        "succeeded",
        result_urls=["https://example.com/generated-image.jpg"],
        credits_consumed=100,
        duration_seconds=8,
    ),
    "16-market-callback-fail-2025": seen(
        "failed",
        fail_code="500",
        fail_message="Internal server error",
        fail_source="kie",
        credits_consumed=0,
        duration_seconds=0,
    ),
    "18-market-callback-success-nulls": seen(
        "succeeded",
        result_urls=["https://example.com/generated-video.mp4"],
        duration_seconds=8,
    ),
    "20-market-callback-fail-seedance2": seen(
        "failed",
        fail_code="GENERATION_FAILED",
        fail_message="The generation task failed.",
        fail_source="kie",
        credits_consumed=0,
        duration_seconds=12,
    ),
    "23-market-callback-success-seedream4": seen(
        "succeeded",
        result_urls=["https://tempfile.aiquickdraw.com/r/90f9d74ef12d.jpg"],
        credits_consumed=5,
        duration_seconds=21,
    ),
}

RECORDS: dict[str, Seen] = {
    "02-market-recordinfo-waiting": seen("running", kie_state="waiting"),
    "03-market-recordinfo-generating": seen("running", kie_state="generating"),
    "04-market-recordinfo-success-image": seen(
        "succeeded",
        result_urls=["https://tempfile.aiquickdraw.com/r/dbfb7dd262c1.png"],
        duration_seconds=12,
    ),
    "06-market-recordinfo-success-video": seen(
        "succeeded",
        result_urls=["https://tempfile.aiquickdraw.com/r/7c9c1ec03983.mp4"],
        duration_seconds=127,
    ),
    "08-market-recordinfo-waiting-creditsconsumed": seen("running", kie_state="waiting"),
    "09-market-recordinfo-success-creditsconsumed": seen(
        "succeeded",
        result_urls=["https://tempfile.aiquickdraw.com/r/5db76697b524.jpg"],
        credits_consumed=4,
        duration_seconds=13,
    ),
    "11-market-recordinfo-unknown-422": seen("running", kie_state=None),
    "12-market-recordinfo-success-docs-message-key": seen(
        "succeeded", result_urls=["https://example.com/generated-content.jpg"]
    ),
    "13-market-recordinfo-fail-docs": seen(
        "failed",
        fail_code="422",
        fail_message="Invalid prompt: prompt contains prohibited content",
        fail_source="kie",
    ),
}

CREATES: dict[str, Seen] = {
    "01-market-create-ok": seen("running", kie_task_id="738a001e654c7be865970326162fdc65"),
    "25-create-error-unsupported-model": seen(
        "failed",
        fail_code="422",
        fail_message="The model name you specified is not supported. Please verify your input and "
        "use one of the supported models provided by KIE.",
        fail_source="kie",
    ),
    "26-create-error-missing-param-500": seen(
        "failed", fail_code="500", fail_message="aspect_ratio is required", fail_source="kie"
    ),
}


def sample(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text())["body"]
    return body


def test_no_market_sample_is_missing() -> None:
    names = {path.stem for path in SAMPLES.glob("*.json")}
    market = {name for name in names if "-market-" in name or "-create-error-" in name}
    assert market == set(CALLBACKS) | set(RECORDS) | set(CREATES)


@pytest.mark.parametrize("name", CALLBACKS)
async def test_callback(name: str, gateway: Gateway, upstream: Upstream) -> None:
    body = sample(name)
    upstream.answers(lambda: accepted(body["data"]["taskId"]))
    task = await gateway.create()
    answer = await gateway.call_back(upstream.callback_path, body)
    assert answer.status_code == 200
    _shows(await gateway.task(task["id"]), CALLBACKS[name] | {"settled_by": "callback"})


@pytest.mark.parametrize("name", RECORDS)
async def test_record(
    name: str, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    body = sample(name)
    kie_task_id = (body["data"] or {}).get("taskId", "not-visible-yet")
    upstream.answers(lambda: accepted(kie_task_id))
    upstream.records[kie_task_id] = body
    task = await gateway.create()
    await sql.execute("UPDATE tasks SET due_at = now()")
    assert await services.poller.poll_due() == 0
    await services.poller.drain()
    assert upstream.queries == [kie_task_id]
    _shows(await gateway.task(task["id"]), RECORDS[name])


@pytest.mark.parametrize("name", CREATES)
async def test_create(name: str, gateway: Gateway, upstream: Upstream) -> None:
    upstream.answers(lambda: JSONResponse(sample(name)))
    _shows(await gateway.create(), CREATES[name])
    assert len(upstream.creates) == 1


def _shows(task: dict[str, Any], expected: Seen) -> None:
    assert {name: task[name] for name in expected} == expected
