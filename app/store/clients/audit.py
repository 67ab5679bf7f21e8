"""What operators did and have to know: written in the transaction of what it records."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, insert, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.audit import Action, Actor
from app.store.tables import AuditEntry

_NOTE = insert(AuditEntry)


async def note(
    connection: AsyncConnection,
    action: Action,
    *,
    actor: Actor = Actor.GATEWAY,
    client: str | None = None,
    task_id: UUID | None = None,
    detail: Mapping[str, str] | None = None,
) -> None:
    """Append an entry; `client` by name."""
    values = {
        "action": action,
        "actor": actor,
        "client": client,
        "task_id": task_id,
        "detail": dict(detail or {}),
    }
    await connection.execute(_NOTE, values)


_RUN = select(AuditEntry.id, AuditEntry.detail).where(
    AuditEntry.action == bindparam("run_action"),
    AuditEntry.detail["run"].astext == bindparam("run"),
)
_RUN_LOCKED = _RUN.with_for_update()
_COUNT_ON = (
    update(AuditEntry)
    .where(AuditEntry.id == bindparam("entry_id"))
    .values(detail=AuditEntry.detail.op("||")(bindparam("counted", type_=JSONB)))
)


async def begin_run(
    connection: AsyncConnection,
    action: Action,
    *,
    actor: Actor,
    client: str | None,
    run: UUID,
    detail: Mapping[str, str],
) -> None:
    """Append the entry of a run that takes several transactions, unless it is there already."""
    named = {"run_action": action, "run": str(run)}
    if (await connection.execute(_RUN, named)).first() is None:
        counted = {"run": str(run), "batches": "0", "done": "0"}
        await note(connection, action, actor=actor, client=client, detail={**detail, **counted})


async def count_run(
    connection: AsyncConnection, action: Action, *, run: UUID
) -> tuple[int, int, int]:
    """Lock the run's entry; returns its id, and the batches and the tasks that are committed."""
    found = await connection.execute(_RUN_LOCKED, {"run_action": action, "run": str(run)})
    row = found.one()
    return row.id, int(row.detail["batches"]), int(row.detail["done"])


async def count_on(connection: AsyncConnection, entry_id: int, *, batches: int, done: int) -> None:
    """Note how far a run has come, in the transaction of what it did."""
    counted = {"batches": str(batches), "done": str(done)}
    await connection.execute(_COUNT_ON, {"entry_id": entry_id, "counted": counted})


async def note_weight(
    connection: AsyncConnection, client: str, weight: int, *, actor: Actor
) -> None:
    await note(
        connection,
        Action.CLIENT_CHANGED,
        actor=actor,
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


_LIST = select(AuditEntry.__table__).order_by(AuditEntry.id.desc()).limit(bindparam("limit"))


async def newest(connection: AsyncConnection, *, limit: int) -> Sequence[RowMapping]:
    """Return the entries, newest first."""
    return (await connection.execute(_LIST, {"limit": limit})).mappings().all()
