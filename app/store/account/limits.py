"""The account's limits as SQL: what is free of its slots and seats, at this instant.

Shared by the admission, which claims by them, and the forecast, which tells how they will go on.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Float,
    Integer,
    ScalarSelect,
    TableValuedColumn,
    Text,
    bindparam,
    cast,
    extract,
    func,
    literal_column,
    select,
)

from app.domain.admission import Call, HoldReason, Limits
from app.domain.task import State
from app.store.sql import NOW
from app.store.tables import KieAccount, KieSlot, Task
from app.store.tasks.moves import state_literal

UNCONFIRMED_SEAT = 900.0
"""Seconds for which a create of unknown outcome counts as running: most of them never ran."""


def given_limits(limits: Limits) -> dict[str, Any]:
    """Return the parameters that the expressions below read."""
    return {
        "creates": limits.creates.calls,
        "window": limits.creates.window,
        "running": limits.running,
        "unconfirmed_seat": UNCONFIRMED_SEAT,
    }


CREATES = bindparam("creates", type_=Integer)
WINDOW = bindparam("window", type_=Float)
RUNNING = bindparam("running", type_=Integer)


def seconds(span: ColumnElement[Any]) -> ColumnElement[float]:
    return cast(extract("epoch", span), Float)


def kind(call: Call) -> ColumnElement[str]:
    return literal_column(f"'{call.value}'", Text)


ALLOWED: ColumnElement[int] = func.least(
    CREATES,
    func.coalesce(
        KieAccount.creates_allowed
        + cast(func.floor(seconds(NOW - KieAccount.throttled_at) / WINDOW), Integer),
        CREATES,
    ),
    type_=Integer,
)
"""Of the limit of creates, what others who use the account leave to us."""


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


_CREATE_SLOTS = (KieSlot.kind == kind(Call.CREATE), KieSlot.slot <= CREATES)

BUSY: ScalarSelect[int] = (
    select(func.count()).where(*_CREATE_SLOTS, KieSlot.free_at > NOW).scalar_subquery()
)
NEXT_FREE: ScalarSelect[datetime] = (
    select(func.min(KieSlot.free_at)).where(*_CREATE_SLOTS, KieSlot.free_at > NOW).scalar_subquery()
)


def _count(*conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.count()).select_from(Task).where(*conditions).scalar_subquery()


_SEAT = func.make_interval(0, 0, 0, 0, 0, 0, bindparam("unconfirmed_seat", type_=Float))

SENDING = _count(Task.state == state_literal(State.SUBMITTING))
SEATS: ColumnElement[int] = (
    SENDING
    + _count(Task.state == state_literal(State.RUNNING))
    + _count(
        Task.state == state_literal(State.UNCONFIRMED),
        Task.submitted_at + _SEAT > NOW,
    )
)
"""Tasks that count as running at kie.ai."""

UNPROVED: ColumnElement[bool] = (KieAccount.hold_reason == HoldReason.KIE_ACCOUNT.value) & (
    KieAccount.probed_at.is_(None)
)
"""The free credit call has not yet gone well: no task is risked."""
