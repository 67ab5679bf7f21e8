"""Questions to kie.ai that callbacks cause: few, whatever is posted to known callback URLs."""

from uuid import UUID

from sqlalchemy import bindparam, case, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.admission import Call
from app.domain.task import State
from app.store.slots import kind
from app.store.sql import NOW, interval, state_literal
from app.store.tables import KieSlot, Task
from app.store.tasks.refreshes import FREE

DOUBT_EVERY = 60.0
"""Seconds between two questions about one task that callbacks cause."""
DOUBT_SHARE = 0.1
"""Of the account's queries, for those questions beyond the first of each task: who knows a few
callback URLs gets no more."""

_DOUBTED = (
    select(
        Task.id,
        Task.doubted_at,
        func.greatest(NOW, Task.doubted_at + interval(literal(DOUBT_EVERY))).label("at"),
    )
    .where(
        Task.id == bindparam("task_id"),
        Task.state.not_in([State.QUEUED, State.SUBMITTING]),
        Task.parked_at.is_(None),
        or_(Task.doubted_at.is_(None), Task.doubted_at <= NOW),
    )
    .cte("doubted")
)
_EVERY = interval("every")
_NEW_TURN = insert(KieSlot).from_select(
    ["kind", "slot", "free_at", "taken_at"],
    select(kind(Call.DOUBT), literal(1), NOW + _EVERY, NOW).where(
        select(_DOUBTED.c.id).where(_DOUBTED.c.doubted_at.is_not(None)).exists()
    ),
)
_TURN = (
    _NEW_TURN.on_conflict_do_update(
        index_elements=["kind", "slot"],
        set_={"free_at": func.greatest(KieSlot.free_at, NOW) + _EVERY, "taken_at": NOW},
    )
    .returning((KieSlot.free_at - _EVERY).label("at"))
    .cte("turn")
)
_DOUBT_AT = func.greatest(_DOUBTED.c.at, select(_TURN.c.at).scalar_subquery(), type_=NOW.type)
_EARLY = (
    update(Task)
    .where(Task.id == bindparam("task_id"), Task.state == state_literal(State.SUBMITTING))
    .values(poll_asap_since=NOW)
    .cte("early")
)
"""Who records the answer to its create sees by this that a callback was faster."""
_DOUBT = (
    update(Task)
    .where(Task.id == _DOUBTED.c.id)
    .values(
        doubted_at=_DOUBT_AT,
        due_at=case((FREE, func.least(Task.due_at, _DOUBT_AT)), else_=_DOUBT_AT),
        # The answer that is under way may be older than the doubt.
        poll_asap_since=case((FREE, Task.poll_asap_since), else_=NOW),
        tries=0,
    )
    .add_cte(_EARLY)
)


async def ask_in_doubt(connection: AsyncConnection, task_id: UUID, *, every: float) -> None:
    """Have kie.ai asked about a callback that is not believed: at once the first time.

    Later at most once in `DOUBT_EVERY` seconds, and all tasks together once in `every`. It goes
    before no other question. A task that is on its way to kie.ai is asked about once it is there.
    """
    await connection.execute(_DOUBT, {"task_id": task_id, "every": every})
