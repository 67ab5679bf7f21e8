"""Admission: whose turn it is, how many may go, and what keeps all of them back."""

import uuid
from collections import Counter
from uuid import UUID

import pytest

from app.domain.admission import PAUSES, HoldReason, Limits
from app.domain.task import State
from app.store.account import admission
from app.store.connections.engine import Database
from app.store.tasks import rows
from tests.store.stage import (
    TAKEN_FOR,
    Sql,
    admit,
    answer_all,
    around,
    end_all,
    events,
    limits,
    pass_time,
    put_client,
    put_queue,
    put_task,
    release,
    task,
)

WIDE = limits(creates=1000, running=1000)
"""Limits that keep nothing back."""

SLOTS = "SELECT slot, task_id, free_at - clock_timestamp() AS free_in FROM kie_slots ORDER BY slot"


async def ids(database: Database, given: Limits = WIDE, limit: int = 50) -> list[UUID]:
    return [claimed.id for claimed in await admit(database, given, limit=limit)]


async def next_chance(database: Database, given: Limits) -> float | None:
    async with database.read() as connection:
        return (await admission.next_chance(connection, given)).seconds


async def set_account(sql: Sql, assignments: str) -> None:
    await sql.execute(f"UPDATE kie_account SET {assignments}")  # noqa: S608  # ours


async def hold(sql: Sql, reason: HoldReason, seconds: float, *, proved: bool = False) -> None:
    """Hold the account since a minute ago, until in so many seconds."""
    await set_account(
        sql,
        f"hold_reason = '{reason}', hold_tries = 1,"
        " held_since = clock_timestamp() - interval '60 s',"
        " held_at = clock_timestamp() - interval '60 s',"
        f" held_until = clock_timestamp() + make_interval(secs => {seconds}),"
        f" probed_at = {'clock_timestamp()' if proved else 'NULL'}",
    )


# -- what a claim leaves behind


async def test_a_claimed_task_leaves_the_queue_with_a_slot_in_hand(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    claim = uuid.uuid4()
    task_id = await put_task(
        sql, client_id, State.QUEUED, at={"due_at": -1}, attempt=2, tries=3, input='{"n": 1.50}'
    )
    (claimed,) = await admit(database, WIDE, claim=claim)
    assert (claimed.id, claimed.attempt, claimed.tries, claimed.slot) == (task_id, 3, 3, 1)
    assert (claimed.model, claimed.input.encoded_json) == ("m", '{"n": 1.50}')
    row = await task(sql, task_id)
    assert (row["state"], row["attempt"], row["tries"]) == ("submitting", 3, 3)
    assert (row["due_at"], row["leased_until"], row["submitted_at"]) == (
        None,
        around(30),
        around(0),
    )
    assert (row["claim"], row["updated_at"]) == (claim, around(0))
    assert claimed.submitted_at == await sql.fetchval("SELECT submitted_at FROM tasks")
    assert await events(sql, task_id) == [("queued", "submitting", 3, None)]
    (slot,) = await sql.fetch(SLOTS)
    assert (slot["slot"], slot["task_id"]) == (1, task_id)
    assert slot["free_in"].total_seconds() == around(TAKEN_FOR)
    assert await ids(database) == []


@pytest.mark.parametrize(
    ("state", "at"),
    [
        (State.QUEUED, {"due_at": 60.0}),
        (State.QUEUED, {"due_at": -1.0, "submit_by": -1.0}),
        *((state, {"due_at": -1.0}) for state in State if state is not State.QUEUED),
    ],
)
async def test_what_is_not_to_be_sent_is_not_claimed(
    database: Database, sql: Sql, client_id: UUID, state: State, at: dict[str, float]
) -> None:
    task_id = await put_task(sql, client_id, state, at=at)
    assert await ids(database) == []
    assert (await task(sql, task_id))["state"] == state
    assert await sql.fetch(SLOTS) == []
    assert await sql.fetchval("SELECT vtime FROM kie_account") == 0


async def test_a_task_that_another_holds_is_passed_over_and_not_waited_for(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    held, *others = await put_queue(sql, client_id, 3)
    async with database.begin() as connection:
        await rows.lock_task(connection, held)
        assert await ids(database, limit=2) == others


async def test_a_claim_that_is_rolled_back_claimed_nothing(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    (task_id,) = await put_queue(sql, client_id, 1)
    async with database.begin() as connection:
        await admission.lock_account(connection, wait=True)
        claimed = await admission.admit(
            connection,
            limits=WIDE,
            limit=5,
            lease=30,
            taken_for=70,
            claim=uuid.uuid4(),
            plain=True,
        )
        assert [one.id for one in claimed] == [task_id]
        await connection.rollback()
    assert (await task(sql, task_id))["state"] == "queued"
    assert (await sql.fetch(SLOTS), await events(sql, task_id)) == ([], [])
    assert await ids(database) == [task_id]


async def test_one_admits_at_a_time(database: Database, sql: Sql, client_id: UUID) -> None:
    await put_queue(sql, client_id, 1)
    async with database.begin() as first, database.begin() as second:
        assert await admission.lock_account(first, wait=False)
        assert not await admission.lock_account(second, wait=False)
    async with database.begin() as third:
        assert await admission.lock_account(third, wait=False)


async def test_who_hangs_with_the_lock_in_hand_is_put_out(database: Database) -> None:
    """Within its transaction alone: the connection goes back as it came."""
    ask = "SELECT current_setting('idle_in_transaction_session_timeout')"
    async with database.own_connection() as connection:
        before = (await connection.exec_driver_sql(ask)).scalar_one()
        await admission.lock_account(connection, wait=True)
        assert (await connection.exec_driver_sql(ask)).scalar_one() == "10s"
        await connection.commit()
        assert (await connection.exec_driver_sql(ask)).scalar_one() == before


# -- whose turn it is


async def test_age_orders_within_a_priority_and_priority_within_a_client(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    low = await put_queue(sql, client_id, 2, first=1, priority=0)
    usual = await put_queue(sql, client_id, 3, first=11, priority=5)
    high = await put_queue(sql, client_id, 2, first=21, priority=9)
    later = await put_queue(sql, client_id, 1, first=5, priority=9)  # older by its id
    expected = [*later, *high, *usual, *low]
    assert await ids(database, limit=3) == expected[:3]
    assert await ids(database, limit=50) == expected[3:]


async def test_a_priority_is_of_no_use_against_other_clients(database: Database, sql: Sql) -> None:
    loud, quiet = [await put_client(sql, name) for name in ("loud", "quiet")]
    await put_queue(sql, loud, 20, first=1, priority=9)
    await put_queue(sql, quiet, 20, first=101, priority=0)
    taken = await ids(database, limit=20)
    assert Counter(one.int > 100 for one in taken) == {True: 10, False: 10}


WEIGHTS = (1, 1, 2, 4, 8)


async def put_weighted(sql: Sql, tasks_per_weight: int, spare: int = 0) -> dict[UUID, int]:
    """Queue tasks for a client of each weight, as many as its weight; returns the weights."""
    found = {}
    first = 1
    for number, weight in enumerate(WEIGHTS):
        client = await put_client(sql, f"client {number}", weight=weight)
        count = weight * tasks_per_weight + spare
        await put_queue(sql, client, count, first=first)
        found[client] = weight
        first += count
    return found


def check_shares(admitted: list[UUID], weights: dict[UUID, int]) -> None:
    """Each share is its weight's within 0.2 points."""
    counted = Counter(admitted)
    for client, weight in weights.items():
        due = weight / sum(weights.values())
        assert counted[client] / len(admitted) == pytest.approx(due, abs=0.002)


SENT = "SELECT client_id FROM task_events WHERE to_state = 'submitting' ORDER BY id"


@pytest.mark.parametrize("at_once", [1, 7, 50])
async def test_shares_go_by_weight_while_all_have_work(
    database: Database, sql: Sql, at_once: int
) -> None:
    weights = await put_weighted(sql, 60)
    given = limits(creates=at_once, running=at_once)
    left = 800 if at_once > 1 else 160
    while left > 0:
        left -= len(await ids(database, given, limit=at_once))
        await end_all(sql)
        await sql.execute("DELETE FROM kie_slots")
    admitted = [row["client_id"] for row in await sql.fetch(SENT)]
    whole = len(admitted) // sum(WEIGHTS) * sum(WEIGHTS)
    check_shares(admitted[:whole], weights)


async def test_a_flood_lets_a_newcomer_through_at_once(database: Database, sql: Sql) -> None:
    flooder = await put_client(sql, "flooder", weight=10)
    newcomer = await put_client(sql, "newcomer", weight=1)
    await put_queue(sql, flooder, 10_000, priority=9)
    given = limits(creates=20)
    for _ in range(3):  # it has been at it for a while
        assert len(await ids(database, given)) == 20
        await end_all(sql)
        await pass_time(sql, TAKEN_FOR + 1)
    (first, *_) = await put_queue(sql, newcomer, 5, first=20_001, priority=0)
    assert first in (await ids(database, given, limit=20))[:3]


async def test_one_slot_at_a_time_a_newcomer_waits_for_two_of_the_flood_at_most(
    database: Database, sql: Sql
) -> None:
    flooder = await put_client(sql, "flooder", weight=10)
    newcomer = await put_client(sql, "newcomer", weight=1)
    await put_queue(sql, flooder, 10_000, priority=9)
    assert len(await ids(database, limit=25)) == 25
    (first, *_) = await put_queue(sql, newcomer, 5, first=20_001, priority=0)
    turns = [(await ids(database, limit=1))[0] for _ in range(3)]
    assert first in turns


async def test_who_had_no_work_does_not_save_turns_up(database: Database, sql: Sql) -> None:
    busy, idle = [await put_client(sql, name) for name in ("busy", "idle")]
    await put_queue(sql, busy, 200)
    assert len(await ids(database, limit=100)) == 100
    await put_queue(sql, idle, 100, first=1001)
    taken = await ids(database, limit=20)
    assert sum(one.int > 1000 for one in taken) in {10, 11}


async def test_who_worked_alone_is_not_made_to_pay_for_it(database: Database, sql: Sql) -> None:
    """Turns taken while nobody else wanted them are nobody's debt."""
    alone, later = [await put_client(sql, name, weight=2) for name in ("alone", "later")]
    await put_queue(sql, alone, 100)
    assert len(await ids(database, limit=50)) == 50
    await put_queue(sql, later, 50, first=1001)
    taken = await ids(database, limit=20)
    assert sum(one.int > 1000 for one in taken) in {10, 11}


async def test_the_order_within_one_admission_is_the_order_of_turns(
    database: Database, sql: Sql
) -> None:
    light = await put_client(sql, "light", weight=1)
    heavy = await put_client(sql, "heavy", weight=4)
    await put_queue(sql, light, 10, first=1)
    await put_queue(sql, heavy, 20, first=101)
    taken = await ids(database, limit=10)
    assert Counter(one.int > 100 for one in taken[:5]) == {True: 4, False: 1}
    assert Counter(one.int > 100 for one in taken[5:]) == {True: 4, False: 1}


# -- how many may go


async def test_there_are_as_many_slots_as_the_limit(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 50)
    given = limits(creates=20)
    assert len(await ids(database, given, limit=7)) == 7
    assert len(await ids(database, given)) == 13
    assert await ids(database, given) == []
    assert [row["slot"] for row in await sql.fetch(SLOTS)] == list(range(1, 21))


async def test_a_slot_is_free_one_window_after_its_answer_and_not_before(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 50)
    given = limits(creates=4)
    claimed = await admit(database, given)
    assert len(claimed) == 4
    await pass_time(sql, 25)  # a slow create takes no second slot, however long it takes
    assert await ids(database, given) == []
    for one in claimed[:3]:
        assert await release(database, one)
    await pass_time(sql, 9)
    assert await ids(database, given) == []
    await pass_time(sql, 1)
    assert len(await ids(database, given)) == 3
    taken = {row["slot"] for row in await sql.fetch(SLOTS) if row["task_id"] is not None}
    assert claimed[3].slot in taken


async def test_no_more_run_than_may(database: Database, sql: Sql, client_id: UUID) -> None:
    await put_queue(sql, client_id, 50)
    given = limits(creates=40, running=10)
    running = [await put_task(sql, client_id, State.RUNNING) for _ in range(3)]
    await put_task(sql, client_id, State.SUCCEEDED)
    assert len(await ids(database, given)) == 7
    assert await ids(database, given) == []
    await sql.execute(
        "UPDATE tasks SET state = 'failed', finished_at = clock_timestamp() WHERE id = $1",
        running[0],
    )
    assert len(await ids(database, given)) == 1


@pytest.mark.parametrize(("age", "seats"), [(880.0, 0), (920.0, 1)])
async def test_an_unconfirmed_task_holds_a_seat_for_a_quarter_of_an_hour(
    database: Database, sql: Sql, client_id: UUID, age: float, seats: int
) -> None:
    await put_queue(sql, client_id, 2)
    await put_task(sql, client_id, State.UNCONFIRMED, at={"submitted_at": -age})
    assert len(await ids(database, limits(running=1))) == seats


# -- others use the account too


@pytest.mark.parametrize(
    ("windows", "allowed"), [(0.5, 15), (1.5, 16), (4.5, 19), (5.5, 20), (100, 20)]
)
async def test_what_others_leave_grows_by_one_a_window(
    database: Database, sql: Sql, client_id: UUID, windows: float, allowed: int
) -> None:
    await put_queue(sql, client_id, 50)
    await set_account(sql, "creates_allowed = 15, throttled_at = clock_timestamp()")
    await pass_time(sql, windows * 10)
    assert len(await ids(database, limits(creates=20))) == allowed
    assert await ids(database, limits(creates=20)) == []


async def test_busy_slots_count_against_what_others_leave(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 50)
    given = limits(creates=20)
    claimed = await admit(database, given, limit=17)
    await set_account(sql, "creates_allowed = 15, throttled_at = clock_timestamp()")
    assert await ids(database, given) == []
    for one in claimed[:5]:
        assert await release(database, one, window=1)
    await pass_time(sql, 2)
    assert len(await ids(database, given)) == 3


# -- what keeps all back


async def test_a_pause_of_everything_lets_nothing_through(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 5)
    await set_account(sql, "paused_at = clock_timestamp()")
    assert await ids(database) == []
    assert await next_chance(database, WIDE) is None
    await set_account(sql, "paused_at = NULL")
    assert len(await ids(database)) == 5


async def test_a_paused_client_lets_others_pass(database: Database, sql: Sql) -> None:
    paused, other = [await put_client(sql, name) for name in ("paused", "other")]
    await put_queue(sql, paused, 5)
    expected = await put_queue(sql, other, 5, first=101)
    await sql.execute(
        "UPDATE client_queues SET paused_at = clock_timestamp() WHERE client_id = $1", paused
    )
    assert await ids(database) == expected
    await sql.execute("UPDATE client_queues SET paused_at = NULL")
    assert len(await ids(database)) == 5


@pytest.mark.parametrize("reason", PAUSES)
async def test_a_held_account_lets_nothing_through_before_its_time(
    database: Database, sql: Sql, client_id: UUID, reason: HoldReason
) -> None:
    await put_queue(sql, client_id, 5)
    await hold(sql, reason, 30, proved=True)
    assert await ids(database) == []


@pytest.mark.parametrize("reason", PAUSES)
async def test_a_held_account_is_probed_by_one_task_at_a_time(
    database: Database, sql: Sql, client_id: UUID, reason: HoldReason
) -> None:
    await put_queue(sql, client_id, 5)
    await hold(sql, reason, -1, proved=True)
    assert len(await ids(database)) == 1
    assert await ids(database) == []  # the probe is under way
    await sql.execute("UPDATE tasks SET state = 'unconfirmed' WHERE state = 'submitting'")
    assert len(await ids(database)) == 1


async def test_nothing_probes_while_an_earlier_create_is_under_way(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 5)
    assert len(await ids(database, limit=1)) == 1
    await hold(sql, HoldReason.KIE_BUSY, -1)
    assert await ids(database) == []
    await sql.execute("UPDATE tasks SET state = 'running' WHERE state = 'submitting'")
    assert len(await ids(database)) == 1


async def test_a_probe_needs_a_slot_and_a_seat_as_well(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 5)
    await put_task(sql, client_id, State.RUNNING)
    await hold(sql, HoldReason.KIE_BUSY, -1)
    assert await ids(database, limits(running=1)) == []
    assert len(await ids(database, limits(running=2))) == 1


async def test_no_task_is_risked_before_the_credit_call_went_well(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 5)
    await hold(sql, HoldReason.KIE_ACCOUNT, -1)
    assert await ids(database) == []
    assert await next_chance(database, WIDE) is None
    await hold(sql, HoldReason.KIE_ACCOUNT, -1, proved=True)
    assert len(await ids(database)) == 1


async def test_every_account_that_is_not_held_needs_no_proof(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 5)
    await set_account(sql, "probed_at = NULL, hold_reason = NULL, held_until = NULL")
    assert len(await ids(database)) == 5


# -- when there may be more


async def test_the_next_chance_is_the_next_free_slot_or_the_end_of_the_hold(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    given = limits(creates=2)
    assert await next_chance(database, given) is None  # nothing is queued
    await put_queue(sql, client_id, 9)
    assert await next_chance(database, given) == 0
    for claimed in await admit(database, given):
        await release(database, claimed, window=8 + 10 * (claimed.slot - 1))
    assert await next_chance(database, given) == around(8)
    await hold(sql, HoldReason.KIE_BUSY, 40)
    await answer_all(sql)
    await end_all(sql)
    assert await next_chance(database, given) == around(40)
    await pass_time(sql, 41)
    assert await next_chance(database, given) == 0


async def test_time_alone_brings_no_seat(database: Database, sql: Sql, client_id: UUID) -> None:
    await put_queue(sql, client_id, 2)
    await put_task(sql, client_id, State.RUNNING)
    assert await next_chance(database, limits(running=1)) is None
    assert await next_chance(database, limits(running=2)) == 0


# -- a commit that nobody heard of


async def test_what_a_claim_took_is_found_by_it(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 5)
    mine, other = uuid.uuid4(), uuid.uuid4()
    taken = await admit(database, WIDE, limit=3, claim=mine)
    await admit(database, WIDE, claim=other)
    await sql.execute("UPDATE tasks SET state = 'unconfirmed' WHERE id = $1", taken[0].id)
    async with database.begin() as connection:
        found = await admission.claimed_by(connection, mine)
        assert await admission.claimed_by(connection, uuid.uuid4()) == []
    assert {one.id: one for one in found} == {one.id: one for one in taken}


async def test_what_was_answered_is_not_found_by_its_claim_any_more(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 2)
    claim = uuid.uuid4()
    answered, waiting = await admit(database, WIDE, claim=claim)
    await sql.execute("UPDATE tasks SET state = 'running' WHERE id = $1", answered.id)
    async with database.begin() as connection:
        assert [one.id for one in await admission.claimed_by(connection, claim)] == [waiting.id]
    await release(database, waiting)  # its slot is given up: it may not be sent any more
    async with database.begin() as connection:
        assert await admission.claimed_by(connection, claim) == []
