"""Asking kie.ai: when no callback came, when one is doubted, and to confirm."""

import json
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from app.domain.task import State
from app.services.services import Services
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import Gateway
from tests.upstream import Upstream, failed, refused, running, succeeded


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


async def ask(services: Services, sql: Any) -> None:
    """Let the time of the next question come, and ask."""
    await sql.execute("UPDATE tasks SET due_at = now() WHERE due_at IS NOT NULL")
    assert await services.poller.poll_due() == 0
    await services.poller.drain()


async def due_in(sql: Any, task_id: str) -> float | None:
    found = await sql.fetchval(
        "SELECT extract(epoch FROM due_at - clock_timestamp())::float FROM tasks WHERE id = $1",
        UUID(task_id),
    )
    return None if found is None else float(found)


@pytest.mark.parametrize(
    ("public_url", "least", "most"), [("https://gateway.test", 55, 61), (None, 2, 3)]
)
async def test_the_first_question_depends_on_who_is_expected(
    public_url: str | None,
    least: float,
    most: float,
    start_gateway: StartGateway,
    upstream: Upstream,
    sql: Any,
) -> None:
    gateway = await start_gateway(public_url=public_url)
    task = await gateway.create()
    assert ("callBackUrl" in upstream.creates[0]) is (public_url is not None)
    wait = await due_in(sql, task["id"])
    assert wait is not None
    assert least < wait < most


async def test_a_running_task_is_asked_about_again(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    await ask(services, sql)
    assert upstream.queries == [task["kie_task_id"]]
    after = await gateway.task(task["id"])
    assert (after["state"], after["kie_state"]) == ("running", "generating")
    wait = await due_in(sql, task["id"])
    assert wait is not None
    assert wait > 50
    assert await gateway.callbacks(task["id"]) == []


async def test_a_query_settles(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    upstream.records[task["kie_task_id"]] = succeeded(task["kie_task_id"])
    await ask(services, sql)
    after = await gateway.task(task["id"])
    assert (after["state"], after["settled_by"]) == ("succeeded", "query")
    assert after["confirmed_at"] is not None
    assert await due_in(sql, task["id"]) is None
    [answer] = await gateway.callbacks(task["id"])
    assert (answer["source"], answer["verdict"]) == ("query", "applied")
    assert "2510330" not in answer["raw"]


async def test_a_callback_is_confirmed_by_one_query(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    body = succeeded(task["kie_task_id"])
    await gateway.call_back(upstream.callback_path, body)
    assert (await gateway.task(task["id"]))["confirmed_at"] is None
    upstream.records[task["kie_task_id"]] = body
    await ask(services, sql)
    after = await gateway.task(task["id"])
    assert after["confirmed_at"] is not None
    assert after["settled_by"] == "callback"
    assert await gateway.verdicts(task["id"]) == ["applied", "late"]
    assert await due_in(sql, task["id"]) is None


async def test_a_record_that_says_otherwise_corrects_what_a_callback_said(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    upstream.records[task["kie_task_id"]] = failed(task["kie_task_id"])
    await ask(services, sql)
    after = await gateway.task(task["id"])
    assert (after["state"], after["confirmed"], after["settled_by"]) == ("failed", True, "query")
    assert (after["result"], after["result_urls"], after["fail_code"]) == (None, [], "500")
    assert await gateway.verdicts(task["id"]) == ["applied", "disagreed"]
    history = await sql.fetch("SELECT from_state, to_state, reason FROM task_events ORDER BY id")
    assert tuple(history[-1]) == ("succeeded", "failed", "kie.ai's record says otherwise")


async def test_without_confirmation_a_settled_task_is_not_asked_about(
    start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(kie_confirm="off")
    task = await gateway.create()
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    assert await due_in(sql, task["id"]) is None


NO_ANSWERS = [
    {"code": 422, "msg": "recordInfo is null", "data": None},
    {"code": 404, "msg": "not found", "data": None},
    {"code": 429, "msg": "too many", "data": None},
    {"code": 401, "msg": "no access", "data": None},
    {"code": 500, "msg": "server error", "data": None},
    {"no": "envelope"},
]


@pytest.mark.parametrize("answer", NO_ANSWERS)
async def test_no_answer_leaves_the_task_and_is_asked_again(
    answer: dict[str, Any], gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    upstream.records[task["kie_task_id"]] = answer
    await ask(services, sql)
    assert (await gateway.task(task["id"]))["state"] == "running"
    assert await due_in(sql, task["id"]) is not None


async def test_a_failed_query_envelope_is_the_tasks_failure(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    upstream.records[task["kie_task_id"]] = {"code": 501, "msg": "gone wrong", "data": None}
    await ask(services, sql)
    after = await gateway.task(task["id"])
    assert (after["state"], after["fail_code"], after["fail_message"]) == (
        "failed",
        "501",
        "gone wrong",
    )


async def test_a_doubted_callback_binds_its_id_when_the_record_echoes_our_url(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    """Unsigned callbacks are not believed; what recordInfo says under the same id is."""
    keys = (SecretStr("a-key"),)
    gateway = await start_gateway(kie_webhook_hmac_keys=keys)
    services = await wire(kie_webhook_hmac_keys=keys)
    task = await gateway.create()
    await _lose(sql)
    await gateway.call_back(upstream.callback_path, succeeded("the-real-id"))
    echo = json.dumps({"callBackUrl": upstream.creates[0]["callBackUrl"]})
    upstream.records["the-real-id"] = succeeded("the-real-id", param=echo)
    await ask(services, sql)
    after = await gateway.task(task["id"])
    assert (after["state"], after["kie_task_id"]) == ("succeeded", "the-real-id")
    assert await gateway.verdicts(task["id"]) == ["unverified", "applied"]


async def test_what_is_heard_during_a_question_is_asked_about_after_it(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    keys = (SecretStr("a-key"),)
    gateway = await start_gateway(kie_webhook_hmac_keys=keys)
    services = await wire(kie_webhook_hmac_keys=keys)
    task = await gateway.create()
    await _lose(sql)
    await sql.execute("UPDATE tasks SET due_at = now()")  # nothing is known to ask about
    path = upstream.callback_path

    async def meanwhile(_: str) -> None:
        upstream.on_query = None
        # A minute after the other one: sooner, this would have to wait for its turn.
        await sql.execute("UPDATE tasks SET doubted_at = doubted_at - interval '61 s'")
        await gateway.call_back(path, succeeded("the-real-id"))

    await gateway.call_back(path, succeeded("a-wrong-id"))
    upstream.on_query = meanwhile
    assert await services.poller.poll_due() == 0
    await services.poller.drain()
    wait = await due_in(sql, task["id"])
    assert wait is not None
    assert wait <= 0
    assert await sql.fetchval("SELECT poll_asap_since IS NOT NULL FROM tasks")


@pytest.mark.parametrize(
    "silence",
    [
        {"code": 422, "msg": "recordInfo is null", "data": None},
        {"code": 429, "msg": "Called too often", "data": None},
        {"code": 500, "msg": "Server exception", "data": None},
    ],
    ids=["not visible", "too often", "unanswered"],
)
async def test_an_id_that_a_callback_named_is_asked_about_until_its_record_shows(
    silence: dict[str, Any], gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    await _lose(sql)
    await gateway.call_back(upstream.callback_path, succeeded("the-real-id"))
    upstream.records["the-real-id"] = silence
    await ask(services, sql)
    assert await due_in(sql, task["id"]) == pytest.approx(60, abs=2)
    upstream.has("the-real-id", succeeded("the-real-id"))
    await ask(services, sql)
    after = await gateway.task(task["id"])
    assert (after["state"], after["kie_task_id"]) == ("succeeded", "the-real-id")


async def test_a_record_without_our_url_binds_nothing(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    keys = (SecretStr("a-key"),)
    gateway = await start_gateway(kie_webhook_hmac_keys=keys)
    services = await wire(kie_webhook_hmac_keys=keys)
    task = await gateway.create()
    await _lose(sql)
    await gateway.call_back(upstream.callback_path, succeeded("somebody-elses"))
    upstream.records["somebody-elses"] = succeeded("somebody-elses")
    await ask(services, sql)
    after = await gateway.task(task["id"])
    assert (after["state"], after["kie_task_id"]) == ("unconfirmed", None)
    assert await due_in(sql, task["id"]) is None


async def test_replicas_share_the_questions(
    gateway: Gateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    tasks = [await gateway.create() for _ in range(6)]
    first, second = await wire(), await wire()
    ids = [UUID(task["id"]) for task in tasks]
    await sql.execute("UPDATE tasks SET due_at = now() WHERE id = ANY($1)", ids[:4])
    assert await first.poller.poll_due() == 0
    await sql.execute("UPDATE tasks SET due_at = now() WHERE id = ANY($1)", ids[4:])
    assert await second.poller.poll_due() == 0
    for asking in (first, second):
        await asking.poller.drain()
    assert sorted(upstream.queries) == sorted(task["kie_task_id"] for task in tasks)


async def test_a_dead_askers_lease_runs_out(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    await sql.execute("UPDATE tasks SET due_at = now(), leased_until = now() + interval '1 min'")
    assert await services.poller.poll_due() is None
    assert upstream.queries == []
    await sql.execute("UPDATE tasks SET leased_until = now()")
    assert await services.poller.poll_due() == 0
    await services.poller.drain()
    assert upstream.queries == [task["kie_task_id"]]


async def test_an_expired_task_is_not_asked_about_for_ever(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    await sql.execute(
        "UPDATE tasks SET state = 'expired', expires_at = NULL,"
        " finished_at = now() - interval '24 hours'"
    )
    upstream.records[task["kie_task_id"]] = running(task["kie_task_id"])
    await ask(services, sql)
    assert (await gateway.task(task["id"]))["state"] == State.EXPIRED
    assert await due_in(sql, task["id"]) is None


async def test_refusing_everything_is_no_reason_to_stop(
    gateway: Gateway, upstream: Upstream
) -> None:
    upstream.answers(lambda: refused(455, "maintenance"))
    task = await gateway.create()
    assert (task["state"], task["hold_reason"]) == ("queued", "kie_busy")


async def _lose(sql: Any) -> None:
    await sql.execute(
        "UPDATE tasks SET state = 'unconfirmed', kie_task_id = NULL, due_at = NULL,"
        " expires_at = now() + interval '1 hour'"
    )
