"""Tasks that need a person, or will if nobody works: each with the reason, the oldest first."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Uuid,
    bindparam,
    case,
    literal,
    null,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.task import State
from app.store.sql import NOW, interval, lease_is_free, state_literal
from app.store.tables import Client, KieAccount, Task

_LATEST = NOW - interval("grace")
"""What was due or leased until then is over by the grace."""


def _when(state: State, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    found: ColumnElement[bool] = Task.state == state_literal(state)
    for condition in conditions:
        found &= condition
    return found


_DUE = (Task.state != state_literal(State.QUEUED)) & (Task.due_at < _LATEST)

_WHY = case(
    (Task.parked_at.is_not(None), literal("set_aside")),
    (_when(State.SUBMITTING, Task.leased_until < _LATEST), literal("lease_over")),
    (_when(State.UNCONFIRMED), literal("unconfirmed")),
    (_DUE & lease_is_free(Task, _LATEST), literal("overdue")),
    else_=null(),
)
"""`unconfirmed` is no defect; but only a callback, or a person who asks kie.ai, ends it soon."""

_CANDIDATES = or_(
    Task.parked_at.is_not(None),
    _when(State.SUBMITTING),
    _when(State.UNCONFIRMED),
    _DUE,
)

_SHOWN = select(
    Task.id,
    _WHY.label("why"),
    Client.name.label("client"),
    Task.state,
    Task.model,
    Task.kie_task_id,
    Task.attempt,
    Task.created_at,
    Task.submitted_at,
    Task.due_at,
    Task.leased_until,
    Task.parked_at.label("set_aside_at"),
    Task.last_poll_error.label("breakdown"),
).join(Client, Client.id == Task.client_id)
"""What operators see of a task: nothing that its client wrote but the model."""

_FEW = select(Task.id).where(_CANDIDATES).cte("few").prefix_with("MATERIALIZED")
"""By the partial indexes of open tasks: for the order, PostgreSQL would walk through all."""
_LIST = (
    _SHOWN.where(Task.id.in_(select(_FEW.c.id)), _WHY.is_not(None))
    .order_by(Task.id)
    .limit(bindparam("limit"))
)


async def list_stuck(
    connection: AsyncConnection, *, grace: float, limit: int
) -> Sequence[RowMapping]:
    """Return the tasks; what is due or leased counts once it is over by `grace` seconds."""
    return (await connection.execute(_LIST, {"grace": grace, "limit": limit})).mappings().all()


_REVIEW = (
    _SHOWN.where(
        Task.state.in_([State.QUEUED.value, State.SUBMITTING.value, State.UNCONFIRMED.value]),
        Task.kie_task_id.is_(None),
        Task.created_at < select(KieAccount.restored_at).scalar_subquery(),
    )
    .order_by(Task.id)
    .limit(bindparam("limit"))
)


async def list_to_review(
    connection: AsyncConnection, *, grace: float, limit: int
) -> Sequence[RowMapping]:
    """Return the tasks of a restored database that may have been sent already; none: no hold."""
    return (await connection.execute(_REVIEW, {"grace": grace, "limit": limit})).mappings().all()


_ONE = _SHOWN.where(Task.id == bindparam("task_id", type_=Uuid))


async def read_one(
    connection: AsyncConnection, task_id: UUID, *, grace: float
) -> RowMapping | None:
    """Return any task as the list shows it; `why` is None where it is not stuck."""
    found = await connection.execute(_ONE, {"task_id": task_id, "grace": grace})
    return found.mappings().one_or_none()
