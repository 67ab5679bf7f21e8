"""What ends by itself: leases of the dead, and states whose bound has passed."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    and_,
    bindparam,
    false,
    func,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from app.domain.admission import Call
from app.domain.failure import classify
from app.domain.task import DEADLINES, Deadline, FailSource, State
from app.store.slots import kind
from app.store.spend.entries import BOOKED, ended
from app.store.sql import NOW, ONCE, interval, later, state_literal
from app.store.tables import CHANGED, KieSlot, Task
from app.store.tasks.events import MOVED, logged

IS_LOST = and_(Task.state == state_literal(State.SUBMITTING), Task.leased_until <= ONCE)
"""The process that sent it is gone."""

_LOST = (
    select(Task.id)
    .where(IS_LOST)
    .order_by(Task.leased_until)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
    .cte("lost")
)
_UNCONFIRMED = (
    update(Task)
    .where(Task.id == _LOST.c.id)
    .values(
        state=State.UNCONFIRMED,
        leased_until=None,
        due_at=NOW,
        expires_at=later("expires_in"),
        **CHANGED,
    )
    .returning(*MOVED)
    .cte("moved")
)
_FREED = (
    update(KieSlot)
    .where(
        KieSlot.kind == kind(Call.CREATE),
        KieSlot.task_id == _UNCONFIRMED.c.id,
        KieSlot.attempt == _UNCONFIRMED.c.attempt,
    )
    .values(free_at=func.least(KieSlot.free_at, later("window")))
    .cte("freed")
)
"""It may send only while its lease lasts: one window after that, kie.ai no longer counts it."""
_FREE_LOST = select(_UNCONFIRMED.c.id).add_cte(
    _FREED,
    logged(
        _UNCONFIRMED,
        left=state_literal(State.SUBMITTING),
        reason=literal_column("'the process that sent it is gone'", Text),
    ),
)


async def free_lost(
    connection: AsyncConnection, *, limit: int, expires_in: float, window: float
) -> list[UUID]:
    """Make tasks `unconfirmed` whose create was in flight when its process died: never queued.

    Their slots are free again after `window` seconds.
    """
    parameters = {"limit": limit, "expires_in": expires_in, "window": window}
    rows = await connection.execute(_FREE_LOST, parameters)
    return [row.id for row in rows]


RELEASED_WITHIN = 15.0
"""Seconds within which whoever stores a task releases it, and longer than a create's patience."""

IS_UNRELEASED = and_(
    Task.state == state_literal(State.QUEUED),
    Task.due_at.is_(None),
    Task.created_at < ONCE - interval(literal(RELEASED_WITHIN)),
)
"""Who stored it is gone, or said no."""

_UNRELEASED = (
    select(Task.id)
    .where(IS_UNRELEASED)
    .order_by(Task.created_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)


async def unreleased(connection: AsyncConnection, *, limit: int) -> list[UUID]:
    """Lock queued tasks that were stored a while ago and never released; returns their ids."""
    return list((await connection.scalars(_UNRELEASED, {"limit": limit})).all())


def bound_of(state: State) -> InstrumentedAttribute[Any]:
    """Return the column that bounds the state."""
    return Task.submit_by if state is State.QUEUED else Task.expires_at


def is_one_over(state: State) -> ColumnElement[bool]:
    """Tell whether the bound of any task in the state has passed.

    The earliest decides, which an index has; to look for any, PostgreSQL may read the table.
    """
    bound = bound_of(state)
    here = (Task.state == state_literal(state), bound.is_not(None))
    earliest = select(func.min(bound)).where(*here).scalar_subquery()
    return func.coalesce(earliest <= NOW, false())


def _expiring(state: State, deadline: Deadline) -> Select[tuple[UUID]]:
    bound = bound_of(state)
    over = (
        select(Task.id)
        .where(Task.state == state_literal(state), bound <= ONCE)
        .order_by(bound)
        .limit(bindparam("limit"))
        .with_for_update(skip_locked=True)
        .cte("over")
    )
    moved = (
        update(Task)
        .where(Task.id == over.c.id)
        .values(
            state=deadline.state,
            fail_code=deadline.fail_code,
            fail_message=deadline.fail_message,
            fail_source=FailSource.GATEWAY,
            **asdict(classify(deadline.fail_code, deadline.fail_message, FailSource.GATEWAY)),
            finished_at=NOW,
            held_since=None,
            unreached_since=None,
            **CHANGED,
            due_at=later("ask_in"),
            leased_until=None,
            expires_at=None,
            poll_asap_since=None,
            poll_errors=0,
            parked_at=None,
            booked=True,
        )
        .returning(*MOVED, *BOOKED)
        .cte("moved")
    )
    return select(moved.c.id).add_cte(logged(moved, left=state_literal(state)), ended(moved))


_EXPIRING = {state: _expiring(state, deadline) for state, deadline in DEADLINES.items()}


async def expire(
    connection: AsyncConnection, state: State, *, limit: int, ask_in: float | None
) -> list[UUID]:
    """End tasks whose bound in `state` has passed, as `DEADLINES` says.

    `ask_in`: seconds until kie.ai is asked all the same; None: it is not.
    """
    rows = await connection.execute(_EXPIRING[state], {"limit": limit, "ask_in": ask_in})
    return [row.id for row in rows]
