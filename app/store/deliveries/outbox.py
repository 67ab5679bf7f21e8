"""The outbox: who is to be notified of a task's state, and putting deliveries in."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
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
from app.store.connections.engine import Row
from app.store.connections.prepared import Prepared
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


def _notifying(*columns: ColumnElement[Any]) -> Select[Any]:
    """Select of each task of which somebody is to be notified these columns, and whom to notify."""
    return (
        select(
            *columns,
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


_TO_NOTIFY = Prepared(lambda: _notifying(*ANSWERED_COLUMNS))
_TO_NOTIFY_BRIEFLY = Prepared(
    lambda: _notifying(Task.__table__.c.id, Task.__table__.c.state, Task.__table__.c.version)
)

_UNREADABLE = (ValueError, ArithmeticError, TypeError, RecursionError)
"""What reading a value raises that PostgreSQL holds and Python cannot: JSON that is nested too
deep, an instant beyond the year 9999."""


class UnreadableRowError(Exception):
    """PostgreSQL has answered, and the answer holds a value that cannot be read here."""


async def to_notify(
    connection: AsyncConnection,
    ids: Collection[UUID],
    *,
    event: EventType | None = None,
    briefly: bool = False,
) -> Sequence[Row]:
    """Return those of the tasks, as answered, of which somebody is to be notified.

    Without an event of its own it is of their present state. Raises `UnreadableRowError` where a
    row of theirs cannot be read; `briefly`, with no more than `id`, `state` and `version`, it can.

    Beside the answered columns: `client_id`, `event`, `notify_url`, `disabled`, `notified_at`,
    `notify_dialect`.
    """
    statement = _TO_NOTIFY_BRIEFLY if briefly else _TO_NOTIFY
    given = {"ids": list(ids), "usual": _USUAL, "event": event}
    try:
        return await statement.mappings(connection, given)
    except _UNREADABLE as error:
        raise UnreadableRowError from error


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A delivery to be put into the outbox: pending, or kept as disabled."""

    id: UUID
    client_id: UUID
    task_id: UUID | None
    """None: it is about no task."""
    event: str
    url: str
    host: str
    body: bytes
    state: DeliveryState
    origin_id: UUID | None = None
    dialect: Dialect = Dialect.NATIVE


def _putting() -> Insert:
    given = {name: bindparam(name, type_=Delivery.__table__.c[name].type) for name in _PUT_COLUMNS}
    pending = given["state"] == DeliveryState.PENDING.value
    when = {"due_at": case((pending, later("due_in"))), "finished_at": case((~pending, NOW))}
    return insert(Delivery).values(**given, **when).on_conflict_do_nothing()


_PUT_COLUMNS = NewDelivery.__slots__
_PUT = Prepared(_putting)


async def put(
    connection: AsyncConnection, new: Sequence[NewDelivery], *, due_in: float = 0
) -> None:
    """Put the deliveries into the outbox; one that is there already stays as it is.

    `due_in`: the seconds before the first attempt.
    """
    for one in new:
        values = {name: getattr(one, name) for name in _PUT_COLUMNS}
        await _PUT.all(connection, {**values, "due_in": due_in})
