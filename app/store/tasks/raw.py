"""Emptying what is kept as it came: bodies, headers, receivers' answers. What was read stays."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_CUTOFF = "(SELECT clock_timestamp()) - make_interval(secs => :after)"

_STATEMENTS = text(
    f"""
WITH old AS (
    SELECT id FROM callbacks
    WHERE raw_deleted_at IS NULL AND received_at <= {_CUTOFF} AND EXISTS (
        SELECT FROM tasks WHERE tasks.id = callbacks.task_id AND finished_at IS NOT NULL
    )
    ORDER BY received_at LIMIT :limit FOR UPDATE OF callbacks SKIP LOCKED
)
UPDATE callbacks SET body = '', headers = '{{}}', raw_deleted_at = clock_timestamp(),
    size = coalesce(size, octet_length(body)), sha256 = coalesce(sha256, sha256(body))
FROM old WHERE callbacks.id = old.id
"""  # noqa: S608  # our own
)


async def empty_callbacks(connection: AsyncConnection, *, after: float, limit: int) -> int:
    """Empty what came `after` seconds ago or earlier; hashes, sizes and verdicts stay.

    Not of a task that is still open: its end may have to be read once more.
    """
    found = await connection.execute(_STATEMENTS, {"after": after, "limit": limit})
    return found.rowcount


_ORPHANS = text(
    f"""
DELETE FROM callbacks WHERE id IN (
    SELECT id FROM callbacks
    WHERE raw_deleted_at IS NULL AND received_at <= {_CUTOFF} AND NOT EXISTS (
        SELECT FROM tasks WHERE tasks.id = callbacks.task_id
    )
    ORDER BY received_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
"""  # noqa: S608  # as above
)


async def delete_orphans(connection: AsyncConnection, *, after: float, limit: int) -> int:
    """Delete what came that long ago about a task that is not kept: its body was all of it."""
    found = await connection.execute(_ORPHANS, {"after": after, "limit": limit})
    return found.rowcount


_DELIVERIES = text(
    f"""
WITH old AS (
    SELECT id FROM deliveries
    WHERE finished_at IS NOT NULL AND raw_deleted_at IS NULL AND finished_at <= {_CUTOFF}
    ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED
), answers AS (
    UPDATE delivery_attempts SET answer = '' FROM old
    WHERE delivery_id = old.id AND octet_length(answer) > 0
)
UPDATE deliveries SET body = '', raw_deleted_at = clock_timestamp()
FROM old WHERE deliveries.id = old.id
"""  # noqa: S608  # as above
)


async def empty_deliveries(connection: AsyncConnection, *, after: float, limit: int) -> int:
    """Empty the bodies of deliveries that ended that long ago, and what was answered to them."""
    found = await connection.execute(_DELIVERIES, {"after": after, "limit": limit})
    return found.rowcount
