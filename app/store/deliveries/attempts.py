"""Attempts of deliveries: claiming those that are due, and settling them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    Integer,
    Select,
    Text,
    Uuid,
    bindparam,
    case,
    func,
    null,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery import DeliveryState
from app.store.connections.prepared import Prepared
from app.store.deliveries.lanes import LANE, PENDING
from app.store.deliveries.turns import FREE, choose
from app.store.sql import NOW, later, seconds_since
from app.store.tables import Client, Delivery, DeliveryAttempt, DeliveryUrl, FailingUrl, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDelivery:
    """A delivery under a lease: this process may try it once."""

    id: UUID
    client_id: UUID
    task_id: UUID | None
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
    noted: bool
    """Its client's URL has failed of late, or was slow."""
    failing: bool
    """No attempt at its URL has succeeded since one failed."""
    traceparent: str | None
    """Its task's."""


_FAILING = (
    select(FailingUrl.url)
    .where(FailingUrl.client_id == Delivery.client_id, FailingUrl.url == Delivery.url)
    .exists()
)
_NOTED = (
    select(DeliveryUrl.lane)
    .where(DeliveryUrl.client_id == Delivery.client_id, DeliveryUrl.lane == LANE)
    .exists()
)
_TRACEPARENT = select(Task.traceparent).where(Task.id == Delivery.task_id).scalar_subquery()
_PREVIOUS = case((Client.previous_secret_until > NOW, Client.previous_secret))


def _claim() -> Select[Any]:
    """Build the claim: always a row, of which `id` is NULL where nothing was taken."""
    waiting, chosen = choose()
    locked = (
        select(Delivery.id)
        .where(Delivery.id == chosen.c.id, PENDING, Delivery.due_at <= NOW, FREE)
        .with_for_update(of=Delivery, skip_locked=True)
        .cte("locked")
    )
    taken = (
        update(Delivery)
        .where(Delivery.id == locked.c.id, Client.id == Delivery.client_id)
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
            _NOTED.label("noted"),
            _FAILING.label("failing"),
            _TRACEPARENT.label("traceparent"),
        )
        .cte("taken")
    )
    count = select(func.count().label("waiting")).select_from(waiting).subquery("counted")
    return select(count.c.waiting, taken).select_from(count.outerjoin(taken, true()))


_CLAIM = Prepared(_claim)

_CLAIMERS = 0x6B67_6465
"""The advisory lock of whoever claims: who counts what is under way must see all of it."""

_QUEUE_UP = Prepared(
    lambda: select(
        func.set_config("synchronous_commit", "off", True),
        func.pg_advisory_xact_lock(_CLAIMERS),
    )
)
"""A claim that PostgreSQL loses in a crash is a lease that ends early: not worth an fsync."""


class Claimed(NamedTuple):
    """What a process may try, and whether more is due that has to wait for a place."""

    due: list[DueDelivery]
    more: bool


async def claim_due(
    connection: AsyncConnection, *, room: int, per_host: int, lease: float, start: int = 0
) -> Claimed:
    """Take due deliveries for up to `room` places, as `turns` has it.

    Of a host's `per_host` places one client has four fifths at most. Of clients with very many
    URLs those behind `start` are looked at, any hash. The transaction is the claim's own: claims
    go one after another, and nobody waits for the disk.
    """
    await _QUEUE_UP.all(connection)  # first: the next statement sees what those before it took
    of_one = per_host - per_host // 5
    given = {"room": room, "per_host": per_host, "of_one": of_one, "lease": lease, "start": start}
    rows = await _CLAIM.mappings(connection, given)
    waiting = rows[0]["waiting"]
    due = [
        DueDelivery(**{name: row[name] for name in DueDelivery.__slots__})
        for row in rows
        if row["id"] is not None
    ]
    return Claimed(due, waiting > len(due))


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


_KEPT = [name for name in Attempt.__slots__ if name != "delivery_id"]


def _settle() -> Select[Any]:
    settled = (
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
            finished_at=case(
                (bindparam("new_state", type_=Text) != DeliveryState.PENDING.value, NOW)
            ),
        )
        .returning(Delivery.id)
        .cte("settled")
    )
    keep = (
        insert(DeliveryAttempt)
        .from_select(
            ["delivery_id", *_KEPT],
            select(
                settled.c.id,
                *(bindparam(name, type_=DeliveryAttempt.__table__.c[name].type) for name in _KEPT),
            ),
        )
        .cte("kept")
    )
    return select(settled.c.id).add_cte(keep)


_SETTLE = Prepared(_settle)


async def settle(
    connection: AsyncConnection, attempt: Attempt, state: DeliveryState, *, wait: float | None
) -> bool:
    """Keep the attempt and what follows from it; False: another process was faster."""
    values = {name: getattr(attempt, name) for name in attempt.__slots__}
    values |= {"new_state": state, "wait": wait}
    return await _SETTLE.scalar(connection, values) is not None
