"""`POST /v1/tasks/{id}/cancel` and `/refresh`: what is answered in which state."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.domain.task import FINAL, State
from app.services.tasks.waiters import POLL
from tests.api.conftest import IssueKey, StartInside
from tests.api.stage import NOBODY, NOT_FOUND, Refusal, Sql, check_refusal
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import BODY, Gateway
from tests.store.stage import put_task
from tests.upstream import Upstream, failed, refused, running, succeeded

NOT_CANCELABLE = Refusal(
    status=409, code="not_cancelable", says="only a queued task can be canceled"
)
NOT_REFRESHABLE = Refusal(status=409, code="not_refreshable", says="no id at kie.ai to ask about")


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


async def command(gateway: Gateway, task_id: object, name: str) -> httpx.Response:
    return await gateway.http.post(f"/v1/tasks/{task_id}/{name}")


async def put(gateway: Gateway, sql: Sql, state: State, **columns: Any) -> UUID:  # noqa: ARG001
    client_id = await sql.fetchval("SELECT id FROM clients WHERE name = 'tests'")
    return await put_task(sql, client_id, state, **columns)


# -- cancel


async def test_a_queued_task_is_canceled_and_stays_so(gateway: Gateway, sql: Sql) -> None:
    task_id = await put(gateway, sql, State.QUEUED, at={"due_at": 0.0})
    answers = [await command(gateway, task_id, "cancel") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    task = answers[0].json()
    assert (task["state"], task["fail_code"]) == ("canceled", None)
    assert task["finished_at"] is not None
    assert [answer.json() for answer in answers] == [await gateway.task(str(task_id))] * 3
    events = await gateway.http.get(task["urls"]["events"])
    assert [
        (event["type"], event["from_state"], event["reason"]) for event in events.json()["data"]
    ] == [("task.canceled", "queued", "canceled by its client")]


@pytest.mark.parametrize("state", [one for one in State if one not in {"queued", "canceled"}])
async def test_only_a_queued_task_is_canceled(gateway: Gateway, sql: Sql, state: State) -> None:
    task_id = await put(gateway, sql, state)
    before = await gateway.task(str(task_id))
    content = check_refusal(await command(gateway, task_id, "cancel"), NOT_CANCELABLE)
    assert f"The task is {state};" in content["detail"]
    assert await gateway.task(str(task_id)) == before


async def test_canceling_wakes_whoever_waits(start_gateway: StartGateway, sql: Sql) -> None:
    here, there = await start_gateway(), await start_gateway()
    task_id = await put(here, sql, State.QUEUED)
    waiting = asyncio.create_task(here.task(str(task_id), wait=50))
    await here.http.get("/livez")
    started = time.perf_counter()
    assert (await command(there, task_id, "cancel")).status_code == 200
    assert (await waiting)["state"] == "canceled"
    assert time.perf_counter() - started < POLL


async def test_a_task_is_either_canceled_or_sent_and_never_both(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream, sql: Sql
) -> None:
    gateway = await start_gateway(database_pool_size=20)
    limits = {"kie_creates_per_10s": 50}
    claimers = [await wire(**limits), await wire(**limits)]
    ids = [str(await put(gateway, sql, State.QUEUED, at={"due_at": 0.0})) for _ in range(50)]

    async def cancel(task_id: str) -> tuple[str, int]:
        return task_id, (await command(gateway, task_id, "cancel")).status_code

    async def claim() -> None:
        for turn in range(20):
            await claimers[turn % 2].submitter.submit_due(turn % 4 + 1)

    claiming = asyncio.create_task(claim())
    answers = await asyncio.gather(*map(cancel, ids))
    await claiming
    for claimer in claimers:
        await claimer.submitter.drain()
    said = dict(answers)
    sent = {url.split("/")[-2] for url in (create["callBackUrl"] for create in upstream.creates)}
    assert set(said.values()) == {200, 409}  # it was a race
    assert sent == {task_id for task_id, status in said.items() if status == 409}
    assert len(upstream.creates) == len(sent)
    states = {task_id: (await gateway.task(task_id))["state"] for task_id in ids}
    assert states == {one: "running" if one in sent else "canceled" for one in ids}


# -- refresh


@pytest.mark.parametrize(
    ("record", "state"),
    [(succeeded, "succeeded"), (failed, "failed"), (running, "running")],
)
async def test_a_refresh_answers_what_kie_says_now(
    start_gateway: StartGateway,
    upstream: Upstream,
    record: Callable[[str], Mapping[str, Any]],
    state: str,
) -> None:
    gateway = await start_gateway(worker=True)
    task = await gateway.create()
    kie_task_id = task["kie_task_id"]
    upstream.records[kie_task_id] = record(kie_task_id)
    answer = await command(gateway, task["id"], "refresh")
    assert answer.status_code == 200
    assert upstream.queries == [kie_task_id]
    after = answer.json()
    assert after["state"] == state
    assert after["settled_by"] == ("query" if state in FINAL else None)
    assert after["kie_state"] == {"running": "generating", "succeeded": "success"}.get(
        state, "fail"
    )
    assert after == await gateway.task(task["id"])


async def test_twenty_refreshes_at_once_are_few_questions(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    gateway = await start_gateway(worker=True)
    task = await gateway.create()
    answers = await asyncio.gather(*(command(gateway, task["id"], "refresh") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["kie_state"] for answer in answers} == {"generating"}
    assert 1 <= len(upstream.queries) <= 2


@pytest.mark.parametrize("state", ["queued", "submitting", "unconfirmed", "failed", "canceled"])
async def test_without_an_id_there_is_nothing_to_refresh(
    gateway: Gateway, sql: Sql, upstream: Upstream, state: str
) -> None:
    task_id = await put(gateway, sql, State(state))
    content = check_refusal(await command(gateway, task_id, "refresh"), NOT_REFRESHABLE)
    assert f"The task is {state} " in content["detail"]
    assert upstream.queries == []


async def test_a_refresh_confirms_a_settled_task(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    gateway = await start_gateway(worker=True, kie_confirm="off")
    task = await gateway.create()
    told = succeeded(task["kie_task_id"])
    await gateway.call_back(upstream.callback_path, told)
    upstream.records[task["kie_task_id"]] = told
    assert (await gateway.task(task["id"]))["confirmed_at"] is None
    after = (await command(gateway, task["id"], "refresh")).json()
    assert (after["state"], after["settled_by"]) == ("succeeded", "callback")
    assert after["confirmed_at"] is not None
    assert await gateway.verdicts(task["id"]) == ["applied", "late"]


async def test_a_late_end_is_fetched_by_a_refresh(
    start_gateway: StartGateway, upstream: Upstream, sql: Sql
) -> None:
    gateway = await start_gateway(worker=True)
    task = await gateway.create()
    await sql.execute("UPDATE tasks SET state = 'expired', finished_at = now(), due_at = NULL")
    upstream.records[task["kie_task_id"]] = succeeded(task["kie_task_id"])
    after = (await command(gateway, task["id"], "refresh")).json()
    assert (after["state"], after["settled_by"]) == ("succeeded", "query")


async def test_while_kie_is_silent_a_refresh_answers_the_task_as_it_is(
    start_inside: StartInside, upstream: Upstream, sql: Sql
) -> None:
    """Nobody works here: the question stays due for whoever does."""
    gateway = (await start_inside(refresh_wait=0.3)).gateway
    task = await gateway.create()
    await sql.execute("UPDATE tasks SET due_at = now() + interval '1 hour'")
    started = time.perf_counter()
    answer = await command(gateway, task["id"], "refresh")
    assert 0.3 <= time.perf_counter() - started < 2
    assert (answer.status_code, answer.json()) == (200, task)
    assert await sql.fetchval("SELECT due_at <= now() FROM tasks")
    assert upstream.queries == []


# -- both


@pytest.mark.parametrize("name", ["cancel", "refresh"])
async def test_another_clients_task_cannot_be_commanded(
    gateway: Gateway, sql: Sql, upstream: Upstream, new_key: IssueKey, name: str
) -> None:
    upstream.answers(lambda: refused(429, "slow down"))
    headers = {"Authorization": f"Bearer {await new_key('other')}"}
    made = await gateway.http.post("/v1/tasks", json=BODY, headers=headers)
    before = await sql.fetchrow("SELECT * FROM tasks")
    said = [
        {**check_refusal(await command(gateway, one, name), NOT_FOUND), "request_id": None}
        for one in (made.json()["id"], NOBODY)
    ]
    assert said[0] == said[1]
    assert await sql.fetchrow("SELECT * FROM tasks") == before
