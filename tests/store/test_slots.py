"""Slots: each is free one window after the answer of the call that used it, and freed once."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from app.domain.admission import Limits
from app.store import slots
from app.store.account.admission import ClaimedTask
from app.store.connections.engine import Database
from tests.store.stage import (
    TAKEN_FOR,
    Sql,
    admit,
    around,
    limits,
    pass_time,
    put_client,
    put_queue,
    release,
)

SLOTS = "SELECT slot, task_id, free_at - clock_timestamp() AS free_in FROM kie_slots ORDER BY slot"


async def ids(database: Database, given: Limits) -> list[UUID]:
    return [claimed.id for claimed in await admit(database, given)]


async def test_the_window_counts_from_the_answer_and_not_from_its_record(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 2)
    given = limits(creates=1)
    (claimed,) = await admit(database, given)
    await pass_time(sql, 9)
    assert await release(database, claimed, answered_ago=8)
    row = await sql.fetchrow("SELECT took, free_at - clock_timestamp() AS free_in FROM kie_slots")
    assert row is not None
    assert (row["took"], row["free_in"].total_seconds()) == (
        pytest.approx(1, abs=0.9),
        pytest.approx(2, abs=0.9),
    )


async def test_the_slot_of_a_dead_process_is_free_at_its_bound(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    first, second = await put_queue(sql, client_id, 2)
    given = limits(creates=1)
    (dead,) = await admit(database, given)
    assert dead.id == first
    await pass_time(sql, TAKEN_FOR - 10)
    assert await ids(database, given) == []
    await pass_time(sql, 10)
    (living,) = await admit(database, given)
    assert (living.id, living.slot) == (second, dead.slot)
    assert not await release(database, dead)  # it is another's by now
    assert await release(database, living)


async def test_a_slot_is_released_once(database: Database, sql: Sql, client_id: UUID) -> None:
    await put_queue(sql, client_id, 1)
    (claimed,) = await admit(database, limits(creates=1))
    assert [await release(database, claimed) for _ in range(2)] == [True, False]
    (slot,) = await sql.fetch(SLOTS)
    assert (slot["task_id"], slot["free_in"].total_seconds()) == (None, around(10))


async def test_an_earlier_attempt_does_not_free_the_slot_of_a_later_one(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    """A record whose commit went through unanswered is repeated for minutes; meanwhile the task may
    have been sent again, and with the only slot there is."""
    (task_id,) = await put_queue(sql, client_id, 1)
    given = limits(creates=1)
    (first,) = await admit(database, given)
    assert await release(database, first)
    await sql.execute(
        "UPDATE tasks SET state = 'queued', submitted_at = NULL, leased_until = NULL,"
        " due_at = clock_timestamp()"
    )
    await pass_time(sql, 11)
    (second,) = await admit(database, given)
    assert (second.id, second.slot, second.attempt) == (task_id, first.slot, 2)
    assert not await release(database, first)
    (slot,) = await sql.fetch(SLOTS)
    assert slot["task_id"] == task_id
    assert await release(database, second)


async def _answered(database: Database, tasks: Sequence[ClaimedTask]) -> None:
    for claimed in tasks:
        assert await release(database, claimed)


async def _free_in(sql: Sql) -> list[float]:
    return sorted(slot["free_in"].total_seconds() for slot in await sql.fetch(SLOTS))


async def _spread(database: Database) -> None:
    async with database.begin() as connection:
        await slots.spread(connection, limits().creates)


async def test_slots_are_spread_over_the_window_in_which_they_come_free(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 20)
    await _answered(database, await admit(database, limits()))
    assert await _free_in(sql) == [around(10)] * 20
    for _ in range(2):  # a second time changes nothing
        await _spread(database)
        assert await _free_in(sql) == [around(10 + number / 2) for number in range(20)]


async def test_a_slot_that_is_in_use_or_free_is_not_spread(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 20)
    *early, late, under_way = await admit(database, limits())
    await _answered(database, early)
    await pass_time(sql, 11)
    await _answered(database, [late])
    await _spread(database)
    now = {row["slot"]: row["free_in"].total_seconds() for row in await sql.fetch(SLOTS)}
    assert now[late.slot] == around(10)
    assert now[under_way.slot] == around(TAKEN_FOR - 11)
    assert max(now[one.slot] for one in early) == around(-1)


async def test_spread_slots_let_another_through_at_once_and_as_many_in_all(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    """Each waits a window more at most, once."""
    other = await put_client(sql, "other")
    await put_queue(sql, client_id, 1000)
    await _answered(database, await admit(database, limits()))
    await _spread(database)
    (others,) = await put_queue(sql, other, 1, first=5000)
    await pass_time(sql, 10)
    turns = []
    for _ in range(20):
        turns.append(await admit(database, limits()))
        await _answered(database, turns[-1])
        await _spread(database)
        await pass_time(sql, 0.5)
    assert others in [task.id for task in turns[0]]
    assert sum(map(len, turns)) in range(19, 23)  # the clock went on meanwhile
    assert max(map(len, turns)) < 5
    assert max(await _free_in(sql)) == around(10)
