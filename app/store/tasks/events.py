"""The history of tasks, written with each move."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    RowMapping,
    Text,
    Uuid,
    bindparam,
    insert,
    literal_column,
    null,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

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
    """Append an event for every row of `moved`, which returns `MOVED`.

    The task is written first: the feed relies on a transaction to have its id before its events do.
    """
    columns = ["task_id", "client_id", "from_state", "to_state", "attempt", "reason", "kind"]
    reason = null() if reason is None else reason
    kind = _MOVE if kind is None else kind
    rows = select(
        *(moved.c.id, moved.c.client_id, left, moved.c.state, moved.c.attempt, reason, kind)
    )
    return insert(TaskEvent).from_select(columns, rows).cte("logged")


COLUMNS = (
    TaskEvent.id,
    TaskEvent.task_id,
    TaskEvent.kind,
    TaskEvent.from_state,
    TaskEvent.to_state,
    TaskEvent.attempt,
    TaskEvent.reason,
    TaskEvent.at,
)
"""What callers are shown of an event."""

_HISTORY = (
    select(*COLUMNS)
    .where(TaskEvent.task_id == bindparam("task_id"), TaskEvent.id > bindparam("id"))
    .order_by(TaskEvent.id)
    .limit(bindparam("limit"))
)


async def read_history(
    connection: AsyncConnection, task_id: UUID, *, after: int, limit: int
) -> Sequence[RowMapping]:
    """Return one task's next events; its row's lock gives out their ids in the order of commits."""
    values = {"task_id": task_id, "id": after, "limit": limit}
    return (await connection.execute(_HISTORY, values)).mappings().all()


_NEWEST = text(
    """
SELECT asked.id, newest.id AS event FROM unnest(:ids) AS asked (id) CROSS JOIN LATERAL (
    SELECT id FROM task_events WHERE task_id = asked.id ORDER BY id DESC LIMIT 1
) newest
"""
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))


async def newest(connection: AsyncConnection, tasks: Sequence[UUID]) -> dict[UUID, int]:
    """Return the id of each task's last event; a task that is gone is not in it."""
    found = await connection.execute(_NEWEST, {"ids": list(tasks)})
    return {row.id: row.event for row in found}
