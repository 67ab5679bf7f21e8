"""The processes on this database: who is alive, what it saw, and which settings it has."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CompoundSelect,
    RowMapping,
    Text,
    Uuid,
    bindparam,
    delete,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.domain.restore import LIVING
from app.store.connections.engine import Row
from app.store.connections.prepared import Prepared
from app.store.sql import NOW, as_given, given, interval
from app.store.tables import Process

FORGOTTEN_AFTER = 3600.0
"""Seconds after its last beat when a process's row goes: long enough to be looked at."""

_ME = bindparam("me", type_=Uuid)
_COLUMNS = Process.__table__.c
_CURRENT = bindparam("looking_at", type_=Text)

_BEAT = insert(Process).values(
    {column.name: given(column.name, column.type) for column in _COLUMNS}
)
_CHANGING = ("beat_at", "looked_at", "remembers", "clock_ahead", "fingerprints")
_UPSERT = _BEAT.on_conflict_do_update(
    index_elements=["id"], set_={name: _BEAT.excluded[name] for name in _CHANGING}
)
_FORGET = delete(Process).where(
    Process.beat_at < NOW - interval(literal(FORGOTTEN_AFTER)), Process.id != _ME
)
_LEAVE = delete(Process).where(Process.id == _ME)


async def leave(connection: AsyncConnection, me: UUID) -> None:
    """Remove the process's row: nobody has to wait for it."""
    await connection.execute(_LEAVE, {"me": me})


_OTHERS = (Process.id != _ME, Process.looked_at != _CURRENT)
_LATEST = aliased(Process)
_NEWEST = select(func.max(_LATEST.beat_at)).where(_LATEST.looked_at != _CURRENT).scalar_subquery()
"""The last beat before the server changed: however long it was away, nobody could beat since."""
_AWAITED = Prepared(
    lambda: select(
        select(Process.id)
        .where(*_OTHERS, Process.beat_at > _NEWEST - interval(literal(LIVING)))
        .exists(),
        select(Process.id)
        .where(Process.id != _ME, Process.looked_at == _CURRENT, Process.remembers)
        .exists(),
    )
)


async def others(connection: AsyncConnection, me: UUID, looking_at: str) -> tuple[bool, bool]:
    """Return whether others that may be alive have not looked, and whether one has and remembers.

    Those may be alive that beat shortly before the last beat under the server as it was.
    """
    row = await _AWAITED.one(connection, {"me": me, "looking_at": looking_at})
    return bool(row[0]), bool(row[1])


_LIVING = (
    select(Process.__table__)
    .where(Process.beat_at > NOW - interval(literal(LIVING)))
    .order_by(Process.started_at)
)


def _beat() -> CompoundSelect[Any]:
    """Build it as one statement, which sees the other rows as they were, and its own as written."""
    written = _UPSERT.returning(*_COLUMNS).cte("written")
    others = select(Process.__table__).where(
        Process.beat_at > NOW - interval(literal(LIVING)), Process.id != _ME
    )
    found = union_all(others, select(written)).order_by("started_at")
    return found.add_cte(_FORGET.cte("forgotten"))


_BEAT_AND_LOOK = Prepared(_beat)


async def beat(connection: AsyncConnection, row: dict[str, Any]) -> Sequence[Row]:
    """Write what the process is and saw, `row` by column, and forget who is long gone.

    Returns the processes that beat lately.
    """
    return await _BEAT_AND_LOOK.mappings(connection, {**as_given(**row), "me": row["id"]})


async def living(connection: AsyncConnection) -> Sequence[RowMapping]:
    """Return the processes that beat lately."""
    return (await connection.execute(_LIVING)).mappings().all()
