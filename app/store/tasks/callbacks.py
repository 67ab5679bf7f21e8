"""What kie.ai sent us: written once, exact, and never changed."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, and_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.evidence import Signature, Verdict
from app.domain.report import Unreadable
from app.domain.statement import Statement
from app.domain.task import Source
from app.store.tables import Callback

_AS_IT_CAME = ("id", "task_id", "source", "body", "signature")

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

_INSERT = (
    insert(Callback).on_conflict_do_nothing(index_elements=[Callback.id]).returning(Callback.id)
)


async def insert_callback(
    connection: AsyncConnection, statement: Statement, verdict: Verdict
) -> bool:
    """Store a statement with what was made of it; False: it is stored already."""
    values: dict[str, Any] = {name: getattr(statement, name) for name in _AS_IT_CAME}
    values |= {"headers": dict(statement.headers), "verdict": verdict}
    if isinstance(statement.content, Unreadable):
        values["reason"] = statement.content.reason
    else:
        report = statement.content
        values |= {name: getattr(report, name) for name in _REPORTED}
        values["result_urls"] = list(report.result_urls)
        values["kie_task_id"] = report.kie_task_ids[0] if report.kie_task_ids else None
    return await connection.scalar(_INSERT, values) is not None


COMPARED_AT_MOST = 1024 * 1024
"""Bytes of a callback that is compared with the record: forged ones are many, and may be large."""

_CLAIMS = (
    select(Callback.id, Callback.body)
    .where(
        Callback.task_id == bindparam("task_id"),
        Callback.source == Source.CALLBACK.value,
        Callback.verdict.in_([Verdict.UNVERIFIED, Verdict.HELD, Verdict.STALE]),
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


ANSWERED = (
    "id",
    "task_id",
    "source",
    "received_at",
    "verdict",
    "signature",
    "reason",
    "kie_task_id",
    *_REPORTED[:4],
    "result_urls",
    *_REPORTED[4:],
    "headers",
    "body",
)
"""The columns of the answer, in its order; `body` becomes the redacted `raw`."""

BODY_READ = 68 * 1024

_READ = (
    select(
        *(Callback.__table__.c[name] for name in ANSWERED[:-1]),
        func.substr(Callback.body, 1, BODY_READ).label("body"),
    )
    .where(Callback.task_id == bindparam("task_id"))
    .order_by(Callback.id.desc())
    .limit(bindparam("limit"))
)


async def read_callbacks(
    connection: AsyncConnection, task_id: UUID, *, limit: int
) -> Sequence[RowMapping]:
    """Return the newest statements about a task, newest first; of a body `BODY_READ` bytes."""
    rows = await connection.execute(_READ, {"task_id": task_id, "limit": limit})
    return rows.mappings().all()
