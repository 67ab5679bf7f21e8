"""Tasks: storing, claiming, locking and reading them. Their moves are in `moves`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    Executable,
    Label,
    RowMapping,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.draft import Draft
from app.domain.holding import turns
from app.domain.spend import Reserve
from app.domain.task import FINAL, FailSource, Source, Standing, State
from app.store.spend.entries import BOOKED, RESERVED, has_budget, reserving
from app.store.sql import NOW, interval, later, seconds_since, state_literal, verbatim
from app.store.tables import RESULT_URLS_CUT, Task
from app.store.tasks.events import MOVED, logged


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A task that is to be stored."""

    id: UUID
    client_id: UUID
    draft: Draft
    idempotency_key: str | None
    fingerprint: bytes
    submit_within: float
    """Seconds that it may wait in the queue."""
    unknown_cost: Decimal | None = None
    """What is reserved for a model that has not cost anything yet; None: nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTask:
    """The row that answers a create: this one's own, or an older one under the same key."""

    id: UUID
    fingerprint: bytes
    inserted: bool
    """Just now, by this transaction."""
    reserve: Reserve | None = None
    """What it reserved, where its client has a budget that may forbid it."""


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
            due_at=NOW,
            submit_by=later("submit_within"),
            reserved=RESERVED,
        )
        .on_conflict_do_nothing()
        .returning(*MOVED, *BOOKED)
        .cte("stored")
    )
    return select(
        stored.c.created_at.label("at"),
        stored.c.model,
        stored.c.reserved.label("credits"),
        has_budget(stored.c.client_id).label("has_budget"),
    ).add_cte(logged(stored, left=null()), reserving(stored))


_INSERT = _insert_new()

_FIND_STORED = select(Task.id, Task.fingerprint).where(
    or_(
        Task.id == bindparam("id"),
        (Task.client_id == bindparam("client_id"))
        & (Task.idempotency_key == bindparam("idempotency_key")),
    )
)


async def insert_task(connection: AsyncConnection, new: NewTask) -> StoredTask:
    """Store `new` unless its id or its client's idempotency key is there already."""
    values: dict[str, Any] = {name: getattr(new.draft, name) for name in new.draft.__slots__}
    values |= {name: getattr(new, name) for name in new.__slots__ if name != "draft"}
    found = (await connection.execute(_INSERT, values)).one_or_none()
    if found is not None:
        cost = Reserve(at=found.at, model=found.model, credits=found.credits)
        reserve = cost if found.has_budget else None
        return StoredTask(id=new.id, fingerprint=new.fingerprint, inserted=True, reserve=reserve)
    row = (await connection.execute(_FIND_STORED, values)).one()
    return StoredTask(id=row.id, fingerprint=row.fingerprint, inserted=False)


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


_LOCK = (
    select(
        Task.state,
        Task.attempt,
        Task.kie_task_id,
        Task.fail_source,
        Task.settled_by,
        Task.fail_code,
        Task.fail_message,
        Task.confirmed_at.is_not(None).label("confirmed"),
        Task.credits_consumed.is_not(None).label("priced"),
        seconds_since(Task.held_since).label("held_for"),
        seconds_since(Task.unreached_since).label("unreached_for"),
        seconds_since(Task.finished_at).label("final_for"),
        Task.model,
    )
    .where(Task.id == bindparam("id"))
    .with_for_update()
)


async def lock_task(connection: AsyncConnection, task_id: UUID) -> Standing | None:
    """Lock the row until the transaction ends and return what the rules read of it."""
    row = (await connection.execute(_LOCK, {"id": task_id})).one_or_none()
    if row is None:
        return None
    return Standing(
        state=State(row.state),
        attempt=row.attempt,
        kie_task_id=row.kie_task_id,
        fail_source=FailSource(row.fail_source) if row.fail_source else None,
        settled_by=Source(row.settled_by) if row.settled_by else None,
        confirmed=row.confirmed,
        priced=row.priced,
        may_turn=row.state == State.FAILED and turns(row.fail_code, row.fail_message),
        held_for=row.held_for,
        unreached_for=row.unreached_for,
        final_for=row.final_for,
        model=row.model,
    )


_GOOD_YET = select(
    select(Task.id)
    .where(
        Task.id == bindparam("id"),
        or_(Task.finished_at.is_(None), Task.finished_at > NOW - interval("rested")),
    )
    .exists()
)


async def has_rested(connection: AsyncConnection, task_id: UUID, *, seconds: float) -> bool:
    """Return whether the task has been final for so long, or is not kept any more."""
    parameters = {"id": task_id, "rested": seconds}
    return not await connection.scalar(_GOOD_YET, parameters)


_OF_ANOTHER = select(
    select(Task.id)
    .where(Task.kie_task_id == bindparam("new_kie_task_id"), Task.id != bindparam("task_id"))
    .exists()
)


async def is_of_another(connection: AsyncConnection, task_id: UUID, kie_task_id: str) -> bool:
    """Return whether another task has this id of kie.ai's."""
    parameters = {"task_id": task_id, "new_kie_task_id": kie_task_id}
    return bool(await connection.scalar(_OF_ANOTHER, parameters))


ANSWERED = (
    "id",
    "state",
    "model",
    "input",
    "metadata",
    "webhook_url",
    "priority",
    "kie_task_id",
    "kie_state",
    "result",
    "result_urls",
    "fail_code",
    "fail_message",
    "fail_source",
    "fail_class",
    "retryable",
    "kie_message",
    "credits_consumed",
    "duration_seconds",
    "settled_by",
    "confirmed_at",
    "hold_reason",
    "estimated_start_at",
    "estimated_finish_at",
    "created_at",
    "submitted_at",
    "finished_at",
    "updated_at",
    "version",
)
"""The columns that callers see, in the order of the answer."""

_FORECAST: Mapping[str, ColumnElement[Any]] = {
    "hold_reason": literal_column("NULL::text").label("hold_reason"),
    "estimated_start_at": literal_column("NULL::timestamptz").label("estimated_start_at"),
    "estimated_finish_at": literal_column("NULL::timestamptz").label("estimated_finish_at"),
}
"""No columns of a task's own: `forecast` fills in what a queued one waits for, and its model's pace
when a running one may end."""

DOCUMENTS = ("input", "result")
"""kie.ai's own, of any size: answers and deliveries pass them on unread."""

_DOCUMENTS = {name: verbatim(Task.__table__.c[name]).label(name) for name in DOCUMENTS}

ANSWERED_COLUMNS: tuple[ColumnElement[Any], ...] = tuple(
    {**Task.__table__.c, **_FORECAST, **_DOCUMENTS}[name] for name in ANSWERED
)

_READ = select(*ANSWERED_COLUMNS).where(
    Task.id == bindparam("id"), Task.client_id == bindparam("client_id")
)


async def read_task(
    connection: AsyncConnection, *, client_id: UUID, task_id: UUID
) -> RowMapping | None:
    """Return the task as its client sees it; None: it has no such task."""
    rows = await connection.execute(_READ, {"id": task_id, "client_id": client_id})
    return rows.mappings().one_or_none()


_READ_MANY = select(*ANSWERED_COLUMNS).where(
    Task.id == bindparam("ids", type_=ARRAY(Uuid)).any_(), Task.client_id == bindparam("client_id")
)


async def read_many(
    connection: AsyncConnection, *, client_id: UUID, ids: Collection[UUID]
) -> Sequence[RowMapping]:
    """Return those of the tasks that are the client's, as it sees them, in any order."""
    rows = await connection.execute(_READ_MANY, {"ids": list(ids), "client_id": client_id})
    return rows.mappings().all()


_READ_BY_KIE_ID = (
    select(*ANSWERED_COLUMNS)
    .where(
        Task.kie_task_id == bindparam("kie_task_id", type_=Text),
        Task.client_id == bindparam("client_id"),
    )
    .order_by(Task.created_at)
    .limit(1)
)


async def read_by_kie_id(
    connection: AsyncConnection, *, client_id: UUID, kie_task_id: str
) -> RowMapping | None:
    """Return the client's task that kie.ai knows by this id; None: it has no such task."""
    parameters = {"kie_task_id": kie_task_id, "client_id": client_id}
    return (await connection.execute(_READ_BY_KIE_ID, parameters)).mappings().one_or_none()


_URL = bindparam("url", type_=Text)
_OWNS_RESULT = select(
    select(Task.id)
    .where(
        cast(Task.result_urls, RESULT_URLS_CUT).contains(cast(array([_URL]), RESULT_URLS_CUT)),
        _URL == Task.result_urls.any_(),  # noqa: SIM300  # as SQL has it
        Task.client_id == bindparam("client_id", type_=Uuid),
        literal_column("tasks.state = 'succeeded'", Boolean),
    )
    .exists()
)


async def owns_result(connection: AsyncConnection, *, client_id: UUID, url: str) -> bool:
    """Return whether the URL is among the results of the client's tasks."""
    parameters = {"url": url, "client_id": client_id}
    return bool(await connection.scalar(_OWNS_RESULT, parameters))


LARGE = 8192
"""Bytes that a task's documents take in the table: more are only read for those who ask."""

_IS_SMALL = (
    func.pg_column_size(Task.input) + func.coalesce(func.pg_column_size(Task.result), 0) <= LARGE
)
_READ_FINISHED = select(
    *(
        case((_IS_SMALL, column.element)).label(column.name)
        if isinstance(column, Label) and column.name in DOCUMENTS
        else column
        for column in ANSWERED_COLUMNS
    )
).where(
    Task.id == bindparam("ids", type_=ARRAY(Uuid)).any_(),
    Task.state.in_([state.value for state in FINAL]),
)


async def read_finished(connection: AsyncConnection, ids: Collection[UUID]) -> Sequence[RowMapping]:
    """Return those of the tasks that are final, as their clients see them.

    Any number of requests wait for any number of them: of large ones `input` is None, and each
    request reads its own.
    """
    rows = await connection.execute(_READ_FINISHED, {"ids": list(ids)})
    return rows.mappings().all()


_READ_STATE = select(Task.state).where(
    Task.id == bindparam("id"), Task.client_id == bindparam("client_id")
)


async def read_state(
    connection: AsyncConnection, *, client_id: UUID, task_id: UUID
) -> State | None:
    """Return only the state; None: the client has no such task."""
    found = await connection.scalar(_READ_STATE, {"id": task_id, "client_id": client_id})
    return None if found is None else State(found)
