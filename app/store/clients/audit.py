"""What operators did and have to know: written in the transaction of what it records."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import BigInteger, Uuid, bindparam, cast, exc, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.audit import GATEWAY, Action, Actor, Operator
from app.domain.errors import NotPermittedError
from app.store.connections.engine import after_commit
from app.store.tables import AuditEntry, BulkRun

log = structlog.get_logger(__name__)

_MAY_NOT = "42501"
"""SQLSTATE insufficient_privilege."""

_NOTE = insert(AuditEntry)


async def note(
    connection: AsyncConnection,
    action: Action,
    *,
    operator: Operator = GATEWAY,
    client: str | None = None,
    task_id: UUID | None = None,
    detail: Mapping[str, str] | None = None,
) -> None:
    """Append an entry; `client` by name.

    It is logged once it is committed, but for what a command does: its stderr is no log.
    """
    values = {
        "action": action,
        **asdict(operator),
        "client": client,
        "task_id": task_id,
        "detail": dict(detail or {}),
    }
    await connection.execute(_NOTE, values)
    if operator.actor is not Actor.COMMAND_LINE:
        after_commit(connection, lambda: log.info("audit", **values))


_BEGIN_RUN = insert(BulkRun).on_conflict_do_nothing().returning(BulkRun.id)
_RUN_LOCKED = (
    select(BulkRun.batches, BulkRun.done).where(BulkRun.id == bindparam("run")).with_for_update()
)
_COUNT_ON = (
    update(BulkRun)
    .where(BulkRun.id == bindparam("run"))
    .values(batches=bindparam("new_batches"), done=bindparam("new_done"))
)


async def begin_run(
    connection: AsyncConnection,
    action: Action,
    *,
    operator: Operator,
    client: str | None,
    run: UUID,
    detail: Mapping[str, str],
) -> None:
    """Append the entry of a run that takes several transactions, unless it is there already."""
    if await connection.scalar(_BEGIN_RUN, {"id": run}) is not None:
        about = {**detail, "run": str(run)}
        await note(connection, action, operator=operator, client=client, detail=about)


async def count_run(connection: AsyncConnection, run: UUID) -> tuple[int, int]:
    """Lock the run; returns the batches and the tasks that are committed."""
    batches, done = (await connection.execute(_RUN_LOCKED, {"run": run})).one()
    return batches, done


async def count_on(connection: AsyncConnection, run: UUID, *, batches: int, done: int) -> None:
    """Note how far a run has come, in the transaction of what it did."""
    counted = {"run": run, "new_batches": batches, "new_done": done}
    await connection.execute(_COUNT_ON, counted)


async def note_weight(
    connection: AsyncConnection, client: str, weight: int, *, operator: Operator
) -> None:
    await note(
        connection,
        Action.CLIENT_CHANGED,
        operator=operator,
        client=client,
        detail={"weight": str(weight)},
    )


async def note_paid_twice(
    connection: AsyncConnection, task_id: UUID, *, known: str | None, second: str
) -> None:
    """Keep both of kie.ai's ids: an operator may claim the money back."""
    ids = {"kie_task_id": known or "", "second_kie_task_id": second}
    await note(connection, Action.PAID_TWICE, task_id=task_id, detail=ids)


_NOTED = (
    select(AuditEntry.id)
    .where(AuditEntry.task_id == bindparam("task_id"), AuditEntry.action == Action.FOREIGN_ID.value)
    .exists()
)
_IS_NOTED = select(_NOTED)


async def note_foreign_id(connection: AsyncConnection, task_id: UUID) -> None:
    """Note once that kie.ai gave this task an id that it has for another one."""
    if not await connection.scalar(_IS_NOTED, {"task_id": task_id}):
        await note(connection, Action.FOREIGN_ID, task_id=task_id)


_PRUNE = text(
    """
WITH bound AS (SELECT clock_timestamp() - make_interval(days => :days) AS before),
pruned AS (
    DELETE FROM audit_entries USING bound WHERE at < bound.before RETURNING detail->>'run' AS run
), runs AS (
    DELETE FROM bulk_runs WHERE id IN (SELECT run::uuid FROM pruned WHERE run IS NOT NULL)
)
SELECT before, (SELECT count(*) FROM pruned) AS entries FROM bound
"""
)


async def prune(connection: AsyncConnection, *, days: int) -> tuple[datetime, int]:
    """Delete older entries, with what is counted for them; returns before when, and how many.

    Raises `NotPermittedError` for who does not own the table: see migration 0010.
    """
    try:
        row = (await connection.execute(_PRUNE, {"days": days})).one()
    except exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _MAY_NOT:
            raise
        detail = (
            "Only the role that owns the tables may delete from the audit: give its URL as "
            "GATEWAY_DATABASE_URL."
        )
        raise NotPermittedError(detail) from None
    return row.before, row.entries


_RUN = cast(AuditEntry.detail["run"].astext, Uuid)
_LIST = (
    select(*AuditEntry.__table__.c, BulkRun.batches, BulkRun.done)
    .outerjoin(BulkRun, BulkRun.id == _RUN)
    .where(AuditEntry.id < func.coalesce(bindparam("before", type_=BigInteger), 2**63 - 1))
    .order_by(AuditEntry.id.desc())
    .limit(bindparam("limit"))
)


async def newest(
    connection: AsyncConnection, *, limit: int, before: int | None = None
) -> Sequence[Mapping[str, Any]]:
    """Return the entries, newest first; those of runs say how far they have come.

    `before`: the number of the entry where the page before ended.
    """
    rows = (await connection.execute(_LIST, {"limit": limit, "before": before})).mappings()
    return [_counted(dict(row)) for row in rows]


def _counted(entry: dict[str, Any]) -> dict[str, Any]:
    counted = {name: entry.pop(name) for name in ("batches", "done")}
    entry["detail"] |= {name: str(n) for name, n in counted.items() if n is not None}
    return entry
