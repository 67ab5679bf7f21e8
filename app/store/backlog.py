"""How much there is to do, for how long it has waited, and what keeps it: by index, one look."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    ScalarSelect,
    Select,
    SQLColumnExpression,
    and_,
    case,
    func,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.admission import BRAKES, HoldReason, Limits
from app.domain.delivery import SLOW_AFTER, TROUBLED_AFTER
from app.domain.task import DEADLINES, State
from app.store.account import breakers
from app.store.account.limits import (
    FREE_SEATS,
    FREE_SLOTS,
    IS_HELD,
    PROBE_DUE,
    QUEUED,
    brake,
    given_limits,
)
from app.store.account.waiting import count_queued, oldest_queued, unsent
from app.store.deliveries.lanes import KINDS, LANE, PENDING, Kind, pending_lanes
from app.store.sql import NOW, lease_is_free, seconds_since, state_literal
from app.store.tables import (
    Artifact,
    Delivery,
    DeliveryUrl,
    FeedWriter,
    KieAccount,
    Task,
    TaskEvent,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What the database holds; ages in seconds, 0 where there is nothing."""

    tasks: Mapping[State, int]
    """The open tasks: final ones are ever more, and counting them would read them all. Queued ones
    are as of the sweep's last count, where they are many."""
    oldest_queued: float
    """The age of the oldest task that was not sent."""
    overdue: Mapping[str, float]
    """By loop: for how long the work that waits longest has been due."""
    held: Collection[HoldReason]
    """What keeps all queued tasks back."""
    held_pairs: Mapping[HoldReason, int]
    """How many pairs of a client and a model are held, by reason."""
    troubled_urls: Mapping[str, int]
    """Clients' URLs that are called by few at once: `failing`, `slow`."""
    slots_free: int
    seats_free: int
    parked: int
    """Tasks that are not polled any more."""


def _waited(
    instant: SQLColumnExpression[Any], *conditions: ColumnElement[bool]
) -> ColumnElement[float]:
    """Build the seconds since the earliest such instant; negative: it is still to come."""
    return select(seconds_since(func.min(instant))).where(*conditions).scalar_subquery()


def _count(*conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.count()).select_from(Task).where(*conditions).scalar_subquery()


_SUBMITTING = Task.state == state_literal(State.SUBMITTING)
_BOUNDED = tuple(state for state in DEADLINES if state is not State.QUEUED)
"""The states whose bound is `expires_at`; they all have one, and the index lists them by it."""


def _bounded(state: State) -> tuple[ColumnElement[bool], ...]:
    return Task.state == state_literal(state), Task.expires_at.is_not(None)


_COUNTS: Mapping[State, ScalarSelect[int]] = {
    State.QUEUED: count_queued(),
    State.SUBMITTING: _count(_SUBMITTING),
    **{state: _count(*_bounded(state)) for state in _BOUNDED},
}


def _undelivered_of(kind: Kind) -> Select[Any]:
    """Build the wait of the oldest due delivery at each URL that nobody calls and nothing holds.

    What waits behind others for a slow receiver, or for one in trouble, waits for its receiver.
    """
    lanes = pending_lanes(kind)
    of_lane = (PENDING, kind.which, Delivery.client_id == lanes.c.client_id, lanes.c.lane == LANE)
    due = (
        select(Delivery.due_at).where(*of_lane).order_by(Delivery.due_at).limit(1).scalar_subquery()
    )
    known = and_(
        DeliveryUrl.client_id == lanes.c.client_id,
        DeliveryUrl.lane == lanes.c.lane,
    )
    since = func.greatest(due, DeliveryUrl.held_until, type_=NOW.type)
    return (
        select(seconds_since(since).label("waited"))
        .select_from(lanes.outerjoin(DeliveryUrl, known))
        .where(
            ~_CALLED.where(Delivery.client_id == lanes.c.client_id, lanes.c.lane == LANE).exists()
        )
    )


_CALLED = select(Delivery.id).where(PENDING, Delivery.leased_until > NOW)


def _undelivered() -> ScalarSelect[float]:
    waits = union_all(*(_undelivered_of(kind) for kind in KINDS)).subquery()
    return select(func.max(waits.c.waited)).scalar_subquery()


_UNNUMBERED_SINCE: ScalarSelect[datetime] = (
    select(TaskEvent.at)
    .where(TaskEvent.id > select(FeedWriter.seen).scalar_subquery())
    .order_by(TaskEvent.id)
    .limit(1)
    .scalar_subquery()
)
"""Since when an event has waited for its position in the feed."""

_TROUBLED: Mapping[str, ScalarSelect[int]] = {
    "failing": select(func.count())
    .select_from(DeliveryUrl)
    .where(DeliveryUrl.failures >= TROUBLED_AFTER)
    .scalar_subquery(),
    "slow": select(func.count())
    .select_from(DeliveryUrl)
    .where(DeliveryUrl.seconds > SLOW_AFTER, DeliveryUrl.failures < TROUBLED_AFTER)
    .scalar_subquery(),
}

_OVERDUE: Mapping[str, ColumnElement[float]] = {
    "submit": unsent(),
    "probe": case((PROBE_DUE, seconds_since(KieAccount.held_until))),
    "poll": _waited(
        Task.due_at,
        Task.state != state_literal(State.QUEUED),
        Task.due_at.is_not(None),
        Task.parked_at.is_(None),
        lease_is_free(Task),
    ),
    "deliver": _undelivered(),
    "sweep": func.greatest(
        _waited(Task.leased_until, _SUBMITTING),
        _waited(Task.submit_by, QUEUED),
        *(_waited(Task.expires_at, *_bounded(state)) for state in _BOUNDED),
    ),
    "number": seconds_since(_UNNUMBERED_SINCE),
    "archive": _waited(Artifact.due_at, Artifact.due_at.is_not(None), lease_is_free(Artifact)),
}
"""The names are the loops'. greatest() passes over NULL: where there is nothing, nothing waits."""


def _never_negative(seconds: ColumnElement[float]) -> ColumnElement[float]:
    return func.greatest(func.coalesce(seconds, 0), 0, type_=Float)


_READ = select(
    *(count.label(state) for state, count in _COUNTS.items()),
    _never_negative(seconds_since(oldest_queued())).label("oldest_queued"),
    *(_never_negative(seconds).label(loop) for loop, seconds in _OVERDUE.items()),
    *(brake(reason).label(reason.value) for reason in BRAKES),
    case((IS_HELD, KieAccount.hold_reason)).label("hold_reason"),
    *(count.label(f"urls_{name}") for name, count in _TROUBLED.items()),
    func.greatest(0, FREE_SLOTS).label("slots_free"),
    func.greatest(0, FREE_SEATS).label("seats_free"),
    _count(Task.parked_at.is_not(None)).label("parked"),
)


async def read_backlog(connection: AsyncConnection, limits: Limits) -> Backlog:
    row = (await connection.execute(_READ, {**given_limits(limits), "start": 0})).mappings().one()
    held = {reason for reason in BRAKES if row[reason.value]}
    if row["hold_reason"]:
        held.add(HoldReason(row["hold_reason"]))
    return Backlog(
        tasks={state: row[state] for state in _COUNTS},
        oldest_queued=float(row["oldest_queued"]),
        overdue={loop: float(row[loop]) for loop in _OVERDUE},
        held=held,
        held_pairs=await breakers.count_held(connection),
        troubled_urls={name: row[f"urls_{name}"] for name in _TROUBLED},
        slots_free=row["slots_free"],
        seats_free=row["seats_free"],
        parked=row["parked"],
    )
