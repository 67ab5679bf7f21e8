"""Tasks: locking and reading them. They are stored by `storing`, and moved by `moves`."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Label,
    RowMapping,
    Text,
    Uuid,
    bindparam,
    case,
    false,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.domain.holding import turns
from app.domain.task import FINAL, FailSource, Source, Standing, State
from app.store.connections.engine import Row
from app.store.connections.prepared import Prepared
from app.store.sql import NOW, interval, seconds_since, verbatim
from app.store.tables import Task
from app.store.tasks.artifacts import ARTIFACTS

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
        Task.traceparent,
    )
    .where(Task.id == bindparam("id"))
    .with_for_update()
)


_LOCK_IT = Prepared(lambda: _LOCK)


async def lock_task(connection: AsyncConnection, task_id: UUID) -> Standing | None:
    """Lock the row until the transaction ends and return what the rules read of it."""
    row = await _LOCK_IT.one_or_none(connection, {"id": task_id})
    return None if row is None else _standing(row)


_OTHER = aliased(Task)
_LOCK_AND_COMPARE = Prepared(
    lambda: _LOCK.add_columns(
        case(
            (
                Task.kie_task_id.is_(None),
                select(_OTHER.id)
                .where(_OTHER.kie_task_id == bindparam("brought", type_=Text), _OTHER.id != Task.id)
                .correlate(Task)
                .exists(),
            ),
            else_=false(),
        ).label("is_anothers")
    )
)


async def lock_and_compare(
    connection: AsyncConnection, task_id: UUID, kie_task_id: str
) -> tuple[Standing | None, bool]:
    """Do the same; True: the task has no id of kie.ai's yet, and another has the one given."""
    parameters = {"id": task_id, "brought": kie_task_id}
    row = await _LOCK_AND_COMPARE.one_or_none(connection, parameters)
    return (None, False) if row is None else (_standing(row), row.is_anothers)


def _standing(row: Any) -> Standing:  # noqa: ANN401  # a row of `_LOCK`
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
        traceparent=row.traceparent,
    )


_GOOD_YET = Prepared(
    lambda: select(
        select(Task.id)
        .where(
            Task.id == bindparam("id"),
            or_(Task.finished_at.is_(None), Task.finished_at > NOW - interval("rested")),
        )
        .exists()
    )
)


async def has_rested(connection: AsyncConnection, task_id: UUID, *, seconds: float) -> bool:
    """Return whether the task has been final for so long, or is not kept any more."""
    parameters = {"id": task_id, "rested": seconds}
    return not await _GOOD_YET.scalar(connection, parameters)


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
    "artifacts",
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

_MADE = {**_FORECAST, **_DOCUMENTS, "artifacts": ARTIFACTS}

ANSWERED_COLUMNS: tuple[ColumnElement[Any], ...] = tuple(
    {**Task.__table__.c, **_MADE}[name] for name in ANSWERED
)

_READ = Prepared(
    lambda: select(*ANSWERED_COLUMNS).where(
        Task.id == bindparam("id"), Task.client_id == bindparam("client_id")
    )
)


async def read_task(connection: AsyncConnection, *, client_id: UUID, task_id: UUID) -> Row | None:
    """Return the task as its client sees it; None: it has no such task."""
    return await _READ.first(connection, {"id": task_id, "client_id": client_id})


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
_HASHES = postgresql.ARRAY(BigInteger)
_NAMED = (
    select(Task.client_id, Task.result_urls)
    .where(
        func.url_hashes(Task.result_urls, type_=_HASHES).contains(
            func.url_hashes(array([_URL]), type_=_HASHES)
        ),
        literal_column("tasks.state = 'succeeded'", Boolean),
    )
    .cte("named")
    .prefix_with("MATERIALIZED")
)
"""PostgreSQL does not know how few these are: beside them, it would list all of the client's."""
_OWNS_RESULT = select(
    select(_NAMED.c.client_id)
    .where(
        _URL == _NAMED.c.result_urls.any_(),  # noqa: SIM300  # as SQL has it
        _NAMED.c.client_id == bindparam("client_id", type_=Uuid),
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
