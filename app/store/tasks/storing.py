"""Storing new tasks, and what their creator decides before anybody may send them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    Boolean,
    ColumnElement,
    Executable,
    Integer,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.admission import Call
from app.domain.draft import Draft
from app.domain.exact_json import Verbatim, render
from app.domain.spend import Reserve
from app.domain.task import State
from app.store.connections.prepared import Prepared
from app.store.slots import has_free
from app.store.spend.entries import BOOKED, RESERVED, has_budget, reserving
from app.store.sql import NOW, later, state_literal
from app.store.tables import Client, Task
from app.store.tasks.events import MOVED, logged
from app.store.tasks.rows import ANSWERED


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A task that is to be stored."""

    id: UUID
    client_id: UUID
    draft: Draft
    idempotency_key: str | None
    fingerprint: bytes
    """Of the body that the key stands for; empty without one."""
    submit_within: float
    """Seconds that it may wait in the queue."""
    unknown_cost: Decimal | None = None
    """What is reserved for a model that has not cost anything yet; None: nobody knows."""
    traceparent: str | None = None
    """The span that its steps are children of; None: there is no trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTask:
    """The row that answers a create: this one's own, or an older one under the same key."""

    id: UUID
    fingerprint: bytes
    row: "Inserted | None"
    """What is known of it as this transaction inserted it; None: an earlier one did."""
    reserve: Reserve | None = None
    """What it reserved, where its client has a budget that may forbid it."""

    @property
    def inserted(self) -> bool:
        return self.row is not None

    @property
    def goes_first(self) -> bool:
        return self.row is not None and self.row.goes_first


class Inserted(NamedTuple):
    """What PostgreSQL knows of a task that was just stored."""

    created_at: datetime
    updated_at: datetime
    webhook_hosts: Sequence[str] | None
    """The only hosts that its client may be notified at; None: any."""
    reserved: Decimal | None
    has_budget: bool
    goes_first: bool
    """Nothing else of its client is queued, its input is not too much, and a slot is free."""


_INPUT = bindparam("input", type_=Task.__table__.c.input.type)


def _insert_new() -> Executable:
    stored = (
        upsert(Task)
        .values(
            id=bindparam("id"),
            client_id=bindparam("client_id"),
            state=State.QUEUED,
            model=bindparam("model"),
            input=_INPUT,
            input_bytes=func.octet_length(cast(_INPUT, Text)),
            metadata_=bindparam("metadata"),
            webhook_url=bindparam("webhook_url"),
            priority=bindparam("priority"),
            idempotency_key=bindparam("idempotency_key"),
            fingerprint=bindparam("fingerprint"),
            dialect=bindparam("dialect"),
            due_at=case((bindparam("held", type_=Boolean), null()), else_=NOW),
            submit_by=later("submit_within"),
            reserved=RESERVED,
            traceparent=bindparam("traceparent"),
        )
        .on_conflict_do_nothing()
        .returning(*MOVED, *BOOKED, Task.updated_at, Task.input_bytes)
        .cte("stored")
    )
    found = (
        *(stored.c.created_at, stored.c.updated_at, Client.webhook_hosts, stored.c.reserved),
        has_budget(stored.c.client_id).label("has_budget"),
        _goes_first(stored).label("goes_first"),
    )
    return (
        select(*found)
        .join_from(stored, Client, Client.id == stored.c.client_id)
        .add_cte(logged(stored, left=null()), reserving(stored))
    )


def _goes_first(stored: CTE) -> ColumnElement[bool]:
    """Tell whether nothing needs to be counted before it may be sent.

    The statement sees the queue as it was without the task.
    """
    first = (
        select(Task.id)
        .where(Task.client_id == stored.c.client_id, Task.state == state_literal(State.QUEUED))
        .order_by(Task.priority.desc(), Task.id)  # else PostgreSQL might read the table
        .limit(1)
    )
    allowed = func.coalesce(Client.queued_bytes, bindparam("queued_bytes", type_=BigInteger))
    return and_(
        first.correlate(stored).scalar_subquery().is_(None),
        stored.c.input_bytes <= allowed,
        has_free(Call.CREATE, bindparam("creates", type_=Integer)),
    )


_INSERT = Prepared(_insert_new)

_FIND_STORED = select(Task.id, Task.fingerprint).where(
    or_(
        Task.id == bindparam("id"),
        (Task.client_id == bindparam("client_id"))
        & (Task.idempotency_key == bindparam("idempotency_key")),
    )
)


async def insert_task(
    connection: AsyncConnection,
    new: NewTask,
    *,
    held: bool = False,
    creates: int = 0,
    queued_bytes: int = 0,
) -> StoredTask:
    """Store `new` unless its id or its client's idempotency key is there already.

    `held`: as `hold_back` leaves it. `creates`: the account's limit, and `queued_bytes` what a
    client may have queued unless it has a bound of its own, to tell whether it goes first.
    """
    values: dict[str, Any] = {name: getattr(new.draft, name) for name in new.draft.__slots__}
    values |= {name: getattr(new, name) for name in new.__slots__ if name != "draft"}
    values |= {"held": held, "creates": creates, "queued_bytes": queued_bytes}
    inserted = await _INSERT.one_or_none(connection, values)
    if inserted is not None:
        found = Inserted(*inserted)
        cost = Reserve(at=found.created_at, model=new.draft.model, credits=found.reserved)
        reserve = cost if found.has_budget else None
        return StoredTask(id=new.id, fingerprint=new.fingerprint, row=found, reserve=reserve)
    row = (await connection.execute(_FIND_STORED, values)).one()
    return StoredTask(id=row.id, fingerprint=row.fingerprint, row=None)


_HOLD_BACK = (
    update(Task)
    .where(Task.id == bindparam("held"), Task.state == state_literal(State.QUEUED))
    .values(due_at=None)
)


async def hold_back(connection: AsyncConnection, task_id: UUID) -> None:
    """Keep everybody from sending a queued task until it is released.

    Its client is not told of it, and what nobody releases in time is withdrawn (see `sweep`).
    """
    await connection.execute(_HOLD_BACK, {"held": task_id})


_RELEASE = (
    update(Task)
    .where(
        Task.id == bindparam("held"),
        Task.state == state_literal(State.QUEUED),
        Task.due_at.is_(None),
    )
    .values(due_at=NOW)
    .returning(Task.id)
)
_IS_WITHDRAWN = select(Task.state == state_literal(State.CANCELED)).where(
    Task.id == bindparam("held")
)


async def release(connection: AsyncConnection, task_id: UUID) -> bool:
    """Let any process send the task in its turn; False: it was withdrawn meanwhile."""
    held = {"held": task_id}
    if await connection.scalar(_RELEASE, held) is not None:
        return True
    return not await connection.scalar(_IS_WITHDRAWN, held)


_RELEASE_ALL = Prepared(
    lambda: (
        update(Task)
        .where(
            Task.id == func.any(bindparam("ids", type_=ARRAY(Uuid))),
            Task.state == state_literal(State.QUEUED),
            Task.due_at.is_(None),
        )
        .values(due_at=NOW)
        .returning(Task.id)
    )
)


async def release_all(connection: AsyncConnection, ids: Sequence[UUID]) -> set[UUID]:
    """Let any process send these tasks in their turn; returns those that were held till now."""
    return {row.id for row in await _RELEASE_ALL.all(connection, {"ids": ids})}


def as_stored(new: NewTask, inserted: Inserted) -> dict[str, Any]:
    """Return the columns of a task that was just inserted, as its client would read them."""
    draft = new.draft
    given = ("model", "metadata", "webhook_url", "priority")
    return {
        **dict.fromkeys(ANSWERED),
        **{name: getattr(draft, name) for name in given},
        "id": new.id,
        "state": State.QUEUED.value,
        "input": Verbatim(render(draft.input)),
        "result_urls": [],
        "artifacts": Verbatim("[]"),
        "created_at": inserted.created_at,
        "updated_at": inserted.updated_at,
        "version": 1,
    }
