"""The outbox: who is to be notified of a task's state, and putting deliveries in."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    RowMapping,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery import USUAL_EVENTS, DeliveryState, EventType
from app.domain.dialect import Dialect
from app.store.sql import NOW, later
from app.store.tables import Client, Delivery, DisabledUrl, Task
from app.store.tasks.rows import ANSWERED_COLUMNS

_USUAL = [event.value for event in USUAL_EVENTS]
_URL = func.coalesce(Task.webhook_url, Client.webhook_url)
_AS_KIE = and_(Task.dialect == Dialect.KIE.value, Task.webhook_url.is_not(None))
"""Who gave kie.ai's API a URL is called there as kie.ai calls: for final states, all and only."""
_EVERY_FINAL = bindparam("usual", type_=ARRAY(Text))
_SUBSCRIBED = func.coalesce(case((~_AS_KIE, Client.webhook_events)), _EVERY_FINAL)
_EVENT = func.coalesce(bindparam("event", type_=Text), literal_column("'task.'", Text) + Task.state)

_TO_NOTIFY = (
    select(
        *ANSWERED_COLUMNS,
        Task.client_id,
        _EVENT.label("event"),
        _URL.label("notify_url"),
        select(DisabledUrl.url)
        .where(DisabledUrl.client_id == Task.client_id, DisabledUrl.url == _URL)
        .exists()
        .label("disabled"),
        NOW.label("notified_at"),
        case((_AS_KIE, Dialect.KIE.value), else_=Dialect.NATIVE.value).label("notify_dialect"),
    )
    .join(Client, Client.id == Task.client_id)
    .where(
        Task.id == bindparam("ids", type_=ARRAY(Uuid)).any_(),
        _URL.is_not(None),
        _EVENT == _SUBSCRIBED.any_(),  # noqa: SIM300  # as SQL has it
    )
)


async def to_notify(
    connection: AsyncConnection, ids: Collection[UUID], *, event: EventType | None = None
) -> Sequence[RowMapping]:
    """Return those of the tasks, as answered, of which somebody is to be notified.

    Without an event of its own it is of their present state.

    Beside the answered columns: `client_id`, `event`, `notify_url`, `disabled`, `notified_at`,
    `notify_dialect`.
    """
    rows = await connection.execute(_TO_NOTIFY, {"ids": list(ids), "usual": _USUAL, "event": event})
    return rows.mappings().all()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A delivery to be put into the outbox: pending, or kept as disabled."""

    id: UUID
    client_id: UUID
    task_id: UUID
    event: str
    url: str
    host: str
    body: bytes
    state: DeliveryState
    origin_id: UUID | None = None
    dialect: Dialect = Dialect.NATIVE


def _putting() -> Insert:
    """Build it once: building takes longer than sending."""
    given = {name: bindparam(name, type_=Delivery.__table__.c[name].type) for name in _PUT_COLUMNS}
    pending = given["state"] == DeliveryState.PENDING.value
    when = {"due_at": case((pending, later("due_in"))), "finished_at": case((~pending, NOW))}
    return insert(Delivery).values(**given, **when).on_conflict_do_nothing()


_PUT_COLUMNS = NewDelivery.__slots__
_PUT = _putting()


async def put(
    connection: AsyncConnection, new: Sequence[NewDelivery], *, due_in: float = 0
) -> None:
    """Put the deliveries into the outbox; one that is there already stays as it is.

    `due_in`: the seconds before the first attempt.
    """
    for one in new:
        values = {name: getattr(one, name) for name in _PUT_COLUMNS}
        await connection.execute(_PUT, {**values, "due_in": due_in})
