"""What is owed: files to copy, and objects to remove."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import ARRAY, Integer, LargeBinary, Text, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.sources import Source

_OWE = text(
    """
WITH given AS (
    SELECT * FROM unnest(:kinds, :urls, :digests)
    WITH ORDINALITY AS given (kind, url, digest, place)
), fresh AS (
    SELECT kind, url, digest, row_number() OVER (ORDER BY place) AS place FROM given
    WHERE NOT EXISTS (
        SELECT FROM artifacts known WHERE known.task_id = :task_id AND known.digest = given.digest)
)
INSERT INTO artifacts (task_id, n, client_id, kind, source_url, digest, due_at)
SELECT tasks.id, fresh.place + coalesce(
           (SELECT max(n) FROM artifacts WHERE task_id = :task_id), 0),
       clients.id, fresh.kind, fresh.url, fresh.digest, clock_timestamp()
FROM fresh
JOIN tasks ON tasks.id = :task_id
JOIN clients ON clients.id = tasks.client_id AND clients.archives IS NOT FALSE
"""
).bindparams(
    bindparam("task_id", type_=Uuid),
    bindparam("kinds", type_=ARRAY(Text)),
    bindparam("urls", type_=ARRAY(Text)),
    bindparam("digests", type_=ARRAY(LargeBinary)),
)


async def owe(connection: AsyncConnection, task_id: UUID, sources: Sequence[Source]) -> None:
    """Have the files of a locked task copied that are not known yet, unless its client wants none.

    Of files that are known, by their digests, nothing changes.
    """
    given = {
        "task_id": task_id,
        "kinds": [source.kind.value for source in sources],
        "urls": [source.url for source in sources],
        "digests": [source.digest for source in sources],
    }
    await connection.execute(_OWE, given)


_LET_GO = text(
    """
UPDATE artifacts SET state = 'deleting', due_at = clock_timestamp(), source_url = NULL,
    reason = NULL, tries = 0
WHERE task_id = ANY (:ids) AND object IS NOT NULL AND state <> 'deleting'
"""
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))
_FORGET = text("DELETE FROM artifacts WHERE task_id = ANY (:ids) AND object IS NULL").bindparams(
    bindparam("ids", type_=ARRAY(Uuid))
)


async def let_go(connection: AsyncConnection, task_ids: Collection[UUID]) -> None:
    """Have the objects of locked tasks removed: in the transaction that deletes the tasks.

    What of them is left afterwards is a name of an object, until that object is gone. A copy that
    is under way ends first: its row is claimed again only when its lease is over.
    """
    given = {"ids": list(task_ids)}
    await connection.execute(_FORGET, given)
    await connection.execute(_LET_GO, given)


_LEFT = text(
    "SELECT count(*) FROM artifacts WHERE client_id = :client_id AND state = 'deleting'"
).bindparams(bindparam("client_id", type_=Uuid))


async def left(connection: AsyncConnection, client_id: UUID) -> int:
    """Return how many objects of the client's are still to be removed."""
    return await connection.scalar(_LEFT, {"client_id": client_id}) or 0


_LAPSE = text(
    """
UPDATE artifacts SET state = 'deleting', due_at = clock_timestamp(), tries = 0
WHERE ctid = ANY (ARRAY(
    SELECT old.place FROM clients CROSS JOIN LATERAL (
        SELECT ctid AS place FROM artifacts
        WHERE artifacts.client_id = clients.id AND state = 'stored'
            AND finished_at < (SELECT clock_timestamp()) - make_interval(days => archive_days)
        ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ) old
    WHERE archive_days IS NOT NULL LIMIT :limit
))
"""
).bindparams(bindparam("limit", type_=Integer))


async def lapse(connection: AsyncConnection, *, limit: int) -> None:
    """Have copies removed that are older than their clients have them kept."""
    await connection.execute(_LAPSE, {"limit": limit})
