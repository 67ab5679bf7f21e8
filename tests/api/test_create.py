"""Creating tasks: what is answered, how long it takes, and who may hang up meanwhile."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from app.config import Settings
from app.main import create_app
from tests.api.stage import Sql, dialled, head_of
from tests.fixtures.gateway import StartGateway
from tests.gateway import BODY, Gateway, issue_key
from tests.stage import eventually, serving
from tests.upstream import Upstream, failed, refused, succeeded

TASK = [
    "id",
    "state",
    "model",
    "input",
    "metadata",
    "webhook_url",
    "priority",
    "kie_task_id",
    "kie_state",
    "result",
    "result_urls",
    "artifacts",
    "fail_code",
    "fail_message",
    "fail_source",
    "fail_class",
    "retryable",
    "kie_message",
    "credits_consumed",
    "duration_seconds",
    "settled_by",
    "confirmed_at",
    "hold_reason",
    "estimated_start_at",
    "estimated_finish_at",
    "created_at",
    "submitted_at",
    "finished_at",
    "updated_at",
    "version",
    "confirmed",
    "result_expires_at",
    "urls",
]
"""The members of a task in the order of the documents."""

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


async def test_a_created_task_is_answered_whole(gateway: Gateway) -> None:
    given: dict[str, Any] = {
        **BODY,
        "webhook_url": "https://h.test/hook?x=1#y",
        "metadata": {"order": "A-1017"},
        "priority": 9,
    }
    answer = await gateway.post({**given, "submit_within": 60})
    task = answer.json()
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["location"] == f"/v1/tasks/{task['id']}" == task["urls"]["self"]
    assert re.fullmatch(r"total;dur=\d+\.\d", answer.headers["server-timing"])
    assert "idempotent-replayed" not in answer.headers
    assert {name: task[name] for name in given} == given
    assert task["state"] == "running"
    assert re.fullmatch("[0-9a-f]{32}", task["kie_task_id"])
    assert (task["result"], task["result_urls"], task["finished_at"]) == (None, [], None)
    for instant in ("created_at", "submitted_at", "updated_at"):
        assert INSTANT.fullmatch(task[instant])
    assert await gateway.task(task["id"]) == task


async def test_what_is_not_said_has_its_default(gateway: Gateway) -> None:
    task = await gateway.create()
    assert (task["metadata"], task["webhook_url"], task["priority"]) == ({}, None, 5)


@pytest.mark.parametrize("at_rest", [False, True])
async def test_a_task_has_the_documented_members_in_order(
    gateway: Gateway, upstream: Upstream, *, at_rest: bool
) -> None:
    task = await gateway.create()
    if at_rest:
        await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
        task = await gateway.task(task["id"])
        assert task["finished_at"] is not None
    assert list(task) == TASK


COMMANDS = {"cancel", "refresh"}


async def test_every_url_of_a_task_leads_somewhere(gateway: Gateway, upstream: Upstream) -> None:
    task = await gateway.create()
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    assert set(task["urls"]) == {"self", "events", "callbacks", "deliveries", "cancel", "refresh"}
    assert task["urls"]["self"] == f"/v1/tasks/{task['id']}"
    for name in set(task["urls"]) - {"refresh"}:  # which waits for an answer
        method = "POST" if name in COMMANDS else "GET"
        answer = await gateway.http.request(method, task["urls"][name])
        assert answer.status_code == (409 if name == "cancel" else 200), (name, answer.text)
    assert (await gateway.http.get(task["urls"]["refresh"])).headers["allow"] == "POST"


# -- Idempotency-Key


async def test_a_repeated_key_answers_the_task_as_it_is_now(
    gateway: Gateway, upstream: Upstream
) -> None:
    created = await gateway.post(key="order-1")
    await gateway.call_back(upstream.callback_path, succeeded(created.json()["kie_task_id"]))
    repeated = await gateway.post(key="order-1")
    assert (created.status_code, repeated.status_code) == (201, 200)
    assert repeated.headers["idempotent-replayed"] == "true"
    assert repeated.headers["location"] == created.headers["location"]
    assert repeated.json()["state"] == "succeeded"
    assert len(upstream.creates) == 1


async def test_without_a_key_every_create_is_one(gateway: Gateway, upstream: Upstream) -> None:
    made = {(await gateway.create())["id"] for _ in range(2)}
    assert len(made) == len(upstream.creates) == 2


async def test_fifty_creates_at_once_with_one_key_are_one_task(
    gateway: Gateway, sql: Sql, upstream: Upstream
) -> None:
    answers = await asyncio.gather(*(gateway.post(key="order-1") for _ in range(50)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 49}
    replayed = Counter(answer.headers.get("idempotent-replayed") for answer in answers)
    assert replayed == {None: 1, "true": 49}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 1
    assert len(upstream.creates) == 1


# -- kie.ai takes its time


async def test_a_create_answers_while_kie_thinks(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    """The answer comes although kie.ai's never does; the submission goes on to its end."""
    gateway = await start_gateway(submit_wait=0.05)
    go = upstream.holds()
    answer = await gateway.post()
    task = answer.json()
    assert (answer.status_code, task["state"], task["kie_task_id"]) == (201, "submitting", None)
    assert await gateway.task(task["id"]) == task
    go.set()
    assert (await gateway.reaches(task["id"], "running"))["kie_task_id"] is not None
    assert len(upstream.creates) == 1


@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/tasks?wait=55"])
async def test_a_caller_who_hangs_up_harms_nothing(
    gateway: Gateway, sql: Sql, upstream: Upstream, path: str
) -> None:
    go = upstream.holds()
    body = b'{"model":"m","input":{}}'
    fields = (f"Authorization: Bearer {gateway.api_key}", f"Content-Length: {len(body)}")
    async with dialled(gateway.http.base_url) as line:
        line.writer.write(head_of("POST", path, *fields) + body)
        await eventually(lambda: _first(upstream.creates))
    go.set()
    task_id = str(await sql.fetchval("SELECT id FROM tasks"))
    await gateway.reaches(task_id, "running")
    task = await gateway.task(task_id)
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    assert (await gateway.task(task_id))["state"] == "succeeded"
    assert len(upstream.creates) == 1


async def test_a_caller_who_hangs_up_before_the_end_of_the_body_made_nothing(
    sql: Sql, make_settings: Callable[..., Settings], upstream: Upstream
) -> None:
    """And it is no defect of ours: nothing is logged as one."""
    settings = make_settings()
    with structlog.testing.capture_logs() as logged:
        async with serving(create_app(settings, worker=False)) as url:
            key = await issue_key(settings, "tests")
            fields = (f"Authorization: Bearer {key}", "Content-Length: 25")
            async with dialled(url) as line:
                line.writer.write(
                    head_of("POST", "/v1/tasks", *fields) + b'{"model":"m","input":{}}'
                )
                await line.writer.drain()
        # the server has ended, and with it every request
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 0
    assert upstream.creates == []
    assert [entry for entry in logged if entry["log_level"] in {"error", "critical"}] == []


async def _first(found: list[dict[str, Any]]) -> dict[str, Any] | None:
    return found[0] if found else None


# -- kie.ai refuses


REFUSALS = {
    "an unknown model": (422, "The model name you specified is not supported."),
    "a bad input": (400, "prompt is required"),
    "an emoji": (422, "🐱 не то"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refused_create_is_a_failed_task(
    gateway: Gateway, upstream: Upstream, name: str
) -> None:
    code, message = REFUSALS[name]
    upstream.answers(lambda: refused(code, message))
    answer = await gateway.post(key="order-1")
    task = answer.json()
    assert (answer.status_code, task["state"]) == (201, "failed")
    assert (task["fail_source"], task["fail_code"]) == ("kie", str(code))
    assert task["fail_message"] == message
    assert task["finished_at"] is not None
    repeated = await gateway.post(key="order-1")
    assert (repeated.status_code, repeated.json()) == (200, task)
    assert len(upstream.creates) == 1


async def test_a_failure_that_is_called_back_has_kies_words(
    gateway: Gateway, upstream: Upstream
) -> None:
    task = await gateway.create()
    await gateway.call_back(upstream.callback_path, failed(task["kie_task_id"]))
    task = await gateway.task(task["id"])
    assert (task["state"], task["fail_source"]) == ("failed", "kie")
    assert (task["fail_code"], task["fail_message"]) == ("500", "Internal server error")
