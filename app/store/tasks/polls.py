"""Tasks that are to be polled: claiming them, and what an answer leaves behind."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    CompoundSelect,
    Integer,
    ScalarSelect,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    not_,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.admission import Call
from app.domain.polling import DuePoll, NextPoll
from app.domain.task import State
from app.store.connections.prepared import Prepared
from app.store.slots import free_slots, kind
from app.store.sql import NOW, ONCE, later, seconds, seconds_since
from app.store.tables import CHANGED, KieSlot, Task
from app.store.tasks.callbacks import alleged
from app.store.tasks.refreshes import (
    FREE,
    HALF,
    IS_REFRESH,
    POLLABLE,
    QUERIES,
    next_refreshes,
)

_USE = case(
    (Task.poll_asap_since.is_not(None), 0),
    (Task.state.in_([State.SUCCEEDED.value, State.FAILED.value]), 2),
    (Task.state == State.EXPIRED.value, 3),
    else_=1,
)
"""The most useful poll first: what somebody waits for, open tasks, confirmations, expired ones."""


def _due() -> CTE:
    """Choose among the loop's own polls."""
    order = (_USE, Task.due_at)
    due = (
        select(Task.id, _USE.label("use"), Task.due_at)
        .where(*POLLABLE, Task.due_at <= ONCE, ~IS_REFRESH)
        .order_by(*order)
        .limit(QUERIES)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    place = func.row_number().over(order_by=(due.c.use, due.c.due_at)).label("place")
    return select(due.c.id, place).cte("numbered")


def _assigned(refreshes: CTE, due: CTE) -> CompoundSelect[Any]:
    """Give each a free slot: refreshes the lowest, the loop's own polls the highest."""
    free = free_slots(Call.QUERY, QUERIES)
    lowest = and_(free.c.place == refreshes.c.place, free.c.slot <= HALF)
    theirs = select(free.c.slot, refreshes.c.id, refreshes.c.client_id).join(refreshes, lowest)
    theirs_cte = theirs.cte("for_refreshes")
    left = (
        select(func.count()).select_from(free).scalar_subquery()
        - select(func.count()).select_from(theirs_cte).scalar_subquery()
    )
    from_above = func.row_number().over(order_by=free.c.slot.desc()).label("place")
    highest = select(free.c.slot, from_above).cte("highest")
    ours = (
        select(highest.c.slot, due.c.id, literal_column("NULL::uuid", Uuid).label("client_id"))
        .join(due, due.c.place == highest.c.place)
        .where(highest.c.place <= left)
    )
    return union_all(select(theirs_cte), ours)


def _slots(refreshes: CTE, due: CTE) -> CTE:
    """Take a slot for each; a process that loses one to another takes fewer."""
    assigned = _assigned(refreshes, due).subquery("assigned")
    rows = select(
        kind(Call.QUERY),
        assigned.c.slot,
        later("taken_for"),
        assigned.c.id,
        NOW.label("taken_at"),
        assigned.c.client_id,
    ).order_by(assigned.c.slot)  # the same order for all, so that none wait for each other
    changing = ["free_at", "task_id", "taken_at", "client_id"]
    taken = insert(KieSlot).from_select(["kind", "slot", *changing], rows)
    return (
        taken.on_conflict_do_update(
            index_elements=["kind", "slot"],
            set_={name: taken.excluded[name] for name in changing},
            where=KieSlot.free_at <= NOW,
        )
        .returning(KieSlot.slot, KieSlot.task_id)
        .cte("slots")
    )


def _claim() -> Select[Any]:
    slots = _slots(next_refreshes(), _due())
    taken = (
        update(Task)
        .where(Task.id == slots.c.task_id)
        # Who asks for a poll at once from now on means another one.
        .values(leased_until=later("lease"), poll_asap_since=None)
        .returning(
            Task.id,
            func.coalesce(Task.kie_task_id, Task.alleged_kie_id).label("kie_task_id"),
            Task.tries,
            seconds_since(func.coalesce(Task.submitted_at, Task.created_at)).label("age"),
            seconds_since(Task.finished_at).label("final_for"),
            Task.model,
            Task.traceparent,
            slots.c.slot,
        )
        .cte("taken")
    )
    sharing = (
        select(func.count())
        .select_from(Task)
        .where(Task.state.in_([literal_column("'running'"), literal_column("'unconfirmed'")]))
        .scalar_subquery()
    )
    return select(taken, sharing.label("sharing"))


_CLAIM = Prepared(_claim)


async def claim_due(
    connection: AsyncConnection, *, queries: int, lease: float, taken_for: float
) -> list[DuePoll]:
    """Take the due tasks whose polls are the most useful, as many as there are free query slots.

    What clients had asked for takes half of the slots at most, in turns between them.
    `queries` is the account's limit; a slot whose answer nobody records is free again after
    `taken_for` seconds.
    """
    parameters = {"queries": queries, "lease": lease, "taken_for": taken_for}
    return [DuePoll(**row) for row in await _CLAIM.mappings(connection, parameters)]


def _next_slot(slots: ColumnElement[int]) -> ScalarSelect[datetime]:
    """Return when one of the first so many slots is free; NULL: one is."""
    busy = (KieSlot.kind == kind(Call.QUERY), KieSlot.slot <= slots, KieSlot.free_at > NOW)
    return (
        select(func.min(KieSlot.free_at))
        .where(*busy)
        .having(func.count() >= slots)
        .scalar_subquery()
    )


def _next(slots: ColumnElement[int], of: ColumnElement[bool]) -> ColumnElement[datetime | None]:
    due = select(func.min(Task.due_at)).where(*POLLABLE, of).scalar_subquery()
    return case((due.is_not(None), func.greatest(due, _next_slot(slots), type_=NOW.type)))


_NEXT_DUE = Prepared(
    lambda: select(
        seconds(
            func.least(_next(QUERIES, ~IS_REFRESH), _next(HALF, IS_REFRESH), type_=NOW.type) - NOW
        )
    )
)


async def next_due(connection: AsyncConnection, *, queries: int) -> float | None:
    """Return the seconds until a poll is due and has a slot, 0: now; None: none is to come."""
    found = await _NEXT_DUE.scalar(connection, {"queries": queries})
    return None if found is None else max(0.0, float(found))


_MOST_ERRORS = bindparam("max_poll_errors", type_=Integer)
_RECORD_ERROR = (
    update(Task)
    .where(Task.id == bindparam("task_id"), Task.state != State.QUEUED)
    .values(
        poll_errors=Task.poll_errors + 1,
        last_poll_error=bindparam("new_poll_error", type_=Text),
        due_at=later("due_in"),
        poll_asap_since=None,
        leased_until=None,
        parked_at=case((Task.poll_errors + 1 >= _MOST_ERRORS, NOW)),
    )
    .returning(Task.parked_at)
)


async def record_poll_error(
    connection: AsyncConnection, task_id: UUID, *, error: str, due_in: float, most: int
) -> bool:
    """Note that a poll met a defect of ours; after `most` in a row the task is parked: True."""
    parameters = {
        "task_id": task_id,
        "new_poll_error": error,
        "due_in": due_in,
        "max_poll_errors": most,
    }
    return await connection.scalar(_RECORD_ERROR, parameters) is not None


_UNPARK = (
    update(Task)
    .where(Task.id == bindparam("task_id"), Task.parked_at.is_not(None))
    .values(parked_at=None, poll_errors=0, due_at=NOW)
    .returning(Task.id)
)


async def unpark(connection: AsyncConnection, task_id: UUID) -> bool:
    """Poll a parked task again; False: it was not parked."""
    return await connection.scalar(_UNPARK, {"task_id": task_id}) is not None


_KIE_STATE = func.coalesce(bindparam("new_kie_state", type_=Text), Task.kie_state)
_RESCHEDULE = Prepared(
    lambda: (
        update(Task)
        .where(Task.id == bindparam("task_id"), Task.state != State.QUEUED)
        .values(
            due_at=case(
                (Task.poll_asap_since.is_(None), later("due_in")),
                else_=func.least(Task.due_at, later("due_in")),
            ),
            leased_until=None,
            poll_errors=0,
            tries=bindparam("new_tries"),
            kie_state=_KIE_STATE,
            updated_at=case(
                (_KIE_STATE.is_distinct_from(Task.kie_state), NOW), else_=Task.updated_at
            ),
            version=Task.version + case((_KIE_STATE.is_distinct_from(Task.kie_state), 1), else_=0),
            held_since=case(
                (bindparam("held", type_=Boolean), func.coalesce(Task.held_since, NOW))
            ),
            unreached_since=case(
                (bindparam("unreached", type_=Boolean), func.coalesce(Task.unreached_since, NOW))
            ),
        )
    )
)


_CONFIRM = Prepared(
    lambda: (
        update(Task)
        .where(Task.id == bindparam("task_id"))
        .values(
            confirmed_at=func.coalesce(Task.confirmed_at, NOW),
            due_at=later("due_in"),
            leased_until=None,
            poll_asap_since=None,
            poll_errors=0,
            **CHANGED,
        )
    )
)


async def reschedule(connection: AsyncConnection, task_id: UUID, following: NextPoll) -> None:
    """Give the lease back and set when to poll again.

    A task that somebody wanted polled at once while this poll was under way stays due: the reason
    may be newer than the answer.
    """
    parameters: dict[str, object] = {"task_id": task_id, "due_in": following.due_in}
    if following.confirms:
        await _CONFIRM.all(connection, parameters)
        return
    parameters |= {
        "new_tries": following.tries,
        "new_kie_state": following.kie_state,
        "held": following.held,
        "unreached": following.unreached,
    }
    await _RESCHEDULE.all(connection, parameters)


_HOLDS = bindparam("holds", type_=Boolean)
_POLL_ASAP = (
    update(Task)
    .where(
        Task.id == bindparam("task_id"),
        Task.state.not_in([State.QUEUED, State.SUBMITTING]),
        Task.parked_at.is_(None),
    )
    .values(
        due_at=NOW,
        poll_asap_since=case(
            (or_(FREE, not_(bindparam("joins", type_=Boolean))), NOW), else_=Task.poll_asap_since
        ),
        tries=0,
        held_since=func.coalesce(Task.held_since, case((_HOLDS, NOW))),
        doubted_at=case((_HOLDS, NOW), else_=Task.doubted_at),
    )
    .returning(Task.id)
)


async def poll_at_once(
    connection: AsyncConnection, task_id: UUID, *, joins: bool = False, holds: bool = False
) -> bool:
    """Make the task the next to be polled, once more if a poll is under way.

    `joins`: the answer to that one will do. `holds`: an end was reported that is asked about from
    now on. False where nobody would poll: it is still on its way to kie.ai, or is parked.
    """
    parameters = {"task_id": task_id, "joins": joins, "holds": holds}
    return await connection.scalar(_POLL_ASAP, parameters) is not None


_ANSWERED = select(
    or_(Task.due_at.is_(None), Task.due_at > NOW),
    FREE,
).where(Task.id == bindparam("task_id"))


async def is_answered(connection: AsyncConnection, task_id: UUID) -> bool:
    """Return whether no poll of the task is due or under way."""
    row = (await connection.execute(_ANSWERED, {"task_id": task_id})).one_or_none()
    return row is None or all(row)


_BIND = (
    update(Task)
    .where(Task.id == bindparam("task_id"), Task.kie_task_id.is_(None))
    .values(kie_task_id=bindparam("new_kie_task_id"), **CHANGED)
)


async def bind(connection: AsyncConnection, task_id: UUID, kie_task_id: str) -> None:
    """Keep kie.ai's id for a task that has none yet."""
    parameters = {"task_id": task_id, "new_kie_task_id": kie_task_id}
    await connection.execute(_BIND, parameters)


_ALLEGE = (
    update(Task)
    .where(Task.id == bindparam("task_id"), Task.kie_task_id.is_(None))
    .values(alleged_kie_id=bindparam("new_alleged_id"))
)


async def allege(connection: AsyncConnection, task_id: UUID, kie_task_id: str) -> None:
    """Keep an id that kie.ai named for a task without accepting it: it is asked about."""
    parameters = {"task_id": task_id, "new_alleged_id": kie_task_id}
    await connection.execute(_ALLEGE, parameters)


_ALLEGED_IDS = alleged(bindparam("task_id", type_=Uuid), limit=bindparam("limit"))


async def alleged_ids(connection: AsyncConnection, task_id: UUID, *, limit: int) -> list[str]:
    """Return kie.ai ids that callbacks named for the task and that were not believed."""
    rows = await connection.scalars(_ALLEGED_IDS, {"task_id": task_id, "limit": limit})
    return [str(found) for found in rows]
