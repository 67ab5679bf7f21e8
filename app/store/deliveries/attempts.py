"""Attempts of deliveries: claiming those that are due, settling them, holding bad hosts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    Float,
    Integer,
    Select,
    Text,
    Uuid,
    bindparam,
    case,
    func,
    literal_column,
    null,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery import TROUBLED_AFTER, DeliveryState
from app.store.sql import NOW, later, lease_is_free, seconds_since
from app.store.tables import Client, Delivery, DeliveryAttempt, DeliveryHost, FailingUrl


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
    webhook_hosts: Sequence[str] | None
    """The only hosts that its client may be notified at; None: any."""
    signing_secret: bytes
    previous_secret: bytes | None
    """Signs too, while a rotation's grace lasts."""
    claimed_at: datetime
    """By PostgreSQL's clock: receivers refuse what is signed with one that is minutes off."""
    age: float
    """Seconds since it was put into the outbox."""
    places: int
    """How many deliveries to its host could be claimed together with this one."""
    troubled: bool
    """Its host has failed since it last answered."""
    failing: bool
    """No attempt at its URL has succeeded since one failed."""


PENDING: ColumnElement[bool] = literal_column("deliveries.state = 'pending'", Boolean)
_FREE = lease_is_free(Delivery)
_FAILING = (
    select(FailingUrl.url)
    .where(FailingUrl.client_id == Delivery.client_id, FailingUrl.url == Delivery.url)
    .exists()
)
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


def _places(hosts: CTE) -> CTE:
    """Count for each host how many deliveries to it may be claimed now, as `n`."""
    under_way = (
        select(func.count())
        .select_from(Delivery)
        .where(PENDING, Delivery.host == hosts.c.host, Delivery.leased_until > NOW)
        .scalar_subquery()
    )
    failures = func.coalesce(DeliveryHost.failures, 0)
    most = case(
        (failures < TROUBLED_AFTER, bindparam("per_host", type_=Integer)),
        (DeliveryHost.held_until > NOW, 0),
        else_=1,
    )
    return (
        select(
            hosts.c.host,
            func.greatest(0, most - under_way, type_=Integer).label("n"),
            (failures > 0).label("troubled"),
        )
        .outerjoin(DeliveryHost, DeliveryHost.host == hosts.c.host)
        .where(hosts.c.host.is_not(None))
        .cte("places")
    )


def _due(places: CTE) -> CTE:
    first = (
        select(Delivery.id, Delivery.due_at, places.c.n, places.c.troubled)
        .where(PENDING, Delivery.host == places.c.host, Delivery.due_at <= NOW, _FREE)
        .order_by(Delivery.due_at)
        .limit(places.c.n)
        .with_for_update(skip_locked=True)
        .lateral("first")
    )
    return (
        select(first.c.id, first.c.n, first.c.troubled)
        .select_from(places.join(first, true()))
        .order_by(first.c.due_at)
        .limit(bindparam("limit"))
        .cte("due")
    )


def _claim() -> Select[Any]:
    due = _due(_places(pending_hosts()))
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
            Client.webhook_hosts,
            Client.signing_secret,
            _PREVIOUS.label("previous_secret"),
            NOW.label("claimed_at"),
            seconds_since(Delivery.created_at).label("age"),
            due.c.n.label("places"),
            due.c.troubled,
            _FAILING.label("failing"),
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
    answer_bytes: int | None = None
    answer_type: str | None = None


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
