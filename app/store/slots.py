"""Slots of the account's limited calls: which are free, and freeing the one that a call used.

There are as many as kie.ai allows calls in a window. Each is free again one window after the
*answer* of the call that used it, so that no window sees more calls, however long they take.

A flood takes them all at once, a window later again, and in between nobody else finds one. So
behind a long queue they are spread: each then waits a window more at most, once, and as many tasks
leave the queue as before.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Float,
    Integer,
    TableValuedColumn,
    Text,
    Uuid,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.admission import Call, Limit
from app.store.sql import NOW, ONCE, interval, later, seconds_since
from app.store.tables import KieSlot


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A slot that a call is using."""

    call: Call
    slot: int
    task_id: UUID
    attempt: int = 0
    """Which of the task's creates; a query is none."""


def kind(call: Call) -> ColumnElement[str]:
    return literal_column(f"'{call.value}'", Text)


def numbers(calls: ColumnElement[int]) -> TableValuedColumn[int]:
    """Count the slots of a limit; a row in `kie_slots` appears when one is first taken."""
    return func.generate_series(1, calls, type_=Integer).column_valued("number")


def free_slots(call: Call, calls: ColumnElement[int]) -> CTE:
    """List the slots that may be taken now, numbered by `place`."""
    slot = numbers(calls)
    busy = (
        select(KieSlot.slot)
        .where(KieSlot.kind == kind(call), KieSlot.slot == slot, KieSlot.free_at > NOW)
        .exists()
    )
    place = func.row_number().over(order_by=slot).label("place")
    return select(slot.label("slot"), place).where(~busy).cte("free")


def newest(call: Call) -> ColumnElement[int]:
    """Return the highest slot that was ever taken, 0: none; all below it were taken too."""
    found = select(func.max(KieSlot.slot)).where(KieSlot.kind == kind(call))
    return func.coalesce(found.scalar_subquery(), 0, type_=Integer)


def has_free(call: Call, calls: ColumnElement[int]) -> ColumnElement[bool]:
    """Tell whether a slot may be taken now, by index."""
    return or_(
        newest(call) < calls,
        select(KieSlot.slot)
        .where(KieSlot.kind == kind(call), KieSlot.slot <= calls, KieSlot.free_at <= ONCE)
        .exists(),
    )


def have_free(
    call: Call, calls: ColumnElement[int], wanted: ColumnElement[int]
) -> ColumnElement[bool]:
    """Tell whether so many slots may be taken now, by index; no more than these are counted."""
    used = (
        select(KieSlot.slot)
        .where(KieSlot.kind == kind(call), KieSlot.slot <= calls, KieSlot.free_at <= ONCE)
        .order_by(KieSlot.free_at)
        .limit(wanted)
        .subquery("free_again")
    )
    counted = select(func.count()).select_from(used).scalar_subquery()
    return or_(newest(call) + wanted <= calls, calls - newest(call) + counted >= wanted)


def some_free_slots(call: Call, calls: ColumnElement[int], most: ColumnElement[int]) -> CTE:
    """List up to `most` slots that may be taken now, numbered by `place`.

    Those that are free for the longest come first, then new ones: both by index, so that it costs
    the same however high the limit is. For calls whose slots are taken under one lock.
    """
    used = (
        select(KieSlot.slot, KieSlot.free_at)
        .where(KieSlot.kind == kind(call), KieSlot.slot <= calls, KieSlot.free_at <= ONCE)
        .order_by(KieSlot.free_at)
        .limit(most)
        .subquery("used")
    )
    last = newest(call)
    new = func.generate_series(last + 1, func.least(calls, last + most), type_=Integer)
    number = new.column_valued("number")
    found = union_all(
        select(used.c.slot, used.c.free_at), select(number, literal_column("NULL::timestamptz"))
    ).subquery("found")
    order = (found.c.free_at.nulls_last(), found.c.slot)
    place = func.row_number().over(order_by=order).label("place")
    return select(found.c.slot, place).order_by(*order).limit(most).cte("free")


_HELD = (
    KieSlot.kind == bindparam("held_kind"),
    KieSlot.slot == bindparam("held_slot"),
    KieSlot.task_id == bindparam("held_for"),
    KieSlot.attempt == bindparam("held_attempt"),
)


def is_held() -> ColumnElement[bool]:
    """Tell whether the slot that `released` names is still in use by that call."""
    return select(KieSlot.slot).where(*_HELD).exists()


RELEASE = (
    update(KieSlot)
    .where(*_HELD)
    .values(
        free_at=later("still"),
        task_id=None,
        took=seconds_since(KieSlot.taken_at) - bindparam("ago", type_=Float),
    )
    .returning(KieSlot.slot)
)


async def release(
    connection: AsyncConnection, held: Held, *, window: float, answered_ago: float
) -> bool:
    """Free the slot one window after the answer, which came `answered_ago` seconds before.

    False: it was freed before, by an earlier try of the same record or by time.
    """
    parameters = released(held, window=window, answered_ago=answered_ago)
    return await connection.scalar(RELEASE, parameters) is not None


def released(held: Held, *, window: float, answered_ago: float) -> dict[str, object]:
    """Return the parameters of `RELEASE`."""
    return {
        "held_kind": held.call,
        "held_slot": held.slot,
        "held_for": held.task_id,
        "held_attempt": held.attempt,
        "still": window - answered_ago,
        "ago": answered_ago,
    }


SPREADABLE = 200
"""Slots in a window up to which they are spread: more than these no process sends at once, and each
time so many rows would be written."""

_APART = interval("apart")
_COMING = (
    select(
        KieSlot.slot,
        KieSlot.free_at,
        func.row_number().over(order_by=(KieSlot.free_at, KieSlot.slot)).label("place"),
    )
    .where(
        KieSlot.kind == kind(Call.CREATE),
        KieSlot.slot <= bindparam("calls", type_=Integer),
        KieSlot.task_id.is_(None),
        KieSlot.free_at > ONCE,
    )
    .subquery("coming")
)
_SINCE = (_COMING.c.free_at - _APART * _COMING.c.place).label("since")
_PLACED = select(_COMING, _SINCE).subquery("placed")
_IN_TURN = func.max(_PLACED.c.since).over(order_by=_PLACED.c.place) + _APART * _PLACED.c.place
_SPREAD_OUT = select(_PLACED.c.slot, _IN_TURN.label("free_at")).cte("spread_out")
_SPREAD = (
    update(KieSlot)
    .where(
        KieSlot.kind == kind(Call.CREATE),
        KieSlot.slot == _SPREAD_OUT.c.slot,
        KieSlot.free_at < _SPREAD_OUT.c.free_at,
    )
    .values(free_at=_SPREAD_OUT.c.free_at)
)


async def spread(connection: AsyncConnection, limit: Limit) -> None:
    """Have creates' slots that come free do so a call's share of the window apart, or more.

    The caller holds the account's lock. One that is under way is left for the next time.
    """
    if limit.calls <= SPREADABLE:
        apart = limit.window / limit.calls
        await connection.execute(_SPREAD, {"calls": limit.calls, "apart": apart})


_FREE_QUERY = free_slots(Call.QUERY, bindparam("calls", type_=Integer))
_HIGHEST = select(
    kind(Call.QUERY),
    func.max(_FREE_QUERY.c.slot),
    later("taken_for"),
    bindparam("taken_by", type_=Uuid),
    NOW,
).having(func.count() > 0)
_TAKING = insert(KieSlot).from_select(["kind", "slot", "free_at", "task_id", "taken_at"], _HIGHEST)
_TAKE = _TAKING.on_conflict_do_update(
    index_elements=["kind", "slot"],
    set_={name: _TAKING.excluded[name] for name in ("free_at", "task_id", "taken_at")}
    | {"client_id": None},
    where=KieSlot.free_at <= NOW,
).returning(KieSlot.slot)


async def take_query(
    connection: AsyncConnection, by: UUID, *, calls: int, taken_for: float
) -> Held | None:
    """Take a slot for a query that is about no task; None: all are in use.

    `by` names the caller; unless it is released, it is free again after `taken_for` seconds.
    """
    given = {"calls": calls, "taken_for": taken_for, "taken_by": by}
    slot = await connection.scalar(_TAKE, given)
    return None if slot is None else Held(call=Call.QUERY, slot=slot, task_id=by)
