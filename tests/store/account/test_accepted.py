"""A create that kie.ai took, recorded in one statement: only where there is nothing else to it."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from app.domain.admission import HoldReason
from app.domain.evidence import Verdict
from app.domain.keeping import raw
from app.domain.move import Move
from app.domain.report import Progress, Report
from app.domain.task import State
from app.store.account import accepted
from app.store.account.admission import ClaimedTask
from app.store.connections.engine import Database
from app.store.tasks import callbacks, doubts, rows
from tests.stage import eventually
from tests.store.stage import (
    Sql,
    admit,
    around,
    events,
    limits,
    new_callback,
    put_breaker,
    put_queue,
    put_task,
    task,
)

KIE_ID = "0123456789abcdef"
WINDOW = 10.0


@pytest_asyncio.fixture
async def claimed(database: Database, sql: Sql, client_id: UUID) -> ClaimedTask:
    await put_queue(sql, client_id, 1)
    (found,) = await admit(database, limits())
    return found


async def accept(database: Database, claimed: ClaimedTask) -> Mapping[str, Any] | None:
    step = Move(
        id=claimed.id, left=State.SUBMITTING, target=State.RUNNING, due_in=60, expires_in=3600
    )
    async with database.at_once() as connection:
        return await accepted.accept(
            *(connection, step, claimed, KIE_ID), window=WINDOW, answered_ago=2
        )


async def test_the_task_its_slot_and_the_success(
    database: Database, sql: Sql, claimed: ClaimedTask
) -> None:
    changed = await accept(database, claimed)
    assert changed is not None
    row = await task(sql, claimed.id)
    assert {name: row[name] for name in ("state", "kie_task_id", "version", "leased_until")} == {
        "state": "running",
        "kie_task_id": KIE_ID,
        "version": claimed.version + 1,
        "leased_until": None,
    }
    assert (row["due_at"], row["expires_at"]) == (around(60), around(3600))
    (stored,) = await sql.fetch("SELECT * FROM tasks WHERE id = $1", claimed.id)
    assert changed == {name: stored[name] for name in changed}
    assert await events(sql, claimed.id) == [
        ("queued", "submitting", 1, None),
        ("submitting", "running", 1, None),
    ]
    (slot,) = await sql.fetch(
        "SELECT task_id, took IS NOT NULL AS timed,"
        " extract(epoch FROM free_at - clock_timestamp())::float AS free_in FROM kie_slots"
    )
    assert tuple(slot) == (None, True, around(WINDOW - 2))
    (account,) = await sql.fetch("SELECT succeeded_client_id, succeeded_model FROM kie_account")
    assert tuple(account) == (claimed.client_id, claimed.model)


async def test_a_success_is_noted_once_a_second_and_waits_for_nobody(
    database: Database, sql: Sql, claimed: ClaimedTask
) -> None:
    async with database.begin() as connection:
        await connection.exec_driver_sql("SELECT 1 FROM kie_account FOR UPDATE")
        assert await accept(database, claimed) is not None
    assert await sql.fetchval("SELECT succeeded_at FROM kie_account") is None


async def test_a_second_time_it_does_nothing(
    database: Database, sql: Sql, claimed: ClaimedTask
) -> None:
    assert await accept(database, claimed) is not None
    before = await everything(sql)
    assert await accept(database, claimed) is None
    assert await everything(sql) == before


async def everything(sql: Sql) -> list[Any]:
    tables = ("tasks", "task_events", "kie_slots", "kie_account", "callbacks")
    return [await sql.fetch(f"SELECT * FROM {table}") for table in tables]  # noqa: S608  # ours


Make = Callable[[Database, Sql, ClaimedTask], Awaitable[object]]


def sets(assignments: str, table: str = "tasks") -> Make:
    async def make(_: Database, sql: Sql, __: ClaimedTask) -> None:
        await sql.execute(f"UPDATE {table} SET {assignments}")  # noqa: S608  # ours

    return make


async def called_back(database: Database, _: Sql, claimed: ClaimedTask) -> None:
    async with database.begin() as connection:
        said = Report(progress=Progress.SUCCEEDED, kie_task_ids=(KIE_ID,))
        one = new_callback(claimed.id, content=said)
        await callbacks.insert_callback(connection, one, Verdict.UNVERIFIED, raw(b"x", ()))


async def is_of_another(_: Database, sql: Sql, claimed: ClaimedTask) -> None:
    await put_task(sql, claimed.client_id, State.RUNNING, kie_task_id=KIE_ID)


async def held_pair(_: Database, sql: Sql, claimed: ClaimedTask) -> None:
    await put_breaker(sql, claimed.client_id, claimed.model, reason=None, unknowns=1)


MORE: dict[str, Make] = {
    "its lease is over": sets("state = 'unconfirmed', leased_until = NULL"),
    "it was sent again": sets("attempt = attempt + 1"),
    "it has an id": sets("kie_task_id = 'another'"),
    "somebody called back": called_back,
    "its end is to be asked about": sets("poll_asap_since = now()"),
    "another task has the id": is_of_another,
    "its client has chosen to hear of it": sets("webhook_events = '{task.running}'", "clients"),
    "its slot came free by itself": sets("task_id = NULL", "kie_slots"),
    "another has its slot": sets("attempt = 7", "kie_slots"),
    "the account is held": sets(
        f"hold_reason = '{HoldReason.KIE_BUSY}', held_since = now(), held_at = now(),"
        " held_until = now(), hold_tries = 1",
        "kie_account",
    ),
    "creates failed before": sets("failures = 1", "kie_account"),
    "its pair is watched": held_pair,
}


@pytest.mark.parametrize("more", MORE)
async def test_what_has_more_to_it_is_left_as_it_is(
    more: str, database: Database, sql: Sql, claimed: ClaimedTask
) -> None:
    await MORE[more](database, sql, claimed)
    before = await everything(sql)
    assert await accept(database, claimed) is None
    assert await everything(sql) == before


async def test_a_callback_that_comes_at_the_same_moment_is_not_overlooked(
    database: Database, sql: Sql, claimed: ClaimedTask
) -> None:
    """The statement began before it was kept, and waits for the row that its transaction has."""
    async with database.begin() as connection:
        await rows.lock_task(connection, claimed.id)
        said = Report(progress=Progress.SUCCEEDED, kie_task_ids=(KIE_ID,))
        one = new_callback(claimed.id, content=said)
        await callbacks.insert_callback(connection, one, Verdict.UNVERIFIED, raw(b"x", ()))
        await doubts.ask_in_doubt(connection, claimed.id, every=1)
        accepting = asyncio.create_task(accept(database, claimed))
        await eventually(lambda: _is_waiting(sql))
    assert await accepting is None
    assert (await task(sql, claimed.id))["state"] == "submitting"


async def _is_waiting(sql: Sql) -> bool | None:
    return bool(await sql.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")) or None


async def test_only_the_task_that_was_claimed(
    database: Database, sql: Sql, claimed: ClaimedTask
) -> None:
    before = await everything(sql)
    assert await accept(database, replace(claimed, id=uuid.uuid4())) is None
    assert await everything(sql) == before
