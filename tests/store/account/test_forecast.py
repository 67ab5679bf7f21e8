"""What a queued task waits for and how long: held against what the admission then really does."""

import random
import uuid
from collections.abc import Collection
from uuid import UUID

import pytest

from app.domain.admission import PAUSES, HoldReason, Limits
from app.domain.evidence import Signature, Verdict
from app.domain.task import Source, State
from app.store.account import admission, forecast
from app.store.account.forecast import FIRST_CREATE, Forecast
from app.store.connections.engine import Database
from tests.store.stage import (
    Sql,
    admit,
    answer_all,
    around,
    end_all,
    limits,
    pass_time,
    put_breaker,
    put_client,
    put_queue,
    put_task,
)

WINDOW = 10.0
CYCLE = WINDOW + FIRST_CREATE
"""Seconds until a slot that is taken now is free again, as long as no create was measured."""


async def foretell(
    database: Database, client_id: UUID, ids: Collection[UUID], given: Limits
) -> dict[UUID, Forecast]:
    async with database.read() as connection:
        return await forecast.forecast(connection, client_id, ids, given)


async def one(database: Database, client_id: UUID, task_id: UUID, given: Limits) -> Forecast:
    (found,) = (await foretell(database, client_id, [task_id], given)).values()
    if found.wait is None:
        assert found.estimated_start_at is None
    else:
        assert found.estimated_start_at is not None
    return found


async def put_slots(sql: Sql, *free_in: float) -> None:
    """Let so many slots come free in so many seconds, the others are."""
    for slot, seconds in enumerate(free_in, start=1):
        await sql.execute(
            "INSERT INTO kie_slots (kind, slot, free_at, taken_at) VALUES ('create', $1,"
            " clock_timestamp() + make_interval(secs => $2), clock_timestamp())",
            slot,
            seconds,
        )


async def set_account(sql: Sql, assignments: str) -> None:
    await sql.execute(f"UPDATE kie_account SET {assignments}")  # noqa: S608  # ours


async def hold(sql: Sql, reason: HoldReason, seconds: float = 30) -> None:
    await set_account(
        sql,
        f"hold_reason = '{reason}',"
        f" held_until = clock_timestamp() + make_interval(secs => {seconds})",
    )


# -- what it waits for


async def test_only_the_clients_own_queued_tasks_have_one(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    neighbour = await put_client(sql, "neighbour")
    (mine,) = await put_queue(sql, client_id, 1)
    (other,) = await put_queue(sql, neighbour, 1, first=101)
    runs = await put_task(sql, client_id, State.RUNNING)
    found = await foretell(database, client_id, [mine, other, runs, uuid.uuid4()], limits())
    assert set(found) == {mine}


async def test_whose_turn_it_is_waits_for_nothing(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    (task_id,) = await put_queue(sql, client_id, 1)
    found = await one(database, client_id, task_id, limits())
    assert (found.hold_reason, found.wait) == (None, 0)


HELD = (*PAUSES, None)


@pytest.mark.parametrize("create", [True, False], ids=["no slot", "slots"])
@pytest.mark.parametrize("seat", [True, False], ids=["no seat", "seats"])
@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize("client", [True, False], ids=["client paused", "client free"])
@pytest.mark.parametrize("account", [True, False], ids=["paused", "free"])
async def test_the_reason_is_the_one_that_is_the_hardest_to_change(
    database: Database,
    sql: Sql,
    client_id: UUID,
    *,
    account: bool,
    client: bool,
    held: HoldReason | None,
    seat: bool,
    create: bool,
) -> None:
    (task_id,) = await put_queue(sql, client_id, 1)
    if account:
        await set_account(sql, "paused_at = clock_timestamp()")
    if client:
        await sql.execute("UPDATE client_queues SET paused_at = clock_timestamp()")
    if held:
        await hold(sql, held)
    if seat:
        await put_task(sql, client_id, State.RUNNING)
    if create:
        await put_slots(sql, 5)
    found = await one(database, client_id, task_id, limits(creates=1, running=1))
    reasons = [
        HoldReason.ADMISSION_PAUSED if account else None,
        HoldReason.CLIENT_PAUSED if client else None,
        held,
        HoldReason.RUNNING_LIMIT if seat else None,
        HoldReason.CREATE_LIMIT if create else None,
    ]
    assert found.hold_reason == next((reason for reason in reasons if reason), None)
    unknown = account or client or seat or held not in (None, HoldReason.KIE_BUSY)
    assert (found.wait is None) is unknown  # nothing has ended yet: nobody knows when a seat is


async def test_a_pause_of_another_client_is_nobodys_wait(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    paused = await put_client(sql, "paused", weight=100)
    await put_queue(sql, paused, 50, first=101)
    await sql.execute(
        "UPDATE client_queues SET paused_at = clock_timestamp() WHERE client_id = $1", paused
    )
    *_, last = await put_queue(sql, client_id, 5)
    found = await one(database, client_id, last, limits(creates=5))
    assert (found.hold_reason, found.wait) == (None, 0)


@pytest.mark.parametrize("reason", [HoldReason.KIE_BUSY, HoldReason.KIE_UNANSWERED])
@pytest.mark.parametrize("account", [True, False], ids=["account held", "account free"])
async def test_a_task_of_a_held_pair_waits_for_that_and_nobody_knows_how_long(
    database: Database, sql: Sql, client_id: UUID, reason: HoldReason, *, account: bool
) -> None:
    if account:
        await hold(sql, HoldReason.KIE_ACCOUNT)
    (task_id,) = await put_queue(sql, client_id, 1)
    await put_breaker(sql, client_id, reason=reason)
    found = await one(database, client_id, task_id, limits())
    assert found.hold_reason == (HoldReason.KIE_ACCOUNT if account else reason)
    assert found.wait is None


async def test_what_a_pair_holds_back_delays_nobody(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 100, first=1, model="held", priority=9)
    (mine,) = await put_queue(sql, client_id, 1, first=1000)
    neighbour = await put_client(sql, "neighbour")
    await put_queue(sql, neighbour, 100, first=2001, model="held")
    (theirs,) = await put_queue(sql, neighbour, 1, first=3000)
    for client in (client_id, neighbour):
        await put_breaker(sql, client, "held", held_for=60)
    for client, task_id in ((client_id, mine), (neighbour, theirs)):
        found = await one(database, client, task_id, limits(creates=2))
        assert (found.hold_reason, found.wait) == (None, 0)
    assert {claimed.id for claimed in await admit(database, limits(creates=2))} == {mine, theirs}


# -- how long


async def test_slots_come_free_one_after_the_other_and_then_again(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_slots(sql, 8, 3, -1)
    queue = await put_queue(sql, client_id, 9)
    found = await foretell(database, client_id, queue, limits(creates=4))
    waits = [found[task_id].wait for task_id in queue]
    expected = [0, 0, 3, 8, CYCLE, CYCLE, 3 + CYCLE, 8 + CYCLE, 2 * CYCLE]
    assert waits == [pytest.approx(wait, abs=1) for wait in expected]
    reasons = [found[task_id].hold_reason for task_id in queue]
    assert reasons == [None, None, *([HoldReason.CREATE_LIMIT] * 7)]


async def test_what_is_under_way_takes_as_long_as_creates_lately_did(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    queue = await put_queue(sql, client_id, 3)
    given = limits(creates=1)
    await admit(database, given)
    assert (await one(database, client_id, queue[1], given)).wait == pytest.approx(10.5, abs=0.4)
    await sql.execute("UPDATE kie_slots SET took = 4")
    assert (await one(database, client_id, queue[1], given)).wait == pytest.approx(14, abs=0.4)
    assert (await one(database, client_id, queue[2], given)).wait == pytest.approx(28, abs=0.4)
    await pass_time(sql, 3)
    assert (await one(database, client_id, queue[1], given)).wait == pytest.approx(11, abs=0.4)
    await pass_time(sql, 20)  # it takes longer than any: its answer may come at any instant
    assert (await one(database, client_id, queue[1], given)).wait == pytest.approx(10, abs=0.4)


async def put_ended(sql: Sql, client_id: UUID, ran: float, verdict: Verdict) -> None:
    task_id = await put_task(
        sql, client_id, State.SUCCEEDED, at={"submitted_at": -ran - 5, "finished_at": -5}
    )
    await sql.execute(
        "INSERT INTO callbacks (id, task_id, source, body, headers, signature, verdict)"
        " VALUES ($1, $2, $3, '', '{}', $4, $5)",
        uuid.uuid4(),
        task_id,
        Source.CALLBACK,
        Signature.VALID,
        verdict,
    )


async def test_seats_come_free_as_fast_as_tasks_lately_ended(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    """Ten seats and 40 s each: one comes free every 4 s."""
    given = limits(creates=100, running=10)
    for ran in (30, 50, 40):
        await put_ended(sql, client_id, ran, Verdict.APPLIED)
    await put_ended(sql, client_id, 4000, Verdict.DUPLICATE)  # not what ended it
    for _ in range(8):
        await put_task(sql, client_id, State.RUNNING)
    queue = await put_queue(sql, client_id, 6)
    found = await foretell(database, client_id, queue, given)
    assert [found[task_id].wait for task_id in queue] == [
        pytest.approx(wait, abs=0.5) for wait in (0, 0, 4, 8, 12, 16)
    ]


async def test_the_slower_of_slots_and_seats_decides(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_ended(sql, client_id, 40, Verdict.APPLIED)
    await put_task(sql, client_id, State.RUNNING)
    await put_slots(sql, 30)
    queue = await put_queue(sql, client_id, 1)
    by_seat = await one(database, client_id, queue[0], limits(creates=1, running=1))
    assert by_seat.wait == pytest.approx(40, abs=1)
    assert by_seat.hold_reason is HoldReason.RUNNING_LIMIT
    by_slot = await one(database, client_id, queue[0], limits(creates=1, running=2))
    assert by_slot.wait == pytest.approx(30, abs=1)
    assert by_slot.hold_reason is HoldReason.CREATE_LIMIT


async def test_nobody_knows_when_a_seat_is_free_before_anything_has_ended(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_task(sql, client_id, State.RUNNING)
    first, second = await put_queue(sql, client_id, 2)
    given = limits(running=2)
    assert (await one(database, client_id, first, given)).wait == 0
    assert (await one(database, client_id, second, given)).wait is None


async def test_a_wait_for_a_seat_is_named(database: Database, sql: Sql, client_id: UUID) -> None:
    """Also where a seat is free, and goes to somebody before it."""
    first, second = await put_queue(sql, client_id, 2)
    given = limits(running=1)
    assert (await one(database, client_id, first, given)).hold_reason is None
    assert (await one(database, client_id, second, given)).hold_reason is HoldReason.RUNNING_LIMIT


async def test_a_hold_that_is_short_by_its_nature_is_waited_for(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    (task_id,) = await put_queue(sql, client_id, 1)
    await hold(sql, HoldReason.KIE_BUSY, 30)
    assert (await one(database, client_id, task_id, limits())).wait == around(30)
    await hold(sql, HoldReason.KIE_BUSY, -30)
    assert (await one(database, client_id, task_id, limits())).wait == 0


async def test_slots_come_free_while_the_account_is_held(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    (task_id,) = await put_queue(sql, client_id, 1)
    await put_slots(sql, 20)
    await hold(sql, HoldReason.KIE_BUSY, 30)
    found = await one(database, client_id, task_id, limits(creates=1))
    assert found.wait == around(30)


async def test_a_task_that_stepped_aside_does_not_start_before_it_is_due(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    task_id = await put_task(sql, client_id, State.QUEUED, at={"due_at": 40})
    assert (await one(database, client_id, task_id, limits())).wait == around(40)


async def test_what_others_leave_of_the_limit_is_waited_for(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    """Four slots of which others leave two: two are free, and nothing may be sent yet."""
    queue = await put_queue(sql, client_id, 3)
    given = limits(creates=4)
    await put_slots(sql, 5, 8)
    await set_account(sql, "creates_allowed = 2, throttled_at = clock_timestamp()")
    found = [await one(database, client_id, task_id, given) for task_id in queue]
    assert await admit(database, given) == []
    assert [one.wait for one in found] == [pytest.approx(5, abs=1), around(8), around(5 + CYCLE)]
    assert found[0].hold_reason is HoldReason.CREATE_LIMIT


# -- the admission does as foretold


class Simulation:
    """Admits all there is while the clock goes from slot to slot; its own work takes no time."""

    def __init__(self, database: Database, sql: Sql, given: Limits) -> None:
        self._database = database
        self._sql = sql
        self._given = given
        self._origin = 0.0
        """The instant, by the database's clock, at which the simulation began, as shifted."""
        self._last = 0.0
        """What time it is."""
        self.starts: dict[UUID, float] = {}

    async def run(self) -> dict[UUID, float]:
        """Return when each task started, in seconds since the beginning."""
        self._origin = await self._clock()
        chance: float | None = 0.0
        while chance is not None:
            await self._go_to(self._last + chance + 0.001)
            for claimed in await admit(self._database, self._given):
                self.starts[claimed.id] = self._last
            await answer_all(self._sql, took=FIRST_CREATE, window=WINDOW)
            await end_all(self._sql)
            await self._go_to(self._last)
            async with self._database.read() as connection:
                chance = (await admission.next_chance(connection, self._given)).seconds
        return self.starts

    async def _go_to(self, instant: float) -> None:
        shift = instant - (await self._clock() - self._origin)
        await pass_time(self._sql, shift)
        self._origin -= shift
        self._last = instant

    async def _clock(self) -> float:
        now = await self._sql.fetchval("SELECT extract(epoch FROM clock_timestamp())::float")
        assert isinstance(now, float)
        return now


async def all_foretold(database: Database, sql: Sql, given: Limits) -> dict[UUID, float]:
    found: dict[UUID, float] = {}
    rows = await sql.fetch(
        "SELECT client_id, array_agg(id) AS ids FROM tasks WHERE state = 'queued' GROUP BY 1"
    )
    for row in rows:
        forecasts = await foretell(database, row["client_id"], row["ids"], given)
        assert set(forecasts) == set(row["ids"])
        for task_id, forecast_ in forecasts.items():
            assert forecast_.wait is not None
            found[task_id] = forecast_.wait
    return found


WEIGHTS = (1, 2, 4, 3, 8)


async def put_crowd(sql: Sql, seed: int) -> None:
    """Clients of all weights at different places, with queues of all lengths and priorities."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    first = 1
    for number, weight in enumerate(WEIGHTS):
        client = await put_client(sql, f"client {number}", weight=weight)
        await sql.execute(
            "UPDATE client_queues SET pass = $2 WHERE client_id = $1",
            client,
            chance.random() * 2,  # no two tags are the same
        )
        for _ in range(4):
            tasks = chance.randint(0, 6)
            await put_queue(sql, client, tasks, first=first, priority=chance.randint(0, 9))
            first += tasks


@pytest.mark.parametrize("seed", range(4))
async def test_the_admission_does_as_foretold(database: Database, sql: Sql, seed: int) -> None:
    given = limits(creates=7, running=1000)
    await put_crowd(sql, seed)
    await put_slots(sql, 2, 9, -1, 4.5)
    forecasts = await all_foretold(database, sql, given)
    started = await Simulation(database, sql, given).run()
    assert len(started) > 30
    assert set(forecasts) == set(started)
    for task_id, start in started.items():
        assert forecasts[task_id] == pytest.approx(start, abs=1.5), task_id
    turns = sorted(started, key=lambda task_id: started[task_id])
    assert [round(forecasts[task_id] / CYCLE, 1) for task_id in turns] == sorted(
        round(wait / CYCLE, 1) for wait in forecasts.values()
    )


async def test_equal_clients_get_different_turns(database: Database, sql: Sql) -> None:
    """All begin at the same tag, and still one of them goes first: by its id, as it is admitted."""
    given = limits(creates=2, running=1000)
    clients = [
        await put_client(sql, f"c{number}", client_id=UUID(int=number)) for number in range(1, 7)
    ]
    for number, client in enumerate(clients, start=1):
        await put_queue(sql, client, 2, first=100 * number)
    forecasts = await all_foretold(database, sql, given)
    started = await Simulation(database, sql, given).run()
    assert {task_id: round(wait / CYCLE) for task_id, wait in forecasts.items()} == {
        task_id: round(start / CYCLE) for task_id, start in started.items()
    }


async def test_a_crowded_account_admits_as_foretold(database: Database, sql: Sql) -> None:
    """For the first window; then others may have left. The simulation's own time comes on top."""
    given = limits(creates=8, running=1000)
    await put_crowd(sql, 1)
    await put_slots(sql, 1, 2, 3, 4, 5, 6)
    await set_account(sql, "creates_allowed = 5, throttled_at = clock_timestamp()")
    forecasts = await all_foretold(database, sql, given)
    started = await Simulation(database, sql, given).run()
    early = [task_id for task_id, start in started.items() if start < 8]
    assert len(early) == 5
    for task_id in early:
        assert forecasts[task_id] == pytest.approx(started[task_id], abs=0.9)


async def test_the_estimate_is_the_wait_from_now(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_slots(sql, 30)
    (task_id,) = await put_queue(sql, client_id, 1)
    found = await one(database, client_id, task_id, limits(creates=1))
    now = await sql.fetchval("SELECT clock_timestamp()")
    assert found.estimated_start_at is not None
    assert (found.estimated_start_at - now).total_seconds() == around(30)
    assert found.wait == around(30)
