"""Rows for the tests of the store: put there by plain SQL, and looked at by it."""

import hashlib
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import pytest

from app.domain.evidence import Signature
from app.domain.task import AT_REST, Source, State
from app.store.callbacks import NewCallback
from app.store.tasks import NewTask

Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
NEAR = 5.0
"""Seconds that an instant may be off: the test takes time too."""


async def put_client(sql: Sql, name: str = "tests") -> UUID:
    client_id = uuid.uuid4()
    await sql.execute(
        "INSERT INTO clients (id, name, signing_secret) VALUES ($1, $2, '\\x00')", client_id, name
    )
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
    instants = {"submit_by": 3600.0, **({"finished_at": 0.0} if state in AT_REST else {})}
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
    values: dict[str, Any] = {
        "id": uuid.uuid4(),
        "client_id": client_id,
        "model": "m",
        "input": {"prompt": "a cat"},
        "metadata": {},
        "webhook_url": None,
        "priority": 5,
        "idempotency_key": None,
        "fingerprint": b"f",
        "submit_within": 60.0,
    }
    return NewTask(**{**values, **members})


def new_callback(task_id: UUID, **members: object) -> NewCallback:
    values: dict[str, Any] = {
        "id": uuid.uuid4(),
        "task_id": task_id,
        "source": Source.CALLBACK,
        "body": b'{"code":200}',
        "headers": {"content-type": "application/json"},
        "signature": Signature.VALID,
    }
    return NewCallback(**{**values, **members})


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
