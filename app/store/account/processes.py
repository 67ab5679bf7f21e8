"""The processes on this database: who is alive, what it saw, and which settings it has."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Float, RowMapping, Text, Uuid, bindparam, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.domain.restore import LIVING
from app.store.sql import NOW, interval
from app.store.tables import Process

FORGOTTEN_AFTER = 3600.0
"""Seconds after its last beat when a process's row goes: long enough to be looked at."""

_ME = bindparam("me", type_=Uuid)
_CURRENT = bindparam("looking_at", type_=Text)

_BEAT = insert(Process)
_CHANGING = ("beat_at", "looked_at", "remembers", "clock_ahead", "fingerprints")
_UPSERT = _BEAT.on_conflict_do_update(
    index_elements=["id"], set_={name: _BEAT.excluded[name] for name in _CHANGING}
)
_FORGET = delete(Process).where(
    Process.beat_at < NOW - interval(bindparam("after", type_=Float)), Process.id != _ME
)
_LEAVE = delete(Process).where(Process.id == _ME)


async def beat(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Write what the process is and saw, `row` by column, and forget who is long gone."""
    await connection.execute(_UPSERT, row)
    await connection.execute(_FORGET, {"me": row["id"], "after": FORGOTTEN_AFTER})


async def leave(connection: AsyncConnection, me: UUID) -> None:
    """Remove the process's row: nobody has to wait for it."""
    await connection.execute(_LEAVE, {"me": me})


_OTHERS = (Process.id != _ME, Process.looked_at != _CURRENT)
_LATEST = aliased(Process)
_NEWEST = select(func.max(_LATEST.beat_at)).where(_LATEST.looked_at != _CURRENT).scalar_subquery()
"""The last beat before the server changed: however long it was away, nobody could beat since."""
_AWAITED = select(
    select(Process.id)
    .where(*_OTHERS, Process.beat_at > _NEWEST - interval(literal(LIVING)))
    .exists(),
    select(Process.id)
    .where(Process.id != _ME, Process.looked_at == _CURRENT, Process.remembers)
    .exists(),
)


async def others(connection: AsyncConnection, me: UUID, looking_at: str) -> tuple[bool, bool]:
    """Return whether others that may be alive have not looked, and whether one has and remembers.

    Those may be alive that beat shortly before the last beat under the server as it was.
    """
    row = (await connection.execute(_AWAITED, {"me": me, "looking_at": looking_at})).one()
    return bool(row[0]), bool(row[1])


_LIVING = (
    select(Process.__table__)
    .where(Process.beat_at > NOW - interval(literal(LIVING)))
    .order_by(Process.started_at)
)


async def living(connection: AsyncConnection) -> Sequence[RowMapping]:
    """Return the processes that beat lately."""
    return (await connection.execute(_LIVING)).mappings().all()
