"""What kie.ai sent us: written once; only how often it came is counted on."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    RowMapping,
    Select,
    SQLColumnExpression,
    Text,
    Uuid,
    and_,
    bindparam,
    false,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.evidence import Signature, Verdict
from app.domain.keeping import HEAD, Raw, Tally
from app.domain.report import Report, Unreadable
from app.domain.statement import Statement
from app.domain.task import Source
from app.store.connections.prepared import Prepared
from app.store.sql import NOW, as_given, given
from app.store.tables import Callback

_AS_IT_CAME = ("id", "task_id", "source", "signature")

_REPORTED = (
    "code",
    "message",
    "kie_state",
    "result",
    "fail_code",
    "fail_message",
    "credits_consumed",
    "duration_seconds",
)
"""What is kept of a report, under the report's own names."""

_SAME = and_(
    Callback.sha256 == bindparam("digest", type_=LargeBinary),
    Callback.verdict == bindparam("found_verdict", type_=Text),
    Callback.signature == bindparam("found_signature", type_=Text),
    Callback.source == bindparam("found_source", type_=Text),
    Callback.whole,
)
_TALLY = select(
    func.count().label("rows"),
    func.coalesce(func.sum(func.octet_length(Callback.body)), 0).label("bytes"),
    func.coalesce(func.bool_or(Callback.id == bindparam("new_id", type_=Uuid)), false()).label(
        "stored"
    ),
    func.array_agg(Callback.id, type_=ARRAY(Uuid)).filter(_SAME)[1].label("same"),
).where(Callback.task_id == bindparam("of_task", type_=Uuid))


async def tally(
    connection: AsyncConnection, statement: Statement, verdict: Verdict, digest: bytes
) -> Tally:
    """Return what is kept about the statement's task already; the lock of its row holds it."""
    parameters = {
        "digest": digest,
        "found_verdict": verdict,
        "found_signature": statement.signature,
        "found_source": statement.source,
        "new_id": statement.id,
        "of_task": statement.task_id,
    }
    row = (await connection.execute(_TALLY, parameters)).mappings().one()
    return Tally(**row)


_INSERT = (
    insert(Callback).on_conflict_do_nothing(index_elements=[Callback.id]).returning(Callback.id)
)


async def insert_callback(
    connection: AsyncConnection, statement: Statement, verdict: Verdict, raw: Raw
) -> bool:
    """Store a statement with what was made of it; False: it is stored already."""
    values = _as_it_came(statement, verdict, raw) | {"whole": statement.whole}
    if isinstance(statement.content, Unreadable):
        values["reason"] = statement.content.reason
    else:
        report = statement.content
        values |= {name: getattr(report, name) for name in _REPORTED}
        values["result_urls"] = list(report.result_urls)
        values["kie_task_id"] = _named(report)
    return await connection.scalar(_INSERT, values) is not None


_WHOLE = (*_AS_IT_CAME, *Raw.__slots__, *_REPORTED, "result_urls", "kie_task_id")
_WHOLE_COLUMNS = ("headers", "verdict", *_WHOLE)
_ANY_KEPT = select(Callback.id).where(Callback.task_id == given("task_id", Uuid)).exists()
_INSERT_FIRST = Prepared(
    lambda: (
        insert(Callback)
        .from_select(
            _WHOLE_COLUMNS,
            select(
                *(given(name, Callback.__table__.c[name].type) for name in _WHOLE_COLUMNS)
            ).where(~_ANY_KEPT),
        )
        .returning(Callback.id)
    )
)


async def insert_first(
    connection: AsyncConnection, statement: Statement, verdict: Verdict, raw: Raw
) -> bool:
    """Store a statement whole if nothing is kept about its task yet, as nearly always."""
    report = statement.report
    if report is None or not statement.whole:
        return False
    values = _as_it_came(statement, verdict, raw)
    values |= {name: getattr(report, name) for name in _REPORTED}
    values |= {"result_urls": list(report.result_urls), "kie_task_id": _named(report)}
    return await _INSERT_FIRST.scalar(connection, as_given(**values)) is not None


async def insert_head(
    connection: AsyncConnection, statement: Statement, verdict: Verdict, raw: Raw
) -> None:
    """Store what is known of a statement without its content; what it reports may be as large."""
    report = statement.report
    values = _as_it_came(statement, verdict, raw) | {"whole": False, "body": raw.body[:HEAD]}
    values["reason"] = "too large for what is kept about one task"
    if report is not None:
        values |= {"code": report.code, "kie_task_id": _named(report)}
    await connection.execute(_INSERT, values)


def _as_it_came(statement: Statement, verdict: Verdict, raw: Raw) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(statement, name) for name in _AS_IT_CAME}
    values |= {name: getattr(raw, name) for name in raw.__slots__}
    return values | {"headers": dict(statement.headers), "verdict": verdict}


def _named(report: Report) -> str | None:
    return report.kie_task_ids[0] if report.kie_task_ids else None


_COUNT_REPEAT = (
    update(Callback)
    .where(Callback.id == bindparam("same", type_=Uuid))
    .values(times_seen=Callback.times_seen + 1, last_seen_at=NOW)
)
_NEWEST = (
    select(Callback.id)
    .where(Callback.task_id == bindparam("of_task", type_=Uuid))
    .order_by(Callback.id.desc())
    .limit(1)
    .scalar_subquery()
)
_COUNT_MORE = update(Callback).where(Callback.id == _NEWEST).values(more=Callback.more + 1)


async def count_repeat(connection: AsyncConnection, callback_id: UUID) -> None:
    """Note that the same came once more."""
    await connection.execute(_COUNT_REPEAT, {"same": callback_id})


async def count_more(connection: AsyncConnection, task_id: UUID) -> None:
    """Note, beside the newest that is kept, that another one came."""
    await connection.execute(_COUNT_MORE, {"of_task": task_id})


COMPARED_AT_MOST = 1024 * 1024
"""Bytes of a callback that is compared with the record: forged ones are many, and may be large."""

_CLAIMS = (
    select(Callback.id, Callback.body)
    .where(
        Callback.task_id == bindparam("task_id"),
        Callback.source == Source.CALLBACK.value,
        Callback.verdict.in_([Verdict.UNVERIFIED, Verdict.HELD, Verdict.STALE]),
        Callback.whole,
        func.length(Callback.body) <= COMPARED_AT_MOST,
    )
    .order_by(Callback.id.desc())
    .limit(bindparam("limit"))
)


async def read_claims(
    connection: AsyncConnection, task_id: UUID, *, limit: int
) -> Sequence[RowMapping]:
    """Return the callbacks that only kie.ai's record could bear out: `id`, `body`, newest first."""
    rows = await connection.execute(_CLAIMS, {"task_id": task_id, "limit": limit})
    return rows.mappings().all()


_HELD = (
    select(
        Callback.id,
        Callback.task_id,
        Callback.source,
        Callback.body,
        Callback.headers,
        Callback.signature,
    )
    .where(
        Callback.task_id == bindparam("task_id"),
        Callback.whole,
        or_(
            Callback.verdict == Verdict.HELD.value,
            and_(
                Callback.verdict == Verdict.UNVERIFIED.value,
                Callback.signature.in_([Signature.UNCHECKED.value, Signature.VALID.value]),
            ),
        ),
    )
    .order_by(Callback.id.desc())
    .limit(1)
)


async def read_held(connection: AsyncConnection, task_id: UUID) -> RowMapping | None:
    """Return the newest statement of an end that is held, as it came; None: there is none."""
    rows = await connection.execute(_HELD, {"task_id": task_id})
    return rows.mappings().one_or_none()


def alleged(task_id: SQLColumnExpression[UUID], *, limit: Any) -> Select[str | None]:  # noqa: ANN401  # a number or a parameter
    """Select kie.ai's ids that callbacks named for a task and that were not believed."""
    return (
        select(Callback.kie_task_id)
        .where(
            Callback.task_id == task_id,
            Callback.kie_task_id.is_not(None),
            Callback.verdict.in_([Verdict.UNVERIFIED, Verdict.STALE, Verdict.DISAGREED]),
        )
        .group_by(Callback.kie_task_id)
        .order_by(func.max(Callback.received_at).desc())
        .limit(limit)
    )


ANSWERED = (
    "id",
    "task_id",
    "source",
    "received_at",
    "times_seen",
    "last_seen_at",
    "more",
    "verdict",
    "signature",
    "reason",
    "kie_task_id",
    *_REPORTED[:4],
    "result_urls",
    *_REPORTED[4:],
    "headers",
    "sha256",
    "size",
    "whole",
    "raw_deleted_at",
    "body",
)
"""The columns of the answer, in its order; `body` becomes the redacted `raw`."""

BODY_READ = 68 * 1024

_SIZE = func.octet_length(Callback.body)
_WEIGHT = _SIZE + 2 * func.least(_SIZE, BODY_READ)
"""Bytes of an answer at most, about: what was parsed of the body, and its beginning, escaped."""

_EARLIER = (
    select(
        Callback.id,
        func.sum(_WEIGHT).over(order_by=Callback.id.desc()).label("weight"),
        func.row_number().over(order_by=Callback.id.desc()).label("place"),
    )
    .where(
        Callback.task_id == bindparam("task_id"),
        Callback.id < func.coalesce(bindparam("before", type_=Uuid), UUID(int=2**128 - 1)),
    )
    .order_by(Callback.id.desc())
    .limit(bindparam("limit"))
    .cte("earlier")
)
_SHOWN: dict[str, ColumnElement[Any]] = {
    "sha256": func.encode(Callback.sha256, "hex").label("sha256"),
    "size": func.coalesce(Callback.size, _SIZE).label("size"),
    "body": func.substr(Callback.body, 1, BODY_READ).label("body"),
}
_READ = (
    select(*(_SHOWN.get(name, Callback.__table__.c[name]) for name in ANSWERED))
    .join(_EARLIER, _EARLIER.c.id == Callback.id)
    .where(or_(_EARLIER.c.weight <= bindparam("weight"), _EARLIER.c.place == 1))
    .order_by(Callback.id.desc())
)


_HAS_EARLIER = select(
    select(Callback.id)
    .where(Callback.task_id == bindparam("task_id"), Callback.id < bindparam("before"))
    .exists()
)


async def has_earlier(connection: AsyncConnection, task_id: UUID, before: UUID) -> bool:
    """Return whether there are statements about the task from before this one."""
    found = await connection.scalar(_HAS_EARLIER, {"task_id": task_id, "before": before})
    return bool(found)


async def read_callbacks(
    connection: AsyncConnection,
    task_id: UUID,
    *,
    before: UUID | None = None,
    limit: int,
    weight: int,
) -> Sequence[RowMapping]:
    """Return statements about a task, newest first; of a body `BODY_READ` bytes.

    As many as have `weight` bytes in an answer together, at least one, and at most `limit`.
    """
    parameters = {"task_id": task_id, "before": before, "limit": limit, "weight": weight}
    rows = await connection.execute(_READ, parameters)
    return rows.mappings().all()
