"""Tasks that kie.ai is to be asked about: claiming them, and what an answer leaves behind."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Select,
    Text,
    bindparam,
    extract,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.evidence import Verdict
from app.domain.task import State
from app.store.clock import NOW, later
from app.store.tables import Callback, Task

_NOT_QUEUED: ColumnElement[bool] = literal_column(
    "tasks.state <> 'queued' AND tasks.due_at IS NOT NULL", Boolean
)
"""The predicate of the index `tasks_ask`, word for word: the planner must recognise it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A task to ask about; `age` in seconds since its create was sent."""

    id: UUID
    kie_task_id: str | None
    tries: int
    age: float


def _claim() -> Select[tuple[UUID, str | None, int, float]]:
    due = (
        select(Task.id)
        .where(_NOT_QUEUED, Task.due_at <= NOW)
        .where(or_(Task.leased_until.is_(None), Task.leased_until <= NOW))
        .order_by(Task.due_at)
        .limit(bindparam("limit"))
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    age = extract("epoch", NOW - func.coalesce(Task.submitted_at, Task.created_at))
    taken = (
        update(Task)
        .where(Task.id == due.c.id)
        .values(leased_until=later("lease"))
        .returning(Task.id, Task.kie_task_id, Task.tries, age.label("age"))
        .cte("taken")
    )
    return select(taken)


_CLAIM = _claim()


async def claim_questions(
    connection: AsyncConnection, *, limit: int, lease: float
) -> list[Question]:
    """Take up to `limit` due questions, the longest due first."""
    rows = await connection.execute(_CLAIM, {"limit": limit, "lease": lease})
    return [
        Question(
            id=row.id,
            kie_task_id=row.kie_task_id,
            tries=row.tries,
            age=float(row.age),
        )
        for row in rows
    ]


_RESCHEDULE = (
    update(Task)
    .where(Task.id == bindparam("task_id"), Task.state != State.QUEUED)
    .values(
        due_at=later("due_in"),
        leased_until=None,
        tries=bindparam("new_tries"),
        kie_state=func.coalesce(bindparam("new_kie_state", type_=Text), Task.kie_state),
    )
)


async def reschedule(
    connection: AsyncConnection,
    task_id: UUID,
    *,
    due_in: float | None,
    tries: int = 0,
    kie_state: str | None = None,
) -> None:
    """Give the lease back and say when to ask again; None: no more."""
    parameters = {
        "task_id": task_id,
        "due_in": due_in,
        "new_tries": tries,
        "new_kie_state": kie_state,
    }
    await connection.execute(_RESCHEDULE, parameters)


_HASTEN = (
    update(Task)
    .where(Task.id == bindparam("task_id"), Task.state.not_in([State.QUEUED, State.SUBMITTING]))
    .values(due_at=NOW, tries=0)
)


async def ask_at_once(connection: AsyncConnection, task_id: UUID) -> None:
    """Make the task the next to be asked about, unless it is still on its way to kie.ai."""
    await connection.execute(_HASTEN, {"task_id": task_id})


_ASKED = select(
    or_(Task.due_at.is_(None), Task.due_at > NOW),
    or_(Task.leased_until.is_(None), Task.leased_until <= NOW),
).where(Task.id == bindparam("task_id"))


async def is_answered(connection: AsyncConnection, task_id: UUID) -> bool:
    """Tell whether no question about the task is due or under way."""
    row = (await connection.execute(_ASKED, {"task_id": task_id})).one_or_none()
    return row is None or all(row)


_BIND = (
    update(Task)
    .where(Task.id == bindparam("task_id"), Task.kie_task_id.is_(None))
    .values(kie_task_id=bindparam("new_kie_task_id"), updated_at=NOW)
)


async def bind(connection: AsyncConnection, task_id: UUID, kie_task_id: str) -> None:
    """Keep kie.ai's id for a task that has none yet."""
    parameters = {"task_id": task_id, "new_kie_task_id": kie_task_id}
    await connection.execute(_BIND, parameters)


_CONFIRM = (
    update(Task)
    .where(Task.id == bindparam("task_id"))
    .values(
        confirmed_at=func.coalesce(Task.confirmed_at, NOW),
        due_at=None,
        leased_until=None,
        updated_at=NOW,
    )
)


async def confirm(connection: AsyncConnection, task_id: UUID) -> None:
    """Record that a query said the same as the callback that settled the task."""
    await connection.execute(_CONFIRM, {"task_id": task_id})


_CLAIMED_IDS = (
    select(Callback.kie_task_id)
    .where(
        Callback.task_id == bindparam("task_id"),
        Callback.kie_task_id.is_not(None),
        Callback.verdict.in_([Verdict.UNVERIFIED, Verdict.STALE, Verdict.DISAGREED]),
    )
    .group_by(Callback.kie_task_id)
    .order_by(func.max(Callback.received_at).desc())
    .limit(bindparam("limit"))
)


async def claimed_ids(connection: AsyncConnection, task_id: UUID, *, limit: int) -> list[str]:
    """Return kie.ai ids that callbacks named for the task and that were not believed."""
    rows = await connection.scalars(_CLAIMED_IDS, {"task_id": task_id, "limit": limit})
    return [str(found) for found in rows]
