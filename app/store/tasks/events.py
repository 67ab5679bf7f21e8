"""The history of tasks, written with each move, and a client's feed of it.

Identities are given out before commits, so a reader that remembers the highest one can pass over a
slower transaction. The feed goes by (xid, id) and stops before the oldest transaction under way.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    RowMapping,
    Text,
    bindparam,
    insert,
    literal_column,
    null,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.paging import Position
from app.domain.task import Change
from app.store.tables import Task, TaskEvent

MOVED = (Task.id, Task.client_id, Task.state, Task.attempt)
"""What `logged` reads of each row that moved."""

_MOVE = literal_column(f"'{Change.MOVED.value}'", Text)


def logged(
    moved: CTE,
    *,
    left: ColumnElement[Any],
    reason: ColumnElement[Any] | None = None,
    kind: ColumnElement[Any] | None = None,
) -> CTE:
    """Append an event for every row of `moved`, which returns `MOVED`."""
    columns = ["task_id", "client_id", "from_state", "to_state", "attempt", "reason", "kind"]
    reason = null() if reason is None else reason
    kind = _MOVE if kind is None else kind
    rows = select(
        *(moved.c.id, moved.c.client_id, left, moved.c.state, moved.c.attempt, reason, kind)
    )
    return insert(TaskEvent).from_select(columns, rows).cte("logged")


_COLUMNS = (
    TaskEvent.xid,
    TaskEvent.id,
    TaskEvent.task_id,
    TaskEvent.kind,
    TaskEvent.from_state,
    TaskEvent.to_state,
    TaskEvent.attempt,
    TaskEvent.reason,
    TaskEvent.at,
)

_SETTLED: ColumnElement[bool] = TaskEvent.xid < literal_column(
    "(pg_snapshot_xmin(pg_current_snapshot())::text::bigint)", BigInteger
)
"""No transaction that could still commit before these events is under way."""


_BEHIND = tuple_(TaskEvent.xid, TaskEvent.id) > tuple_(
    bindparam("xid", type_=BigInteger), bindparam("id", type_=BigInteger)
)

_FEED = (
    select(*_COLUMNS)
    .where(TaskEvent.client_id == bindparam("client_id"), _BEHIND, _SETTLED)
    .order_by(TaskEvent.xid, TaskEvent.id)
    .limit(bindparam("limit"))
)

_HISTORY = (
    select(*_COLUMNS)
    .where(TaskEvent.task_id == bindparam("task_id"), TaskEvent.id > bindparam("id"))
    .order_by(TaskEvent.id)
    .limit(bindparam("limit"))
)


async def read_feed(
    connection: AsyncConnection, client_id: UUID, *, after: Position, limit: int
) -> Sequence[RowMapping]:
    """Return the client's next events, in the order in which they count."""
    values = {"client_id": client_id, "xid": after.xid, "id": after.id, "limit": limit}
    return (await connection.execute(_FEED, values)).mappings().all()


async def read_history(
    connection: AsyncConnection, task_id: UUID, *, after: Position, limit: int
) -> Sequence[RowMapping]:
    """Return one task's next events; its row's lock gives out their ids in the order of commits."""
    values = {"task_id": task_id, "id": after.id, "limit": limit}
    return (await connection.execute(_HISTORY, values)).mappings().all()
