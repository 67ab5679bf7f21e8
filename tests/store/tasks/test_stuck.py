"""What needs a person, or will if nobody works: found with its reason, and nothing else."""

from typing import Any
from uuid import UUID

import pytest

from app.domain.task import State
from app.store.connections.engine import Database
from app.store.tasks import stuck
from tests.store.stage import Sql, put_client, put_task

GRACE = 60.0


async def found(database: Database, limit: int = 100) -> dict[UUID, str]:
    return {row["id"]: row["why"] for row in await listed(database, limit)}


async def listed(database: Database, limit: int = 100) -> list[dict[str, Any]]:
    async with database.read() as connection:
        rows = await stuck.list_stuck(connection, grace=GRACE, limit=limit)
    return [dict(row) for row in rows]


ASKED = [state for state in State if state not in {State.QUEUED, State.SUBMITTING}]


@pytest.mark.parametrize(
    ("state", "at", "why"),
    [
        (State.SUBMITTING, {"leased_until": -61.0}, "lease_over"),
        (State.UNCONFIRMED, {}, "unconfirmed"),
        (State.UNCONFIRMED, {"due_at": -61.0}, "unconfirmed"),
        *(
            (state, {"due_at": -61.0}, "overdue")
            for state in ASKED
            if state is not State.UNCONFIRMED
        ),
        (State.RUNNING, {"due_at": -900.0, "leased_until": -61.0}, "overdue"),
        *((state, {"parked_at": -1.0}, "set_aside") for state in ASKED),
        (State.RUNNING, {"parked_at": -1.0, "due_at": -900.0}, "set_aside"),
    ],
)
async def test_what_is_stuck_is_found_with_its_reason(
    database: Database, sql: Sql, client_id: UUID, state: State, at: dict[str, float], why: str
) -> None:
    task_id = await put_task(sql, client_id, state, at=at)
    assert await found(database) == {task_id: why}


@pytest.mark.parametrize(
    ("state", "at"),
    [
        (State.SUBMITTING, {"leased_until": 20.0}),
        (State.SUBMITTING, {"leased_until": -50.0}),  # the sweep may still come
        (State.QUEUED, {"due_at": -900.0}),  # it waits for its turn, as long as that takes
        (State.RUNNING, {"due_at": -50.0}),
        (State.RUNNING, {"due_at": 900.0}),
        (State.RUNNING, {"due_at": -900.0, "leased_until": 20.0}),  # somebody is at it
        (State.RUNNING, {"due_at": -900.0, "leased_until": -50.0}),
        (State.RUNNING, {}),
        (State.SUCCEEDED, {}),
        (State.CANCELED, {}),
    ],
)
async def test_what_is_not_stuck_is_not_found(
    database: Database, sql: Sql, client_id: UUID, state: State, at: dict[str, float]
) -> None:
    await put_task(sql, client_id, state, at=at)
    assert await found(database) == {}


async def test_the_oldest_come_first_and_the_list_has_an_end(database: Database, sql: Sql) -> None:
    clients = [await put_client(sql, name) for name in ("a", "b")]
    ids = [
        await put_task(sql, clients[number % 2], State.UNCONFIRMED, id=UUID(int=number))
        for number in (5, 3, 9, 1, 7)
    ]
    assert list(await found(database)) == sorted(ids)
    assert list(await found(database, limit=2)) == sorted(ids)[:2]


async def test_it_shows_whose_task_it_is_and_its_state(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    at = {"parked_at": -5.0, "due_at": -9.0, "submitted_at": -60.0}
    task_id = await put_task(
        sql, client_id, State.RUNNING, at=at, attempt=2, kie_task_id="k", last_poll_error="KeyError"
    )
    (row,) = await listed(database)
    instants = await sql.fetchrow(
        "SELECT created_at, submitted_at, due_at, leased_until, parked_at AS set_aside_at"
        " FROM tasks"
    )
    assert instants is not None
    assert row == {
        "id": task_id,
        "why": "set_aside",
        "client": "tests",
        "state": "running",
        "model": "m",
        "kie_task_id": "k",
        "attempt": 2,
        "breakdown": "KeyError",
        **dict(instants),
    }
