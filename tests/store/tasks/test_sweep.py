"""Lost leases and bounds: only what is over is freed or ended, and it ends as the rules say."""

import asyncio
from itertools import chain
from uuid import UUID

import pytest

from app.domain.task import DEADLINES, State
from app.store.connections.engine import Database
from app.store.tasks import sweep
from tests.store.stage import Sql, around, events, put_task, task

BOUNDS = {
    State.QUEUED: "submit_by",
    State.UNCONFIRMED: "expires_at",
    State.RUNNING: "expires_at",
}
ENDS = {
    State.QUEUED: ("failed", "submit_deadline"),
    State.UNCONFIRMED: ("expired", "outcome_unknown"),
    State.RUNNING: ("expired", "no_answer"),
}
BOUNDED = pytest.mark.parametrize("state", DEADLINES)


async def free(database: Database, limit: int = 100) -> list[UUID]:
    async with database.begin() as connection:
        return await sweep.free_lost(connection, limit=limit, expires_in=900, window=10)


async def end(
    database: Database, state: State, limit: int = 100, *, ask_in: float | None = None
) -> list[UUID]:
    async with database.begin() as connection:
        return await sweep.expire(connection, state, limit=limit, ask_in=ask_in)


async def test_a_task_whose_process_died_becomes_unconfirmed_and_is_asked_about(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    at = {"leased_until": -1.0, "submitted_at": -31.0}
    task_id = await put_task(sql, client_id, State.SUBMITTING, at=at, attempt=2)
    assert await free(database) == [task_id]
    row = await task(sql, task_id)
    assert (row["state"], row["attempt"], row["leased_until"]) == ("unconfirmed", 2, None)
    assert (row["due_at"], row["expires_at"]) == (around(0), around(900))
    assert (row["submitted_at"], row["finished_at"]) == (around(-31), None)
    assert await events(sql, task_id) == [
        ("submitting", "unconfirmed", 2, "the process that sent it is gone")
    ]
    assert await free(database) == []


async def test_the_slot_of_a_lost_create_is_free_one_window_after_its_lease(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    """Else what a dead process had taken would keep all others waiting for a minute more."""
    at = {"leased_until": -1.0, "submitted_at": -31.0}
    task_id = await put_task(sql, client_id, State.SUBMITTING, at=at, attempt=2)
    for slot, attempt in ((1, 2), (2, 1)):
        await sql.execute(
            "INSERT INTO kie_slots VALUES ('create', $1, now() + interval '39 s', $2, $3, now())",
            slot,
            task_id,
            attempt,
        )
    assert await free(database) == [task_id]
    rows = await sql.fetch(
        "SELECT extract(epoch FROM free_at - clock_timestamp())::float AS free_in FROM kie_slots"
        " ORDER BY slot"
    )
    assert [row["free_in"] for row in rows] == [around(10), around(39)]


@pytest.mark.parametrize(
    ("state", "leased_until"),
    [
        (State.SUBMITTING, 1.0),
        *((state, -1.0) for state in State if state is not State.SUBMITTING),
    ],
)
async def test_only_lost_creates_are_freed(
    database: Database, sql: Sql, client_id: UUID, state: State, leased_until: float
) -> None:
    task_id = await put_task(sql, client_id, state, at={"leased_until": leased_until})
    assert await free(database) == []
    assert (await task(sql, task_id))["state"] == state
    assert await events(sql, task_id) == []


async def test_the_longest_lost_are_freed_first_and_once(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    ids = [
        await put_task(sql, client_id, State.SUBMITTING, at={"leased_until": -age})
        for age in range(20, 0, -1)
    ]
    assert set(await free(database, limit=5)) == set(ids[:5])
    freed = await asyncio.gather(*(free(database, limit=3) for _ in range(10)))
    assert sorted(chain.from_iterable(freed)) == sorted(ids[5:])
    assert await sql.fetchval("SELECT count(*) FROM task_events") == len(ids)


@BOUNDED
async def test_a_task_past_its_bound_ends_as_the_rules_say(
    database: Database, sql: Sql, client_id: UUID, state: State
) -> None:
    at = {BOUNDS[state]: -1.0, "due_at": 5.0, "leased_until": 5.0, "poll_asap_since": -1.0}
    task_id = await put_task(sql, client_id, state, at=at, attempt=1)
    assert await end(database, state) == [task_id]
    row = await task(sql, task_id)
    assert (row["state"], row["fail_code"]) == ENDS[state]
    assert row["fail_message"] == DEADLINES[state].fail_message
    assert (row["fail_source"], row["settled_by"]) == ("gateway", None)
    assert (row["finished_at"], row["updated_at"]) == (around(0), around(0))
    owed = ("due_at", "leased_until", "expires_at", "poll_asap_since")
    assert [row[name] for name in owed] == [None] * len(owed)
    ((*moved, _),) = await events(sql, task_id)
    assert moved == [state.value, row["state"], 1]
    assert await end(database, state) == []


@BOUNDED
async def test_a_task_within_its_bound_stays(
    database: Database, sql: Sql, client_id: UUID, state: State
) -> None:
    await put_task(sql, client_id, state, at={BOUNDS[state]: 60.0})
    assert await end(database, state) == []


@BOUNDED
async def test_the_bound_of_one_state_ends_no_other(
    database: Database, sql: Sql, client_id: UUID, state: State
) -> None:
    for other in set(State) - {state}:
        await put_task(sql, client_id, other, at={"submit_by": -1, "expires_at": -1})
    assert await end(database, state) == []
    assert await sql.fetchval("SELECT count(*) FROM task_events") == 0


@BOUNDED
async def test_the_longest_over_end_first_and_once(
    database: Database, sql: Sql, client_id: UUID, state: State
) -> None:
    ids = [
        await put_task(sql, client_id, state, at={BOUNDS[state]: -age}) for age in range(20, 0, -1)
    ]
    assert set(await end(database, state, limit=5)) == set(ids[:5])
    ended = await asyncio.gather(*(end(database, state, limit=3) for _ in range(10)))
    assert sorted(chain.from_iterable(ended)) == sorted(ids[5:])
    assert await sql.fetchval("SELECT count(*) FROM task_events") == len(ids)


@BOUNDED
async def test_what_ended_may_be_asked_about_later_all_the_same(
    database: Database, sql: Sql, client_id: UUID, state: State
) -> None:
    task_id = await put_task(sql, client_id, state, at={BOUNDS[state]: -1.0, "due_at": 5.0})
    assert await end(database, state, ask_in=7200) == [task_id]
    assert (await task(sql, task_id))["due_at"] == around(7200)
