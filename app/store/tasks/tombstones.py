"""What stays of erased tasks: who asks for one is told, and nothing is paid or kept again."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Text, Uuid, bindparam, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import ErasedTask


def digest_of(client_id: ColumnElement[UUID], key: ColumnElement[str]) -> ColumnElement[bytes]:
    """Build what is kept of an idempotency key; NULL for none."""
    said = cast(client_id, Text) + ":" + key
    return func.sha256(func.convert_to(said, "UTF8"))


_IS_ERASED = select(select(ErasedTask.id).where(ErasedTask.id == bindparam("id")).exists())


async def is_erased(connection: AsyncConnection, task_id: UUID) -> bool:
    """Return whether the task was erased: nothing is kept about it any more."""
    return bool(await connection.scalar(_IS_ERASED, {"id": task_id}))


_ERASED_OF = select(
    select(ErasedTask.id)
    .where(
        ErasedTask.id == bindparam("ids", type_=ARRAY(Uuid)).any_(),
        ErasedTask.client_id == bindparam("client_id", type_=Uuid),
    )
    .exists()
)


async def any_erased(connection: AsyncConnection, client_id: UUID, ids: Collection[UUID]) -> bool:
    """Return whether one of these was the client's own, and is erased."""
    parameters = {"ids": list(ids), "client_id": client_id}
    return bool(await connection.scalar(_ERASED_OF, parameters))


_KEY_ERASED = select(
    select(ErasedTask.id)
    .where(
        ErasedTask.key_digest
        == digest_of(
            bindparam("client_id", type_=Uuid),
            bindparam("key", type_=Text),
        )
    )
    .exists()
)


async def key_is_erased(connection: AsyncConnection, client_id: UUID, key: str) -> bool:
    """Return whether the key was that of a task that is erased.

    Who has just stored a task under the key sees it: the erasure that made room is committed.
    """
    parameters = {"client_id": client_id, "key": key}
    return bool(await connection.scalar(_KEY_ERASED, parameters))


_FORGET = text(
    """
WITH old AS (
    SELECT id, events FROM erased_tasks
    WHERE erased_at <= (SELECT clock_timestamp()) - make_interval(secs => :after)
    ORDER BY erased_at LIMIT :limit FOR UPDATE SKIP LOCKED
), places AS (
    DELETE FROM feed WHERE event_id IN (SELECT unnest(events) FROM old) AND position < (
        SELECT max(position) FROM feed AS own WHERE own.client_id = feed.client_id
    )
)
DELETE FROM erased_tasks WHERE id IN (SELECT id FROM old)
"""
)


async def forget(connection: AsyncConnection, *, after: float, limit: int) -> int:
    """Delete tombstones that are `after` seconds old, with their places in the feed."""
    found = await connection.execute(_FORGET, {"after": after, "limit": limit})
    return found.rowcount
