"""Erasing a client, once its tasks are gone: only its name stays, for what it used."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import RowMapping, Text, Uuid, bindparam, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.sql import NOW
from app.store.tables import Client, ErasedTask

_NAMED = Client.name == bindparam("client_name", type_=Text)
_LOCK = (
    select(Client.id, Client.erasing_at.is_not(None).label("erasing"), Client.erased_at)
    .where(_NAMED)
    .with_for_update()
)
_BEGIN = update(Client).where(_NAMED).values(erasing_at=func.coalesce(Client.erasing_at, NOW))


async def lock(connection: AsyncConnection, name: str) -> RowMapping | None:
    """Return `id`, whether it is `erasing`, and `erased_at`, held until the commit."""
    return (await connection.execute(_LOCK, {"client_name": name})).mappings().one_or_none()


async def begin(connection: AsyncConnection, name: str) -> None:
    """Mark a client: who takes it up goes on from there."""
    await connection.execute(_BEGIN, {"client_name": name})


_MARKED = (
    select(Client.id, Client.name)
    .where(
        Client.erasing_at.is_not(None),
        Client.erased_at.is_(None)
        | text("EXISTS (SELECT FROM tasks WHERE tasks.client_id = clients.id)"),
    )
    .order_by(Client.erasing_at)
)


async def marked(connection: AsyncConnection) -> Sequence[RowMapping]:
    """Return `id` and `name` of the clients of which something is still to go."""
    return (await connection.execute(_MARKED)).mappings().all()


_IS_MARKED = select(select(Client.id).where(_NAMED, Client.erasing_at.is_not(None)).exists())


async def is_marked(connection: AsyncConnection, name: str) -> bool:
    """Return whether the client is erased, or is about to be."""
    return bool(await connection.scalar(_IS_MARKED, {"client_name": name}))


_STATES = text(
    "SELECT state, count(*) AS tasks FROM tasks WHERE client_id = :client_id GROUP BY state"
).bindparams(bindparam("client_id", type_=Uuid))


async def states(connection: AsyncConnection, client_id: UUID) -> dict[str, int]:
    """Return how many tasks it has, by state."""
    found = await connection.execute(_STATES, {"client_id": client_id})
    return {row.state: row.tasks for row in found}


_QUEUED = text(
    "SELECT id FROM tasks WHERE client_id = :client_id AND state = 'queued'"
    " ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED"
).bindparams(bindparam("client_id", type_=Uuid))


async def lock_queued(
    connection: AsyncConnection, client_id: UUID, *, limit: int
) -> Sequence[UUID]:
    """Lock tasks of it that were not sent."""
    found = await connection.scalars(_QUEUED, {"client_id": client_id, "limit": limit})
    return found.all()


_GONE = (
    "delivery_urls",
    "failing_urls",
    "disabled_urls",
    "kie_breakers",
    "queue_sizes",
    "api_keys",
)
_DELETE = tuple(
    text(f"DELETE FROM {table} WHERE client_id = :client_id").bindparams(  # noqa: S608  # ours
        bindparam("client_id", type_=Uuid)
    )
    for table in _GONE
)
_PLACES = text(
    "DELETE FROM feed WHERE client_id = :client_id AND position IN ("
    " SELECT position FROM feed WHERE client_id = :client_id ORDER BY position LIMIT :limit)"
).bindparams(bindparam("client_id", type_=Uuid))


async def delete_places(connection: AsyncConnection, client_id: UUID, *, limit: int) -> int:
    """Delete places of its feed; returns how many."""
    found = await connection.execute(_PLACES, {"client_id": client_id, "limit": limit})
    return found.rowcount


_FORGET = tuple(
    text(statement).bindparams(bindparam("client_id", type_=Uuid))
    for statement in (
        "UPDATE client_queues SET pause_note = NULL WHERE client_id = :client_id",
        (
            "UPDATE kie_account SET hold_detail = NULL"
            " WHERE hold_client_id = :client_id AND hold_detail IS NOT NULL"
        ),
        (
            "UPDATE kie_account SET succeeded_client_id = NULL, succeeded_model = NULL"
            " WHERE succeeded_client_id = :client_id"
        ),
        (
            "UPDATE kie_account SET failures = 0, failed_clients = '{}', failed_models = '{}'"
            " WHERE :client_id = ANY (failed_clients)"
        ),
    )
)
"""What others' rows say of it; the models whose creates failed are counted anew."""
_CLEAR = (
    update(Client)
    .where(Client.id == bindparam("of_client", type_=Uuid), Client.erased_at.is_(None))
    .values(
        webhook_url=None,
        webhook_hosts=None,
        webhook_events=None,
        signing_secret=b"",
        previous_secret=None,
        previous_secret_until=None,
        erased_at=NOW,
    )
    .returning(Client.name)
)
_ERASED = select(func.count()).where(ErasedTask.client_id == bindparam("client_id", type_=Uuid))


async def finish(connection: AsyncConnection, client_id: UUID) -> str | None:
    """Delete all that is left beside the name; returns it, or None where that was done before."""
    for statement in (*_DELETE, *_FORGET):
        await connection.execute(statement, {"client_id": client_id})
    return await connection.scalar(_CLEAR, {"of_client": client_id})


async def erased_tasks(connection: AsyncConnection, client_id: UUID) -> int:
    """Return how many of its tasks have a tombstone."""
    return await connection.scalar(_ERASED, {"client_id": client_id}) or 0
