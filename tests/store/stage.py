"""Rows for the tests of the store: put there by plain SQL, and looked at by it."""

import hashlib
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import pytest

from app.domain.admission import HoldReason, Limit, Limits
from app.domain.draft import Draft
from app.domain.evidence import Signature
from app.domain.report import Progress, Report
from app.domain.statement import Statement
from app.domain.task import FINAL, Source, State
from app.store import slots
from app.store.account import admission
from app.store.account.admission import ClaimedTask
from app.store.connections.engine import Database
from app.store.tasks.storing import NewTask

Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
NEAR = 5.0
"""Seconds that an instant may be off: the test takes time too."""


async def put_client(
    sql: Sql, name: str = "tests", *, weight: int = 1, client_id: UUID | None = None
) -> UUID:
    """Store a client with its place in the fair queue."""
    client_id = client_id or uuid.uuid4()
    await sql.execute(
        "INSERT INTO clients (id, name, weight, signing_secret) VALUES ($1, $2, $3, '\\x00')",
        client_id,
        name,
        weight,
    )
    await sql.execute("INSERT INTO client_queues (client_id) VALUES ($1)", client_id)
    return client_id


async def put_task(
    sql: Sql,
    client_id: UUID,
    state: State,
    *,
    at: Mapping[str, float] | None = None,
    **columns: object,
) -> UUID:
    """Store a task in any state; `at` has instants, in seconds from now."""
    values: dict[str, Any] = {
        "id": uuid.uuid4(),
        "client_id": client_id,
        "state": state.value,
        "model": "m",
        "input": "{}",
        "metadata": "{}",
        "priority": 5,
        "fingerprint": b"f",
        **columns,
    }
    instants = {"submit_by": 3600.0, **({"finished_at": 0.0} if state in FINAL else {})}
    instants |= at or {}
    names = ", ".join([*values, *instants])
    places = [f"${number}" for number in range(1, len(values) + 1)]
    places += [f"clock_timestamp() + interval '{seconds} s'" for seconds in instants.values()]
    statement = f"INSERT INTO tasks ({names}) VALUES ({', '.join(places)})"  # noqa: S608  # ours
    await sql.execute(statement, *values.values())
    found = values["id"]
    assert isinstance(found, UUID)
    return found


async def task(sql: Sql, task_id: UUID) -> dict[str, Any]:
    """Return the row, its instants as seconds from now."""
    row = await sql.fetchrow(
        "SELECT *, clock_timestamp() AS read_at FROM tasks WHERE id = $1", task_id
    )
    assert row is not None
    return {name: _from_now(value, row["read_at"]) for name, value in row.items()}


def _from_now(value: object, now: datetime) -> object:
    return (value - now).total_seconds() if isinstance(value, datetime) else value


def around(seconds: float | None) -> Any:  # an approximation, or None itself
    return None if seconds is None else pytest.approx(seconds, abs=NEAR)


async def events(sql: Sql, task_id: UUID) -> list[tuple[str | None, str, int, str | None]]:
    """Return (from, to, attempt, reason) of each event, in order."""
    rows = await sql.fetch(
        "SELECT from_state, to_state, attempt, reason FROM task_events"
        " WHERE task_id = $1 ORDER BY id",
        task_id,
    )
    return [tuple(row) for row in rows]


def new_task(client_id: UUID, **members: object) -> NewTask:
    """Make a task; `members` are its own or its draft's."""
    draft: dict[str, Any] = {
        "model": "m",
        "input": {"prompt": "a cat"},
        "metadata": {},
        "webhook_url": None,
        "priority": 5,
        "submit_within": None,
    }
    values: dict[str, Any] = {
        "id": uuid.uuid4(),
        "client_id": client_id,
        "idempotency_key": None,
        "fingerprint": b"f",
        "submit_within": 60.0,
    }
    asked = {name: value for name, value in members.items() if name not in NewTask.__slots__}
    own = {name: value for name, value in members.items() if name in NewTask.__slots__}
    return NewTask(draft=Draft(**{**draft, **asked}), **{**values, **own})


def new_callback(task_id: UUID, **members: object) -> Statement:
    values: dict[str, Any] = {
        "id": uuid.uuid4(),
        "task_id": task_id,
        "source": Source.CALLBACK,
        "body": b'{"code":200}',
        "headers": {"content-type": "application/json"},
        "signature": Signature.VALID,
        "content": Report(progress=Progress.RUNNING),
    }
    return Statement(**{**values, **members})


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


# -- the queue and its limits


def limits(*, creates: int = 20, window: float = 10.0, running: int = 100) -> Limits:
    return Limits(creates=Limit(calls=creates, window=window), running=running)


TAKEN_FOR = 70.0
"""Seconds after which a slot is free whose create nobody recorded."""


async def put_queue(
    sql: Sql, client_id: UUID, tasks: int, *, first: int = 1, priority: int = 5, model: str = "m"
) -> list[UUID]:
    """Queue so many tasks in the order of their ids, which count from `first`."""
    ids = [UUID(int=number) for number in range(first, first + tasks)]
    await sql.execute(
        "INSERT INTO tasks (id, client_id, state, model, input, metadata, priority, fingerprint,"
        " due_at, submit_by) SELECT id, $2, 'queued', $4, '{}', '{}', $3, '\\x00',"
        " clock_timestamp() - interval '1 s', clock_timestamp() + interval '1 day'"
        " FROM unnest($1::uuid[]) id",
        ids,
        client_id,
        priority,
        model,
    )
    return ids


async def put_breaker(
    sql: Sql,
    client_id: UUID,
    model: str = "m",
    *,
    reason: HoldReason | None = HoldReason.KIE_BUSY,
    held_for: float = 30,
    tries: int = 1,
    unknowns: int = 0,
    since: float = -60,
) -> None:
    """Hold a pair since a minute ago, until in so many seconds; without a reason, only note it."""
    instants = {"held_since": since, "held_at": since, "held_until": held_for}
    held = {name: seconds if reason else None for name, seconds in instants.items()}
    later = "clock_timestamp() + make_interval(secs => ${})"
    await sql.execute(
        "INSERT INTO kie_breakers (client_id, model, hold_reason, hold_detail, hold_tries,"
        " unknowns, held_since, held_at, held_until, updated_at) SELECT $1, $2, $3, '455: no', $4,"
        f" $5, {', '.join(later.format(number) for number in (6, 7, 8, 9))}",
        *(client_id, model, reason, tries if reason else 0, unknowns),
        *(held.values()),
        since,
    )


async def admit(
    database: Database, given: Limits, *, limit: int = 50, claim: UUID | None = None
) -> list[ClaimedTask]:
    """Admit as a process does: the lock in one statement, the claim in the next."""
    async with database.begin() as connection:
        locked = await admission.lock_account(connection, wait=True)
        assert locked
        return await admission.admit(
            connection,
            limits=given,
            limit=limit,
            lease=30,
            taken_for=TAKEN_FOR,
            claim=claim or uuid.uuid4(),
            plain=locked.is_plain,
        )


async def release(
    database: Database, claimed: ClaimedTask, *, window: float = 10, answered_ago: float = 0
) -> bool:
    """Free the slot of a create, as whoever records its answer does."""
    async with database.begin() as connection:
        return await slots.release(
            connection, claimed.held, window=window, answered_ago=answered_ago
        )


_INSTANTS = {
    "kie_slots": ("free_at", "taken_at"),
    "kie_account": (
        *("held_since", "held_at", "held_until", "probed_at", "throttled_at", "succeeded_at"),
    ),
    "kie_breakers": ("held_since", "held_at", "held_until", "updated_at"),
    "tasks": ("submitted_at", "due_at", "leased_until", "expires_at", "finished_at"),
}


async def pass_time(sql: Sql, seconds: float) -> None:
    """Shift the rows instead of the clock: what was in so many seconds is now."""
    for table, instants in _INSTANTS.items():
        past = ", ".join(f"{name} = {name} - make_interval(secs => $1)" for name in instants)
        await sql.execute(f"UPDATE {table} SET {past}", seconds)  # noqa: S608  # ours


async def answer_all(sql: Sql, *, took: float = 0.5, window: float = 10.0) -> None:
    """Let every create under way be accepted, `took` seconds after it was sent."""
    await sql.execute(
        "UPDATE kie_slots SET task_id = NULL, took = $1,"
        " free_at = taken_at + make_interval(secs => $2) WHERE task_id IS NOT NULL",
        took,
        took + window,
    )
    await sql.execute(
        "UPDATE tasks SET state = 'running', leased_until = NULL WHERE state = 'submitting'"
    )


async def end_all(sql: Sql) -> None:
    """Let every task that runs, or is on its way, come to its end."""
    await sql.execute(
        "UPDATE tasks SET state = 'succeeded', finished_at = clock_timestamp(), leased_until = NULL"
        " WHERE state IN ('submitting', 'running', 'unconfirmed')"
    )
