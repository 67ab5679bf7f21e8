"""What operators did and have to know: written in the transaction of what it records."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, insert, select
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
