"""The outbox: putting deliveries in, claiming those that are due, settling their attempts."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    Boolean,
    ColumnElement,
    Float,
    Integer,
    RowMapping,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery import TROUBLED_AFTER, USUAL_EVENTS, DeliveryState
from app.domain.dialect import Dialect
from app.store.sql import NOW, later
from app.store.tables import (
    Client,
    Delivery,
    DeliveryAttempt,
    DeliveryHost,
    DisabledUrl,
    Task,
)
from app.store.tasks.rows import ANSWERED_COLUMNS

_USUAL = [event.value for event in USUAL_EVENTS]
_URL = func.coalesce(Task.webhook_url, Client.webhook_url)
_AS_KIE = and_(Task.dialect == Dialect.KIE.value, Task.webhook_url.is_not(None))
"""Who gave kie.ai's API a URL is told there as kie.ai tells: of every rest, and nothing else."""
_EVERY_END = bindparam("usual", type_=ARRAY(Text))
_SUBSCRIBED = func.coalesce(case((~_AS_KIE, Client.webhook_events)), _EVERY_END)
_EVENT = literal_column("'task.'", Text) + Task.state

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


async def to_notify(connection: AsyncConnection, ids: Collection[UUID]) -> Sequence[RowMapping]:
    """Return those of the tasks of whose present state somebody is to be told, as answered.

    Beside the answered columns: `client_id`, `event`, `notify_url`, `disabled`, `notified_at`,
    `notify_dialect`.
    """
    rows = await connection.execute(_TO_NOTIFY, {"ids": list(ids), "usual": _USUAL})
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDelivery:
    """A delivery under a lease: this process may try it once."""

    id: UUID
    client_id: UUID
    task_id: UUID
    url: str
    host: str
    body: bytes
    dialect: str
    tries: int
    """Attempts so far."""
    signing_secret: bytes
    previous_secret: bytes | None
    """Signs too, while a rotation's grace lasts."""
    age: float
    """Seconds since it was put into the outbox."""
    places: int
    """How many deliveries to its host could be claimed together with this one."""
    troubled: bool
    """Its host has failed since it last answered."""


PENDING: ColumnElement[bool] = literal_column("deliveries.state = 'pending'", Boolean)
_FREE = or_(Delivery.leased_until.is_(None), Delivery.leased_until <= NOW)
_PREVIOUS = case((Client.previous_secret_until > NOW, Client.previous_secret))


def pending_hosts() -> CTE:
    """List the hosts with pending deliveries, by one index probe for each."""
    first = select(Delivery.host).where(PENDING).order_by(Delivery.host).limit(1).subquery("first")
    hosts = select(first.c.host).cte("hosts", recursive=True)
    following = (
        select(Delivery.host)
        .where(PENDING, Delivery.host > hosts.c.host)
        .order_by(Delivery.host)
        .limit(1)
        .scalar_subquery()
    )
    return hosts.union_all(select(following).where(hosts.c.host.is_not(None)))


def _claim() -> Select[Any]:
    hosts = pending_hosts()
    under_way = (
        select(func.count())
        .select_from(Delivery)
        .where(PENDING, Delivery.host == hosts.c.host, Delivery.leased_until > NOW)
        .scalar_subquery()
    )
    most = case(
        (
            func.coalesce(DeliveryHost.failures, 0) < TROUBLED_AFTER,
            bindparam("per_host", type_=Integer),
        ),
        (DeliveryHost.held_until > NOW, 0),
        else_=1,
    )
    room = (
        select(
            hosts.c.host,
            func.greatest(0, most - under_way, type_=Integer).label("n"),
            (func.coalesce(DeliveryHost.failures, 0) > 0).label("troubled"),
        )
        .outerjoin(DeliveryHost, DeliveryHost.host == hosts.c.host)
        .where(hosts.c.host.is_not(None))
        .cte("room")
    )
    first = (
        select(Delivery.id, Delivery.due_at, room.c.n, room.c.troubled)
        .where(PENDING, Delivery.host == room.c.host, Delivery.due_at <= NOW, _FREE)
        .order_by(Delivery.due_at)
        .limit(room.c.n)
        .with_for_update(skip_locked=True)
        .lateral("first")
    )
    due = (
        select(first.c.id, first.c.n, first.c.troubled)
        .select_from(room.join(first, true()))
        .order_by(first.c.due_at)
        .limit(bindparam("limit"))
        .cte("due")
    )
    taken = (
        update(Delivery)
        .where(Delivery.id == due.c.id, Client.id == Delivery.client_id)
        .values(leased_until=later("lease"))
        .returning(
            Delivery.id,
            Delivery.client_id,
            Delivery.task_id,
            Delivery.url,
            Delivery.host,
            Delivery.body,
            Delivery.dialect,
            Delivery.tries,
            Client.signing_secret,
            _PREVIOUS.label("previous_secret"),
            func.extract("epoch", NOW - Delivery.created_at).cast(Float).label("age"),
            due.c.n.label("places"),
            due.c.troubled,
        )
        .cte("taken")
    )
    return select(taken)


_CLAIM = _claim()

_CLAIMERS = 0x6B67_6465
"""The advisory lock of whoever claims: who counts what is under way must see all of it."""

_QUEUE_UP = select(
    func.set_config("synchronous_commit", "off", True),
    func.pg_advisory_xact_lock(_CLAIMERS),
)
"""A claim that PostgreSQL loses in a crash is a lease that ends early: not worth an fsync."""


async def claim_due(
    connection: AsyncConnection, *, limit: int, per_host: int, lease: float
) -> list[DueDelivery]:
    """Take up to `limit` due deliveries, with at most `per_host` under way to any one host.

    A host in trouble is called by one attempt at a time, and not before its hold is over. The
    transaction is the claim's own: claims go one after another, and nobody waits for the disk.
    """
    await connection.execute(_QUEUE_UP)  # first: the next statement sees what those before it took
    parameters = {"limit": limit, "per_host": per_host, "lease": lease}
    rows = await connection.execute(_CLAIM, parameters)
    return [DueDelivery(**row) for row in rows.mappings()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try, as it is kept."""

    delivery_id: UUID
    number: int
    seconds: float
    status: int | None
    error: str | None
    address: str | None
    answer: bytes


_SETTLED = (
    update(Delivery)
    .where(
        Delivery.id == bindparam("delivery_id", type_=Uuid),
        Delivery.state == DeliveryState.PENDING.value,
        Delivery.tries == bindparam("number", type_=Integer) - 1,
    )
    .values(
        state=bindparam("new_state", type_=Text),
        tries=bindparam("number", type_=Integer),
        due_at=later("wait"),
        leased_until=null(),
        finished_at=case((bindparam("new_state", type_=Text) != DeliveryState.PENDING.value, NOW)),
    )
    .returning(Delivery.id)
    .cte("settled")
)
_KEPT = [name for name in Attempt.__slots__ if name != "delivery_id"]
_NOTED = (
    insert(DeliveryAttempt)
    .from_select(
        ["delivery_id", *_KEPT],
        select(
            _SETTLED.c.id,
            *(bindparam(name, type_=DeliveryAttempt.__table__.c[name].type) for name in _KEPT),
        ),
    )
    .cte("noted")
)
_SETTLE = select(_SETTLED.c.id).add_cte(_NOTED)


async def settle(
    connection: AsyncConnection, attempt: Attempt, state: DeliveryState, *, wait: float | None
) -> bool:
    """Keep the attempt and what follows from it; False: another process was faster."""
    values = {name: getattr(attempt, name) for name in attempt.__slots__}
    values |= {"new_state": state, "wait": wait}
    return await connection.scalar(_SETTLE, values) is not None


_HOLD = func.least(60.0, 0.5 * func.power(2.0, func.least(DeliveryHost.failures, 10)), type_=Float)
_FORGIVE = (
    update(DeliveryHost)
    .where(DeliveryHost.host == bindparam("of_host"), DeliveryHost.failures > 0)
    .values(failures=0, held_until=None)
)
_TROUBLE = insert(DeliveryHost).values(
    host=bindparam("of_host", type_=Text), failures=1, held_until=NOW
)
_TROUBLE_MORE = _TROUBLE.on_conflict_do_update(
    index_elements=["host"],
    set_={
        "failures": DeliveryHost.failures + 1,
        "held_until": later(_HOLD),
    },
)


async def host_answered(connection: AsyncConnection, host: str) -> None:
    await connection.execute(_FORGIVE, {"of_host": host})


async def host_failed(connection: AsyncConnection, host: str) -> None:
    """Call the host more rarely: half a second after the first failure, a minute in the end."""
    await connection.execute(_TROUBLE_MORE, {"of_host": host})


_DISABLE = insert(DisabledUrl).on_conflict_do_nothing()
_END_PENDING = (
    update(Delivery)
    .where(
        Delivery.client_id == bindparam("of_client", type_=Uuid),
        Delivery.url == bindparam("of_url", type_=Text),
        PENDING,
        _FREE,
    )
    .values(state=DeliveryState.DISABLED, due_at=None, leased_until=None, finished_at=NOW)
)


async def disable(connection: AsyncConnection, client_id: UUID, url: str) -> None:
    """Call the URL no more for this client, and end what waits for it.

    Attempts that are under way settle themselves: two of them that hear the same at once would
    wait for each other's rows.
    """
    await connection.execute(_DISABLE.values(client_id=client_id, url=url))
    await connection.execute(_END_PENDING, {"of_client": client_id, "of_url": url})
