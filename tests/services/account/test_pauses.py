"""The operator's brakes, and what goes on or ends while tasks are held back."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest

from app.domain.draft import Draft
from app.domain.errors import NotCancelableError, NotFoundError
from app.domain.task import State
from app.services.clients.settings import ClientChange
from app.services.services import Services
from app.services.tasks.submit import LOCKED_WAIT
from app.wiring import new_id
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import BODY, OPERATOR, Gateway, issue_key
from tests.services.stage import (
    account,
    probe_is_due,
    slots_are_free,
    state,
    states,
    stays_held,
    turn,
)
from tests.stage import eventually
from tests.store.stage import put_task
from tests.upstream import Upstream, refused, succeeded

ROOMY = {"kie_creates_per_10s": 1000, "kie_max_running": 1000}
ME = OPERATOR
BRAKES: Mapping[str, str | None] = {"admission_paused": None, "client_paused": "tests"}
"""Reason to the client that is paused; None: all are."""


# -- pauses


@pytest.mark.parametrize("reason", BRAKES)
async def test_a_pause_stops_spending_while_callbacks_and_questions_go_on(
    reason: str, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    told = await gateway.create()
    path = upstream.callback_path
    asked = await gateway.create()
    await services.pauses.pause(ME, client=BRAKES[reason], note="too dear")

    waiting = await gateway.create()
    assert (waiting["state"], waiting["hold_reason"]) == ("queued", reason)
    assert waiting["estimated_start_at"] is None
    assert await turn(services) in (None, LOCKED_WAIT)
    assert len(upstream.creates) == 2

    await gateway.call_back(path, succeeded(told["kie_task_id"]))
    assert (await gateway.task(told["id"]))["state"] == "succeeded"
    upstream.records[asked["kie_task_id"]] = succeeded(asked["kie_task_id"])
    await sql.execute("UPDATE tasks SET due_at = now() WHERE id = $1", UUID(asked["id"]))
    assert await services.poller.poll_due() == 0
    await services.poller.drain()
    assert (await gateway.task(asked["id"]))["settled_by"] == "query"

    await services.pauses.resume(ME, client=BRAKES[reason])
    assert await turn(services) == 0
    after = await gateway.task(waiting["id"])
    assert (after["state"], after["hold_reason"]) == ("running", None)
    entries = [
        (entry["action"], entry["actor"], entry["client"], entry["detail"])
        for entry in reversed(await services.clients.audit())
        if entry["action"].startswith("admission_")
    ]
    assert entries == [
        ("admission_paused", "command_line", BRAKES[reason], {"note": "too dear"}),
        ("admission_resumed", "command_line", BRAKES[reason], {}),
    ]


async def test_a_paused_client_holds_up_nobody_else(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    await services.pauses.pause(ME, client="tests", note=None)
    mine = await gateway.create()
    gateway.http.headers["Authorization"] = f"Bearer {await issue_key(gateway.settings, 'another')}"
    theirs = await gateway.create()
    assert theirs["state"] == "running"
    assert await state(sql, mine["id"]) == "queued"
    assert len(upstream.creates) == 1
    clients = {row["client"]: row for row in (await services.pauses.status()).clients}
    assert clients["tests"]["paused_at"] is not None
    assert (clients["tests"]["queued"], clients["another"]["queued"]) == (1, 0)
    assert clients["another"]["paused_at"] is None


async def test_an_unknown_client_is_not_paused(
    gateway: Gateway, services: Services, sql: Any
) -> None:
    entries = await services.clients.audit()
    for act in (
        services.pauses.pause(ME, client="nobody", note=None),
        services.pauses.resume(ME, client="nobody"),
        services.clients.change(ME, "nobody", ClientChange(given=frozenset({"weight"}), weight=2)),
    ):
        with pytest.raises(NotFoundError, match="nobody"):
            await act
    assert await services.clients.audit() == entries
    assert (await gateway.create())["state"] == "running"
    assert (await account(sql))["paused_at"] is None


async def test_a_pause_and_a_hold_end_apart(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(lambda: refused(402, "no credits"))
    task = await gateway.create()
    upstream.on_create = None
    await services.pauses.pause(ME, client="tests", note="mine")
    await services.pauses.pause(ME, client=None, note="all")
    await probe_is_due(sql)
    await services.account.probe_due()
    assert (upstream.credit_calls, len(upstream.creates)) == (0, 1)
    assert await _reason(gateway, task) == "admission_paused"
    await services.pauses.resume(ME, client=None)
    assert await _reason(gateway, task) == "client_paused"
    await services.pauses.resume(ME, client="tests")
    assert await _reason(gateway, task) == "kie_account"
    assert await turn(services) is None
    await services.account.probe_due()
    assert await turn(services) == 0
    assert (await gateway.task(task["id"]))["state"] == "running"


async def test_pausing_again_keeps_the_beginning(services: Services, sql: Any) -> None:
    await services.pauses.pause(ME, client=None, note="first")
    before = await account(sql)
    await services.pauses.pause(ME, client=None, note="second")
    after = await account(sql)
    assert after["paused_at"] == before["paused_at"]
    assert (before["pause_note"], after["pause_note"]) == ("first", "second")


async def _reason(gateway: Gateway, task: Mapping[str, Any]) -> Any:
    return (await gateway.task(task["id"]))["hold_reason"]


@pytest.mark.parametrize("reason", BRAKES)
async def test_nothing_is_admitted_once_a_pause_is_told(
    reason: str, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    """An admission under way is stopped in its middle; the pause must come before or after it."""
    await services.pauses.pause(ME, client=None, note=None)
    await gateway.create()
    await services.pauses.resume(ME, client=None)
    await sql.execute(
        "INSERT INTO kie_slots (kind, slot, free_at, taken_at) VALUES ('create', 1, now(), now())"
    )
    async with sql.transaction():
        await sql.execute("SELECT 1 FROM kie_slots FOR UPDATE")
        admitting = asyncio.create_task(services.submitter.submit_due(50))
        await eventually(lambda: _blocked(sql, 1))
        told = asyncio.create_task(_told(services, BRAKES[reason]))
        await eventually(lambda: _blocked_or_done(sql, told))
    seen = await told
    await admitting
    await services.submitter.drain()
    admitted = await sql.fetchval("SELECT count(*) FROM tasks WHERE attempt > 0")
    assert admitted == len(upstream.creates) == seen


async def _told(services: Services, client: str | None) -> int:
    """Pause, and count what is admitted by then."""
    await services.pauses.pause(ME, client=client, note=None)
    async with services.reader._database.read() as connection:
        found = await connection.exec_driver_sql("SELECT count(*) FROM tasks WHERE attempt > 0")
    return int(found.scalar_one())


async def _blocked(sql: Any, count: int) -> bool | None:
    await sql.execute("SELECT pg_stat_clear_snapshot()")  # a transaction sees no other else
    query = """
    SELECT count(*) >= $1 FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
    """
    return await sql.fetchval(query, count) or None


async def _blocked_or_done(sql: Any, told: "asyncio.Task[int]") -> bool | None:
    return told.done() or await _blocked(sql, 2)


# -- cancelling


Hold = Callable[[Gateway, Services, Upstream], Awaitable[None]]


def by_refusal(code: int) -> Hold:
    async def hold(gateway: Gateway, _: Services, upstream: Upstream) -> None:
        upstream.answers(lambda: refused(code, "no"))
        for model in ("first", "second", "first"):  # of one, the pair alone would be held
            await gateway.create(model=model)
        upstream.on_create = None

    return hold


def by_pause(client: str | None) -> Hold:
    async def hold(_: Gateway, services: Services, __: Upstream) -> None:
        await services.pauses.pause(ME, client=client, note=None)

    return hold


HOLDS: dict[str, Hold] = {
    "kie_busy": by_refusal(429),
    "kie_account": by_refusal(402),
    "kie_unanswered": by_refusal(500),
    "admission_paused": by_pause(None),
    "client_paused": by_pause("tests"),
}


async def _release(services: Services, sql: Any) -> None:
    for client in (None, "tests"):
        await services.pauses.resume(ME, client=client)
    await probe_is_due(sql)
    await services.account.probe_due()
    for _ in range(3):
        await turn(services)


@pytest.mark.parametrize("reason", HOLDS)
async def test_a_task_that_is_held_can_be_canceled(
    reason: str, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    await HOLDS[reason](gateway, services, upstream)
    await stays_held(sql)
    task, other = await gateway.create(model="held"), await gateway.create(model="other")
    assert (task["state"], task["hold_reason"]) == ("queued", reason)
    answer = await gateway.http.post(task["urls"]["cancel"])
    canceled = answer.json()
    assert (answer.status_code, canceled["state"]) == (200, "canceled")
    assert (canceled["hold_reason"], canceled["estimated_start_at"]) == (None, None)
    await _release(services, sql)
    assert (await gateway.task(task["id"]))["state"] == "canceled"
    assert (await gateway.task(other["id"]))["state"] == "running"
    assert "held" not in {create["model"] for create in upstream.creates}


@pytest.mark.parametrize("reason", HOLDS)
async def test_the_bound_in_the_queue_holds_while_held(
    reason: str, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    await HOLDS[reason](gateway, services, upstream)
    await stays_held(sql, 600)
    task = await gateway.create(model="held", submit_within=3600)
    await sql.execute("UPDATE tasks SET submit_by = now() WHERE model = 'held'")
    assert await services.sweeper.sweep() == 0
    after = await gateway.task(task["id"])
    assert (after["state"], after["fail_code"]) == ("failed", "submit_deadline")
    assert (after["hold_reason"], after["estimated_start_at"]) == (None, None)
    await _release(services, sql)
    assert (await gateway.task(task["id"]))["state"] == "failed"
    assert "held" not in {create["model"] for create in upstream.creates}


DRAFT = Draft(model="m", input={}, metadata={}, webhook_url=None, priority=5, submit_within=None)


@pytest.mark.parametrize("half_open", [False, True])
async def test_no_task_is_both_canceled_and_sent(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream, sql: Any, *, half_open: bool
) -> None:
    """Many tasks, cancels, creates and admissions at once, over two replicas."""
    await start_gateway()
    replicas = [await wire(**ROOMY), await wire(**ROOMY)]
    client_id = await sql.fetchval("SELECT id FROM clients")
    ids = [
        await put_task(sql, client_id, State.QUEUED, at={"due_at": 0.0}, id=new_id())
        for _ in range(60)
    ]
    if half_open:
        await sql.execute(
            "UPDATE kie_account SET hold_reason = 'kie_busy', hold_tries = 1, held_at = now(),"
            " held_until = now()"
        )
    created: list[UUID] = []
    canceled: list[UUID] = []

    async def cancel(number: int, task_id: UUID) -> None:
        with suppress(NotCancelableError):
            await replicas[number % 2].commands.cancel(client_id, task_id)
            canceled.append(task_id)

    async def create(number: int) -> None:
        task_id = (await replicas[number % 2].creates.create(client_id, DRAFT, None)).id
        created.append(task_id)
        await cancel(number + 1, task_id)

    async def admit(number: int) -> None:
        for limit in (2, 5, 9, 14) * 5:
            await replicas[number % 2].submitter.submit_due(limit)

    await asyncio.gather(
        *(cancel(number, task_id) for number, task_id in enumerate(reversed(ids))),
        *map(create, range(20)),
        *map(admit, range(4)),
    )
    await _send_all(replicas)
    sent = [UUID(create["callBackUrl"].split("/")[-2]) for create in upstream.creates]
    assert len(sent) == len(set(sent))
    assert canceled
    assert sent
    assert set(sent) & set(canceled) == set()
    assert set(sent) | set(canceled) == {*ids, *created}
    assert sorted(await states(sql)) == ["canceled"] * len(canceled) + ["running"] * len(sent)


async def _send_all(replicas: Sequence[Services]) -> None:
    """Let each drain, and one of them send what is left: a probe may have been under way."""
    for replica in (*replicas, *replicas):
        while await turn(replica) == 0:
            pass


# -- what is foretold


FORETOLD = {
    "kie_busy": 20.0,
    "kie_account": None,
    "kie_unreachable": None,
    "kie_unanswered": None,
}


@pytest.mark.parametrize("reason", FORETOLD)
async def test_a_start_is_foretold_only_where_it_can_be_known(
    reason: str, gateway: Gateway, sql: Any
) -> None:
    await sql.execute(
        "UPDATE kie_account SET hold_reason = $1, hold_tries = 1, held_at = now(),"
        " held_until = now() + interval '20 s'",
        reason,
    )
    task = await gateway.create()
    assert (task["state"], task["hold_reason"]) == ("queued", reason)
    wait = await sql.fetchval(
        "SELECT extract(epoch FROM $1::text::timestamptz - clock_timestamp())::float",
        task["estimated_start_at"],
    )
    expected = FORETOLD[reason]
    assert wait == (None if expected is None else pytest.approx(expected, abs=2))


async def test_nothing_is_foretold_in_a_pause_however_full_the_slots_are(
    start_gateway: StartGateway, services: Services, sql: Any
) -> None:
    gateway = await start_gateway(kie_creates_per_10s=1)
    await gateway.create()
    task = await gateway.create()
    assert task["hold_reason"] == "create_limit"
    assert task["estimated_start_at"] is not None
    for client in (None, "tests"):
        await services.pauses.pause(ME, client=client, note=None)
        assert (await gateway.task(task["id"]))["estimated_start_at"] is None
        answer = await gateway.post({**BODY, "submit_within": 1})
        assert answer.status_code == 201  # who knows
        await services.pauses.resume(ME, client=client)
    assert (await gateway.task(task["id"]))["estimated_start_at"] is not None
    await slots_are_free(sql)
    assert (await gateway.task(task["id"]))["hold_reason"] is None
