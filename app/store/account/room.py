"""What keeps tasks in the queue at this instant; and for how long room for them went unused.

The same conditions as in `admission`, which claims by them; here they are only looked at.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Float,
    Integer,
    ScalarSelect,
    and_,
    case,
    func,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.admission import Call, HoldReason, Limits
from app.domain.task import State
from app.store.account.limits import (
    ALLOWED,
    BUSY,
    CREATES,
    RUNNING,
    SEATS,
    SENDING,
    UNPROVED,
    WINDOW,
    given_limits,
    kind,
    seconds,
)
from app.store.sql import NOW
from app.store.tables import ClientQueue, KieAccount, KieSlot, Task
from app.store.tasks.moves import state_literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is free, what holds all tasks back, and how long nobody used what is free."""

    held: Collection[HoldReason]
    slots_free: int
    seats_free: int
    unused_for: float
    """Seconds for which a task that may be sent and room for it have both been waiting; 0: there
    is no such task, or no room."""
    unproved_for: float
    """Seconds for which the credit call of an account that is held has been due; 0: it is not."""
    set_aside: int
    """Tasks that are not asked about any more."""


_MAY_SEND = and_(
    KieAccount.paused_at.is_(None),
    or_(
        KieAccount.hold_reason.is_(None),
        # A hold lets one task through, once its wait is over and the credit call went well.
        (KieAccount.held_until <= NOW) & func.coalesce(~UNPROVED, true()) & (SENDING == 0),
    ),
    ALLOWED > BUSY,
    RUNNING > SEATS,
)

_WAITING_SINCE: ScalarSelect[datetime | None] = (
    select(func.min(Task.due_at))
    .join(ClientQueue, ClientQueue.client_id == Task.client_id)
    .where(
        Task.state == state_literal(State.QUEUED),
        Task.submit_by > NOW,
        Task.due_at <= NOW,
        ClientQueue.paused_at.is_(None),
    )
    .scalar_subquery()
)

_SLOTS = select(KieSlot.free_at).where(KieSlot.kind == kind(Call.CREATE), KieSlot.slot <= CREATES)


def _free_since(calls: ColumnElement[int]) -> ScalarSelect[datetime]:
    """Tell from when fewer slots than so many were busy. NULL: it was never otherwise."""
    latest = _SLOTS.order_by(KieSlot.free_at.desc()).limit(1).offset(calls - 1)
    return latest.correlate(KieAccount).scalar_subquery()


_WINDOWS = func.least(
    func.floor(seconds(NOW - KieAccount.throttled_at) / WINDOW),
    func.greatest(0, CREATES - KieAccount.creates_allowed),
)
_GREW_AT = KieAccount.throttled_at + func.make_interval(0, 0, 0, 0, 0, 0, WINDOW * _WINDOWS)
"""When others were last seen to leave one more of the limit to us."""

_AT_LEAST = func.least(KieAccount.creates_allowed, CREATES, type_=Integer)
_SLOT_SINCE = case(
    (KieAccount.creates_allowed.is_(None), _free_since(ALLOWED)),
    # It was never allowed less than that: before the crowd was noticed, more.
    (_free_since(_AT_LEAST).is_(None), null()),
    else_=func.least(
        _free_since(_AT_LEAST), func.greatest(_GREW_AT, _free_since(ALLOWED)), type_=NOW.type
    ),
)

_ADMITTED = (
    select(func.max(KieSlot.taken_at)).where(KieSlot.kind == kind(Call.CREATE)).scalar_subquery()
)
_SEAT_SINCE = case((RUNNING - SEATS < ALLOWED, _ADMITTED))
"""Where seats are scarce, one may have come free just now, and nobody notes when. But the last
admission took what it could: what it left had no seat then."""


def _unused_for() -> ColumnElement[float]:
    since = func.greatest(
        _WAITING_SINCE,
        _SLOT_SINCE,
        _SEAT_SINCE,
        KieAccount.held_until,
        type_=NOW.type,
    )
    waited = func.greatest(0.0, seconds(NOW - since))
    return case((_MAY_SEND & _WAITING_SINCE.is_not(None), waited), else_=0.0)


_PROBE_DUE = UNPROVED & (KieAccount.held_until <= NOW) & KieAccount.paused_at.is_(None)
_SET_ASIDE = (
    select(func.count()).select_from(Task).where(Task.parked_at.is_not(None)).scalar_subquery()
)

_LOOK = select(
    KieAccount.paused_at,
    KieAccount.hold_reason,
    func.greatest(0, ALLOWED - BUSY).label("slots_free"),
    func.greatest(0, RUNNING - SEATS).label("seats_free"),
    func.coalesce(_unused_for(), 0.0, type_=Float).label("unused_for"),
    case((_PROBE_DUE, seconds(NOW - KieAccount.held_until)), else_=0.0).label("unproved_for"),
    _SET_ASIDE.label("set_aside"),
)


async def look(connection: AsyncConnection, limits: Limits) -> Room:
    row = (await connection.execute(_LOOK, given_limits(limits))).one()
    held = {HoldReason.ADMISSION_PAUSED} if row.paused_at else set()
    if row.hold_reason:
        held.add(HoldReason(row.hold_reason))
    return Room(
        held=held,
        slots_free=row.slots_free,
        seats_free=row.seats_free,
        unused_for=float(row.unused_for),
        unproved_for=float(row.unproved_for),
        set_aside=row.set_aside,
    )
