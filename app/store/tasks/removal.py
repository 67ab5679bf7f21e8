"""Deleting tasks, with everything below them.

Only `services.tasks.removal` does so. The tasks' rows are locked first, as by all who write about a
task: whatever is written in the transaction before is deleted too, and who comes after finds none.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery import DeliveryState
from app.domain.task import FINAL
from app.store.spend import entries

_OLD = text(
    f"""
SELECT id FROM tasks
WHERE finished_at <= (SELECT clock_timestamp()) - make_interval(secs => :after)
    AND (leased_until IS NULL OR leased_until <= clock_timestamp())
    AND NOT EXISTS (
        SELECT FROM deliveries WHERE task_id = tasks.id AND state = '{DeliveryState.PENDING.value}'
    )
ORDER BY finished_at LIMIT :limit FOR UPDATE OF tasks SKIP LOCKED
"""  # noqa: S608  # our own word
)


async def lock_old(connection: AsyncConnection, *, after: float, limit: int) -> Sequence[UUID]:
    """Lock tasks that have been final for `after` seconds, the oldest first.

    Not those whose caller is still to be notified, nor those that somebody has in hand.
    """
    found = await connection.scalars(_OLD, {"after": after, "limit": limit})
    return found.all()


_FINAL = ", ".join(f"'{state.value}'" for state in FINAL)

_OF_CLIENT = text(
    f"""
SELECT id FROM tasks WHERE client_id = :client_id AND state IN ({_FINAL})
ORDER BY created_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
"""  # noqa: S608  # our own words
).bindparams(bindparam("client_id", type_=Uuid))


async def lock_of_client(
    connection: AsyncConnection, client_id: UUID, *, limit: int
) -> Sequence[UUID]:
    """Lock tasks of the client that are in a final state."""
    found = await connection.scalars(_OF_CLIENT, {"client_id": client_id, "limit": limit})
    return found.all()


_IDS = bindparam("ids", type_=ARRAY(Uuid))

_PLACES = text(
    """
WITH last AS MATERIALIZED (
    SELECT client_id, (
        SELECT max(position) FROM feed WHERE feed.client_id = owners.client_id
    ) AS position
    FROM (SELECT DISTINCT client_id FROM tasks WHERE id = ANY (:ids)) AS owners
)
DELETE FROM feed USING task_events JOIN last USING (client_id)
WHERE task_events.task_id = ANY (:ids) AND feed.event_id = task_events.id
    AND feed.position < last.position
"""
).bindparams(_IDS)
"""A client's last place stays: a reader who has seen everything keeps its cursor. It is looked up
once for each client: once for each place was half of the time."""
_CALLBACKS = text("DELETE FROM callbacks WHERE task_id = ANY (:ids)").bindparams(_IDS)
_TASKS = text("DELETE FROM tasks WHERE id = ANY (:ids)").bindparams(_IDS)
"""Events, deliveries and attempts go with them: their foreign keys say so."""


async def delete(connection: AsyncConnection, ids: Collection[UUID]) -> None:
    """Delete tasks that the transaction has locked, and their places in the feed."""
    await connection.execute(_PLACES, {"ids": list(ids)})
    await _delete_content(connection, ids)


async def _delete_content(connection: AsyncConnection, ids: Collection[UUID]) -> None:
    await entries.let_go(connection, ids)
    await connection.execute(_CALLBACKS, {"ids": list(ids)})
    await connection.execute(_TASKS, {"ids": list(ids)})


_BURY = text(
    """
INSERT INTO erased_tasks (id, client_id, key_digest, events)
SELECT id, client_id,
    CASE WHEN :keep_keys THEN
        sha256(convert_to(client_id::text || ':' || idempotency_key, 'UTF8')) END,
    ARRAY(SELECT task_events.id FROM task_events WHERE task_id = tasks.id)
FROM tasks WHERE id = ANY (:ids)
ON CONFLICT DO NOTHING
"""
).bindparams(_IDS, bindparam("keep_keys", type_=Boolean))
"""As `tombstones.digest_of` has it."""
_HOLD = text(
    "SELECT id FROM deliveries WHERE task_id = ANY (:ids) ORDER BY id FOR UPDATE"
).bindparams(_IDS)
"""Whose attempt ends just now has noted its URL by then, or finds no delivery to note it for."""
_URLS = """
DELETE FROM {table} AS noted USING (
    SELECT client_id, webhook_url AS url FROM tasks WHERE id = ANY (:ids)
    UNION SELECT client_id, url FROM deliveries WHERE task_id = ANY (:ids)
) AS theirs
WHERE noted.client_id = theirs.client_id AND noted.url = theirs.url AND NOT EXISTS (
    SELECT FROM clients WHERE clients.id = noted.client_id AND clients.webhook_url = noted.url
)
"""
_NOTED_URLS = tuple(
    text(_URLS.format(table=table)).bindparams(_IDS) for table in ("failing_urls", "disabled_urls")
)
"""A URL of a task's own is content; what was noted about it is found out again."""


async def erase(connection: AsyncConnection, ids: Collection[UUID], *, keep_keys: bool) -> None:
    """Leave of tasks that the transaction has locked only their tombstones.

    Their places in the feed stay as long, so that cursors stay good. `keep_keys`: a create under
    one of their idempotency keys is refused as long.
    """
    await connection.execute(_BURY, {"ids": list(ids), "keep_keys": keep_keys})
    await entries.forget(connection, ids)
    await connection.execute(_HOLD, {"ids": list(ids)})
    for statement in _NOTED_URLS:
        await connection.execute(statement, {"ids": list(ids)})
    await _delete_content(connection, ids)
