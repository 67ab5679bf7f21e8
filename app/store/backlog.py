"""How much there is to do, and for how long it has waited: by index, never by reading all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Float, ScalarSelect, cast, extract, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.task import DEADLINES, State
from app.store.deliveries.attempts import PENDING, pending_hosts
from app.store.sql import NOW
from app.store.tables import Delivery, DeliveryHost, Task
from app.store.tasks.moves import state_literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What the database holds; ages in seconds, 0 where there is nothing."""

    tasks: Mapping[State, int]
    """The open tasks: those at rest are ever more, and counting them would read them all."""
    oldest_queued: float
    """The age of the oldest task that was not sent."""
    overdue: Mapping[str, float]
    """By loop: for how long the work that waits longest has been due; see `room` for the others."""


def _waited(instant: Any, *conditions: ColumnElement[bool]) -> ColumnElement[float]:  # noqa: ANN401  # a column
    """Build the seconds since the earliest such instant; negative: it is still to come."""
    seconds = extract("epoch", NOW - func.min(instant))
    return cast(select(seconds).where(*conditions).scalar_subquery(), Float)


def _count(*conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.count()).select_from(Task).where(*conditions).scalar_subquery()


_QUEUED = Task.state == state_literal(State.QUEUED)
_SUBMITTING = Task.state == state_literal(State.SUBMITTING)
_BOUNDED = tuple(state for state in DEADLINES if state is not State.QUEUED)
"""The states whose bound is `expires_at`; they all have one, and the index lists them by it."""


def _bounded(state: State) -> tuple[ColumnElement[bool], ...]:
    return Task.state == state_literal(state), Task.expires_at.is_not(None)


_COUNTS: Mapping[State, ScalarSelect[int]] = {
    State.QUEUED: _count(_QUEUED),
    State.SUBMITTING: _count(_SUBMITTING),
    **{state: _count(*_bounded(state)) for state in _BOUNDED},
}

_FREE = or_(Task.leased_until.is_(None), Task.leased_until <= NOW)


def _undelivered() -> ColumnElement[float]:
    """Build the wait of the oldest due delivery to a host that nobody calls and nothing holds.

    What waits behind others for a slow host, or for a host in trouble, waits for its receiver.
    """
    hosts = pending_hosts()
    due = (
        select(func.min(Delivery.due_at))
        .where(PENDING, Delivery.host == hosts.c.host)
        .scalar_subquery()
    )
    called = (
        select(Delivery.id)
        .where(PENDING, Delivery.host == hosts.c.host, Delivery.leased_until > NOW)
        .exists()
    )
    since = func.greatest(due, DeliveryHost.held_until)
    return cast(
        select(func.max(extract("epoch", NOW - since)))
        .select_from(hosts)
        .outerjoin(DeliveryHost, DeliveryHost.host == hosts.c.host)
        .where(hosts.c.host.is_not(None), ~called)
        .scalar_subquery(),
        Float,
    )


_OVERDUE: Mapping[str, ColumnElement[float]] = {
    "poll": _waited(
        Task.due_at,
        Task.state != state_literal(State.QUEUED),
        Task.due_at.is_not(None),
        Task.parked_at.is_(None),
        _FREE,
    ),
    "deliver": _undelivered(),
    "sweep": func.greatest(
        _waited(Task.leased_until, _SUBMITTING),
        _waited(Task.submit_by, _QUEUED),
        *(_waited(Task.expires_at, *_bounded(state)) for state in _BOUNDED),
    ),
}
"""The names are the loops'. greatest() passes over NULL: where there is nothing, nothing waits."""


def _never_negative(seconds: ColumnElement[float]) -> ColumnElement[float]:
    return func.greatest(func.coalesce(seconds, 0), 0, type_=Float)


_TAKE = select(
    *(count.label(state) for state, count in _COUNTS.items()),
    _never_negative(_waited(Task.created_at, _QUEUED)).label("oldest_queued"),
    *(_never_negative(seconds).label(work) for work, seconds in _OVERDUE.items()),
)


async def take(connection: AsyncConnection) -> Census:
    row = (await connection.execute(_TAKE)).mappings().one()
    return Census(
        tasks={state: row[state] for state in _COUNTS},
        oldest_queued=float(row["oldest_queued"]),
        overdue={work: float(row[work]) for work in _OVERDUE},
    )
