"""Who may be sent now, as SQL: the rules by which tasks leave the queue, each written once.

The admission claims by them; its next chance, the forecast and the backlog look at the same.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    Integer,
    ScalarSelect,
    Select,
    SQLColumnExpression,
    Text,
    and_,
    bindparam,
    case,
    cast,
    false,
    func,
    literal,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.orm import aliased

from app.domain.admission import BRAKES, Call, HoldReason, Limits
from app.domain.task import State
from app.store.slots import has_free, have_free, kind
from app.store.sql import NOW, ONCE, interval, seconds_since, state_literal
from app.store.tables import ClientQueue, KieAccount, KieSlot, Task

UNCONFIRMED_SEAT = 900.0
"""Seconds for which a create of unknown outcome counts as running: most of them never ran."""


def given_limits(limits: Limits) -> dict[str, Any]:
    """Return the parameters that the expressions below read."""
    return {
        "creates": limits.creates.calls,
        "window": limits.creates.window,
        "running": limits.running,
        "running_share": limits.running_share,
        "unconfirmed_seat": UNCONFIRMED_SEAT,
    }


CREATES = bindparam("creates", type_=Integer)
WINDOW = bindparam("window", type_=Float)
RUNNING = bindparam("running", type_=Integer)

# -- slots: creates in a window

_WINDOWS = func.floor(seconds_since(KieAccount.throttled_at) / WINDOW)
"""For how many windows kie.ai has not throttled us: each gives one create back."""

ALLOWED: ColumnElement[int] = func.least(
    CREATES,
    func.coalesce(KieAccount.creates_allowed + cast(_WINDOWS, Integer), CREATES),
    type_=Integer,
)
"""Of the limit of creates, what others who use the account leave to us."""

_CREATE_SLOTS = (KieSlot.kind == kind(Call.CREATE), KieSlot.slot <= CREATES)
_BUSY_SLOTS = (*_CREATE_SLOTS, KieSlot.free_at > ONCE)

FREE_SLOTS: ColumnElement[int] = (
    ALLOWED - select(func.count()).where(*_BUSY_SLOTS).scalar_subquery()
)
"""Negative where others use more than before."""
NEXT_FREE: ScalarSelect[datetime] = (
    select(func.min(KieSlot.free_at)).where(*_BUSY_SLOTS).scalar_subquery()
)


def _free_since(calls: ColumnElement[int]) -> ScalarSelect[datetime]:
    """Return since when fewer slots than so many are busy. NULL: they always were fewer."""
    slots: Select[datetime] = select(KieSlot.free_at).where(*_CREATE_SLOTS)
    latest = slots.order_by(KieSlot.free_at.desc()).limit(1).offset(calls - 1)
    return latest.correlate(KieAccount).scalar_subquery()


_REGAINED = func.least(_WINDOWS, func.greatest(0, CREATES - KieAccount.creates_allowed))
_REGAINED_AT = KieAccount.throttled_at + interval(WINDOW * _REGAINED)
"""When we last got one create back."""
_AT_LEAST = func.least(KieAccount.creates_allowed, CREATES, type_=Integer)

SLOT_SINCE: ColumnElement[datetime | None] = case(
    (KieAccount.creates_allowed.is_(None), _free_since(ALLOWED)),
    # It was never allowed less than that: before it was throttled, more.
    (_free_since(_AT_LEAST).is_(None), null()),
    else_=func.least(
        _free_since(_AT_LEAST), func.greatest(_REGAINED_AT, _free_since(ALLOWED)), type_=NOW.type
    ),
)
"""Since when there has been a free slot, where there is one; NULL: always."""

# -- seats: tasks at kie.ai at the same time


def _count(*conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.count()).select_from(Task).where(*conditions).scalar_subquery()


SENDING = _count(Task.state == state_literal(State.SUBMITTING))
SEATS: ColumnElement[int] = (
    SENDING
    + _count(Task.state == state_literal(State.RUNNING))
    + _count(
        Task.state == state_literal(State.UNCONFIRMED),
        Task.submitted_at + interval("unconfirmed_seat") > NOW,
    )
)
"""Tasks that count as running at kie.ai."""

FREE_SEATS: ColumnElement[int] = RUNNING - SEATS
"""Negative where more run than the limit says."""

ADMITTED_AT = (
    select(func.max(KieSlot.taken_at)).where(KieSlot.kind == kind(Call.CREATE)).scalar_subquery()
)
SEAT_SINCE: ColumnElement[datetime | None] = case((FREE_SEATS < ALLOWED, ADMITTED_AT))
"""Since when there has been a free seat at the latest; NULL: seats are not scarce.

Where they are, one may have come free just now, and nobody notes when. But the last admission took
what it could: what it left had no seat then."""

# -- the account: whether anything may be sent

_BRAKE_WHEN: Mapping[HoldReason, ColumnElement[bool]] = {
    HoldReason.DATABASE_RESTORED: KieAccount.restored_at.is_not(None),
    HoldReason.ADMISSION_PAUSED: KieAccount.paused_at.is_not(None),
    HoldReason.DATABASE_MOVING: KieAccount.move_expected_until > NOW,
    HoldReason.DATABASE_CHANGED: KieAccount.changed_at.is_not(None),
}


def brake(*reasons: HoldReason) -> ColumnElement[str | None]:
    """Return the first of the reasons for which nothing at all is sent; NULL: there is none."""
    return case(
        *((_BRAKE_WHEN[reason], literal(reason.value, Text)) for reason in reasons), else_=null()
    )


UNPAUSED: ColumnElement[bool] = brake(*BRAKES).is_(None)
UNPROVED: ColumnElement[bool] = (KieAccount.hold_reason == HoldReason.KIE_ACCOUNT.value) & (
    KieAccount.probed_at.is_(None)
)
"""The free credit call has not yet gone well: no task is risked."""
PROBE_DUE: ColumnElement[bool] = UNPROVED & (KieAccount.held_until <= NOW) & UNPAUSED
"""That call is to be made now."""

_OTHER = aliased(ClientQueue)
_OTHERS_WAIT = (
    select(_OTHER.client_id)
    .where(
        _OTHER.client_id != KieAccount.hold_client_id,
        select(Task.id)
        .where(Task.client_id == _OTHER.client_id, Task.state == state_literal(State.QUEUED))
        .correlate(_OTHER)
        .exists(),
    )
    .correlate(KieAccount)
    .exists()
)
IS_HELD: ColumnElement[bool] = case(
    (KieAccount.hold_reason.is_(None), false()),
    (KieAccount.hold_client_id.is_(None), true()),
    else_=~_OTHERS_WAIT,
)
"""A hold for the troubles of one client is void while another one's tasks wait: they may go well,
and what the one client sends is held by its pairs."""
HELD_UNTIL: ColumnElement[datetime | None] = case((IS_HELD, KieAccount.held_until))
"""The account's next probe; NULL where it is not held."""

OPENS_BY_ITSELF: ColumnElement[bool] = UNPAUSED & func.coalesce(~UNPROVED, true())
"""Nothing but time keeps the account from being sent to."""
OPEN: ColumnElement[bool] = OPENS_BY_ITSELF & or_(HELD_UNTIL.is_(None), HELD_UNTIL <= NOW)
"""It may be sent to now; while it is held, as far as `PROBE_TURN` says."""
PROBE_TURN: ColumnElement[bool] = or_(~IS_HELD, SENDING == 0)
"""A hold lets one task through at a time."""
IS_ALL_OURS = ALLOWED >= CREATES
"""Nobody else uses the account: a slot that is free may be taken, and none has to be counted."""
HAS_SLOT = case((IS_ALL_OURS, has_free(Call.CREATE, CREATES)), else_=FREE_SLOTS > 0)
HAS_SEAT = FREE_SEATS > 0
MAY_SEND = and_(OPEN, PROBE_TURN, HAS_SLOT, HAS_SEAT)


def may_send(tasks: ColumnElement[int]) -> ColumnElement[bool]:
    """Return whether so many tasks may be sent now, as far as the account is concerned."""
    slots = case((IS_ALL_OURS, have_free(Call.CREATE, CREATES, tasks)), else_=tasks <= FREE_SLOTS)
    return and_(OPEN, or_(~IS_HELD, and_(tasks == 1, SENDING == 0)), slots, tasks <= FREE_SEATS)


# -- the queue: which tasks, and whose turn it is

QUEUED = Task.state == state_literal(State.QUEUED)
_READY = and_(Task.submit_by > NOW, Task.due_at <= NOW, Task.kie_task_id.is_(None))
ELIGIBLE = (QUEUED, func.coalesce(_READY, false()))
"""Of the queued tasks, those that may be sent as far as they themselves are concerned: what is not
released yet has no `due_at`, and what kie.ai has is never sent again.

In `coalesce`, PostgreSQL expects half of them. By its statistics, where nearly all tasks have
ended, it would expect none, and read the whole queue for each client rather than begin to."""
CLIENT_OPEN = and_(ClientQueue.paused_at.is_(None), ClientQueue.disabled_at.is_(None))


def start_tag(vtime: SQLColumnExpression[float]) -> ColumnElement[float]:
    """Return the tag of a client's next task, by the fair queue's virtual time."""
    return func.greatest(ClientQueue.pass_, vtime, type_=Float)


def tag(
    start: ColumnElement[float], place: ColumnElement[int], weight: SQLColumnExpression[int]
) -> ColumnElement[float]:
    """Return the tag of the task before which `place` others of its client go."""
    return start + cast(place, Float) / weight
