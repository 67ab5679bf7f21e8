"""Refreshes: kie.ai is asked about a task because its client wants it, in turns."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    Integer,
    and_,
    bindparam,
    case,
    false,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.admission import Call
from app.domain.task import State
from app.store.slots import kind
from app.store.sql import NOW, ONCE, interval, lease_is_free, seconds
from app.store.tables import KieSlot, Task

_NOT_QUEUED: ColumnElement[bool] = literal_column(
    "tasks.state <> 'queued' AND tasks.due_at IS NOT NULL", Boolean
)
"""The predicate of the index `tasks_polls`, literally: the planner must recognise it."""


FREE = lease_is_free(Task)
POLLABLE = (_NOT_QUEUED, FREE, Task.parked_at.is_(None))

QUERIES = bindparam("queries", type_=Integer)
HALF = QUERIES // literal_column("2", Integer)
"""The slots that refreshes may use, those of the lowest numbers: the others are never theirs."""
IS_REFRESH = and_(
    func.coalesce(Task.poll_asap_since == Task.refreshed_at, false()),
    literal_column("1", Integer) < QUERIES,
)
"""Its client waits for the answer, and nothing else does; of one slot there is no half."""


def next_refreshes() -> CTE:
    """Choose the refreshes, in turns between clients: those that were served least go first."""
    served = (
        select(
            KieSlot.client_id, func.count().label("times"), func.max(KieSlot.taken_at).label("at")
        )
        .where(KieSlot.kind == kind(Call.QUERY), KieSlot.client_id.is_not(None))
        .group_by(KieSlot.client_id)
        .subquery("served")
    )
    nth = func.row_number().over(partition_by=Task.client_id, order_by=(Task.refreshed_at, Task.id))
    turn = (nth + func.coalesce(served.c.times, 0)).label("turn")
    wanted = (
        select(Task.id, turn, served.c.at, Task.refreshed_at)
        .outerjoin(served, served.c.client_id == Task.client_id)
        .where(*POLLABLE, Task.due_at <= ONCE, IS_REFRESH)
        .cte("wanted")
    )
    order = (wanted.c.turn, wanted.c.at.nulls_first(), wanted.c.refreshed_at)
    chosen = select(wanted).order_by(*order).limit(HALF).cte("chosen")
    locked = (
        select(Task.id, Task.client_id, chosen.c.turn, chosen.c.at, chosen.c.refreshed_at)
        .join(chosen, chosen.c.id == Task.id)
        .where(*POLLABLE, IS_REFRESH)
        .with_for_update(of=Task, skip_locked=True)
        .cte("refreshes")
    )
    order = (locked.c.turn, locked.c.at.nulls_first(), locked.c.refreshed_at)
    place = func.row_number().over(order_by=order).label("place")
    return select(locked.c.id, locked.c.client_id, place).cte("numbered_refreshes")


_INSTANT = select(NOW.label("at")).cte("instant").prefix_with("MATERIALIZED")
_REFRESH = (
    update(Task)
    .where(
        Task.id == bindparam("task_id"),
        Task.state.not_in([State.QUEUED, State.SUBMITTING]),
        Task.parked_at.is_(None),
        or_(Task.refreshed_at.is_(None), Task.refreshed_at <= _INSTANT.c.at - interval("every")),
    )
    .values(
        due_at=_INSTANT.c.at,
        refreshed_at=_INSTANT.c.at,
        # The answer to a poll that is under way will do, and a doubt of ours comes first.
        poll_asap_since=case(
            (FREE, func.coalesce(Task.poll_asap_since, _INSTANT.c.at)), else_=Task.poll_asap_since
        ),
        tries=0,
    )
    .returning(Task.refreshed_at)
)
_REFRESHED = select(
    Task.refreshed_at, seconds(Task.refreshed_at + interval("every") - NOW).label("again_in")
).where(
    Task.id == bindparam("task_id"),
    Task.state.not_in([State.QUEUED, State.SUBMITTING]),
    Task.parked_at.is_(None),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """When kie.ai was last asked about a task because its client wanted it."""

    refreshed_at: datetime
    again_in: float | None
    """Seconds until it can be asked again; None: it is asked now."""


async def refresh(connection: AsyncConnection, task_id: UUID, *, every: float) -> Refresh | None:
    """Have the task polled in its client's turn, at most once in `every` seconds.

    None where nobody would poll: it is still on its way to kie.ai, or is parked.
    """
    parameters = {"task_id": task_id, "every": every}
    at = await connection.scalar(_REFRESH, parameters)
    if at is not None:
        return Refresh(refreshed_at=at, again_in=None)
    row = (await connection.execute(_REFRESHED, parameters)).one_or_none()
    return None if row is None else Refresh(refreshed_at=row.refreshed_at, again_in=row.again_in)
