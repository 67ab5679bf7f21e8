"""Looking back at deliveries, and repeating them."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    TIMESTAMP,
    Integer,
    RowMapping,
    Select,
    Text,
    TextClause,
    Uuid,
    bindparam,
    column,
    func,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.domain.delivery import DeliveryState
from app.domain.paging import Chosen
from app.store.sql import NOW
from app.store.tables import Client, Delivery, DeliveryAttempt, DisabledUrl, Task

ANSWERED = (
    "id",
    "task_id",
    "event",
    "url",
    "state",
    "tries",
    "due_at",
    "created_at",
    "finished_at",
    "origin_id",
)
"""The columns that callers see, in the order of the answer."""

_COLUMNS = tuple(Delivery.__table__.c[name] for name in ANSWERED)


def _narrowed(statement: Select[Any], client_id: UUID, chosen: Chosen) -> Select[Any]:
    statement = statement.where(Delivery.client_id == client_id)
    if chosen.state is not None:
        statement = statement.where(Delivery.state == chosen.state.value)
    if chosen.task_id is not None:
        statement = statement.where(Delivery.task_id == chosen.task_id)
    if chosen.created_after is not None:
        statement = statement.where(Delivery.created_at > chosen.created_after)
    if chosen.created_before is not None:
        statement = statement.where(Delivery.created_at < chosen.created_before)
    return statement


async def read_page(
    connection: AsyncConnection,
    client_id: UUID,
    chosen: Chosen,
    *,
    before: UUID | None,
    limit: int,
) -> Sequence[RowMapping]:
    """Return the client's deliveries, newest first; their ids are in the order of their making."""
    statement: Select[Any] = _narrowed(select(*_COLUMNS), client_id, chosen)
    if before is not None:
        statement = statement.where(Delivery.id < before)
    found = await connection.execute(statement.order_by(Delivery.id.desc()).limit(limit))
    rows: Sequence[RowMapping] = found.mappings().all()
    return rows


_ONE = select(*_COLUMNS).where(
    Delivery.id == bindparam("wanted", type_=Uuid),
    Delivery.client_id == bindparam("of_client", type_=Uuid),
)


async def read_one(
    connection: AsyncConnection, client_id: UUID, delivery_id: UUID
) -> RowMapping | None:
    """Return the delivery; None: the client has no such."""
    parameters = {"wanted": delivery_id, "of_client": client_id}
    return (await connection.execute(_ONE, parameters)).mappings().one_or_none()


_ONE_OF_ALL = (
    select(*_COLUMNS, Delivery.host, Client.name.label("client"))
    .join(Client, Client.id == Delivery.client_id)
    .where(Delivery.id == bindparam("wanted", type_=Uuid))
)


async def read_of_all(connection: AsyncConnection, delivery_id: UUID) -> RowMapping | None:
    """Return a delivery of whichever client, with its `client` and `host`."""
    found = await connection.execute(_ONE_OF_ALL, {"wanted": delivery_id})
    return found.mappings().one_or_none()


_WHOSE = select(Delivery.client_id).where(Delivery.id == bindparam("wanted", type_=Uuid))


async def read_client(connection: AsyncConnection, delivery_id: UUID) -> UUID | None:
    """Return whose delivery it is; None: there is no such."""
    found: UUID | None = await connection.scalar(_WHOSE, {"wanted": delivery_id})
    return found


_OF_ALL = (
    *(name for name in ANSWERED if name != "url"),
    "host",
)


@lru_cache(maxsize=32)
def _page_of_all(given: frozenset[str]) -> TextClause:
    """Return the statement for a page: of each client, where states or one client are wanted."""
    own = "WHERE c.id = :client_id" if "client_id" in given else ""
    each = {"client_id", "state"} & given
    conditions = [sql for name, sql in _NARROWING.items() if name in given]
    narrowed = " AND ".join((*(["client_id = c.id"] if each else []), *conditions)) or "true"
    if "unanswered" in given:
        narrowed += _UNANSWERED
    page = (
        f"SELECT client_id, {', '.join(_OF_ALL)} FROM deliveries o WHERE {narrowed}"  # noqa: S608  # our own words
        " ORDER BY id DESC LIMIT :limit"
    )
    # With nothing to narrow it, the newest of all are the newest ids.
    source = f"CROSS JOIN LATERAL ({page}) d" if each else f"JOIN ({page}) d ON d.client_id = c.id"
    return text(
        f"SELECT {', '.join(f'd.{name}' for name in _OF_ALL)}, c.name AS client"  # noqa: S608  # as above
        f" FROM clients c {source} {own} ORDER BY d.id DESC LIMIT :limit"
    ).bindparams(*(bindparam(name, type_=_TYPES[name]) for name in sorted(given - {"unanswered"})))


_NARROWING: Mapping[str, str] = {
    "state": "state = :state",
    "created_after": "created_at > :created_after",
    "created_before": "created_at < :created_before",
    "before": "id < :before",
}
_UNANSWERED = """ AND origin_id IS NULL AND NOT EXISTS (
    SELECT FROM deliveries r WHERE r.origin_id = o.id AND r.state IN ('pending', 'delivered'))"""
_TYPES: Mapping[str, Any] = {
    "client_id": Uuid,
    "state": Text,
    "created_after": TIMESTAMP(timezone=True),
    "created_before": TIMESTAMP(timezone=True),
    "before": Uuid,
    "limit": Integer,
}


async def read_page_of_all(
    connection: AsyncConnection,
    chosen: Chosen,
    *,
    client_id: UUID | None,
    before: UUID | None,
    limit: int,
    unanswered: bool = False,
) -> Sequence[RowMapping]:
    """Return deliveries of all clients, or of one, newest first, each with its `client`.

    Of the URL only the `host`. With `unanswered` only those of which no repetition is on its way
    or has arrived. The task of `chosen` narrows nothing.
    """
    parameters = {
        "client_id": client_id,
        "state": chosen.state and chosen.state.value,
        "created_after": chosen.created_after,
        "created_before": chosen.created_before,
        "before": before,
        "limit": limit,
    }
    parameters = {name: value for name, value in parameters.items() if value is not None}
    given = frozenset(parameters) | ({"unanswered"} if unanswered else frozenset())
    found = await connection.execute(_page_of_all(given), parameters)
    return found.mappings().all()


_ATTEMPTS = (
    select(DeliveryAttempt.__table__)
    .where(DeliveryAttempt.delivery_id == bindparam("ids", type_=ARRAY(Uuid)).any_())
    .order_by(DeliveryAttempt.delivery_id, DeliveryAttempt.number)
)


async def read_attempts(connection: AsyncConnection, ids: Sequence[UUID]) -> Sequence[RowMapping]:
    """Return all attempts of these deliveries, each one's in order."""
    rows = await connection.execute(_ATTEMPTS, {"ids": list(ids)})
    return rows.mappings().all()


_DISABLED = (
    select(DisabledUrl.url)
    .where(DisabledUrl.client_id == Delivery.client_id, DisabledUrl.url == Delivery.url)
    .exists()
)
_REPETITION = aliased(Delivery)
_SENT_AGAIN = (
    select(_REPETITION.id)
    .where(
        _REPETITION.origin_id == Delivery.id,
        _REPETITION.state.in_([DeliveryState.PENDING.value, DeliveryState.DELIVERED.value]),
    )
    .exists()
)
_FIRST = (
    Delivery.origin_id.is_(None),
    Delivery.raw_deleted_at.is_(None),
    Delivery.state != DeliveryState.PENDING.value,
    or_(Delivery.state == DeliveryState.DELIVERED.value, ~_SENT_AGAIN),
)
"""What many are chosen from: each message once, and none that is on its way or arrived since."""


async def choose(
    connection: AsyncConnection,
    client_id: UUID,
    chosen: Chosen,
    *,
    after: UUID | None,
    limit: int,
) -> Sequence[UUID]:
    """Return the chosen deliveries that can be repeated, the oldest first.

    Repetitions are left out, since their original is chosen; so is what is pending, what failed
    and was delivered by a repetition, and whatever goes to a URL that is disabled.
    """
    statement = _narrowed(select(Delivery.id), client_id, chosen).where(*_FIRST, ~_DISABLED)
    if after is not None:
        statement = statement.where(Delivery.id > after)
    return (await connection.scalars(statement.order_by(Delivery.id).limit(limit))).all()


async def left_out(connection: AsyncConnection, client_id: UUID, chosen: Chosen) -> Sequence[str]:
    """Return the disabled URLs for which some of the chosen ones cannot be repeated."""
    some = _narrowed(select(Delivery.id), client_id, chosen).where(
        *_FIRST, Delivery.url == DisabledUrl.url
    )
    statement = (
        select(DisabledUrl.url)
        .where(DisabledUrl.client_id == client_id, some.correlate(DisabledUrl).exists())
        .order_by(DisabledUrl.url)
    )
    return (await connection.scalars(statement)).all()


_ORIGIN = func.coalesce(Delivery.origin_id, Delivery.id)
_REPEATABLE = select(
    _ORIGIN.label("origin_id"),
    _DISABLED.label("disabled"),
    Delivery.raw_deleted_at.is_not(None).label("deleted"),
).where(
    Delivery.id == bindparam("wanted", type_=Uuid),
    Delivery.client_id == bindparam("of_client", type_=Uuid),
)


async def repeatable(
    connection: AsyncConnection, client_id: UUID, delivery_id: UUID
) -> RowMapping | None:
    """Return `origin_id`, whether its URL is `disabled`, and its body `deleted`; None: no such."""
    parameters = {"wanted": delivery_id, "of_client": client_id}
    return (await connection.execute(_REPEATABLE, parameters)).mappings().one_or_none()


_REPEATED = (
    "client_id",
    "task_id",
    "event",
    "url",
    "host",
    "body",
    "dialect",
)
_PAIRS = (
    func.unnest(bindparam("origins", type_=ARRAY(Uuid)), bindparam("new_ids", type_=ARRAY(Uuid)))
    .table_valued(column("origin", Uuid), column("new_id", Uuid), name="pairs")
    .render_derived()
)
_REPEAT = (
    insert(Delivery)
    .from_select(
        ["id", *_REPEATED, "state", "due_at", "origin_id"],
        select(
            _PAIRS.c.new_id,
            *(Delivery.__table__.c[name] for name in _REPEATED),
            literal(DeliveryState.PENDING.value),
            NOW,
            _ORIGIN,
        )
        .where(
            Delivery.id == _PAIRS.c.origin,
            Delivery.client_id == bindparam("of_client", type_=Uuid),
            Delivery.raw_deleted_at.is_(None),
            Task.id == Delivery.task_id,
        )
        # Of a task that is being deleted nothing is repeated, and it waits for who does it.
        .with_for_update(read=True, key_share=True, of=Task),
    )
    .on_conflict_do_nothing()
)


async def repeat(
    connection: AsyncConnection, client_id: UUID, new_ids: Mapping[UUID, UUID]
) -> None:
    """Put deliveries into the outbox again, as new ones: `new_ids` by those they repeat.

    A second time under the same ids changes nothing.
    """
    parameters = {
        "origins": list(new_ids),
        "new_ids": list(new_ids.values()),
        "of_client": client_id,
    }
    await connection.execute(_REPEAT, parameters)
