"""How much room the tables take, and how old the oldest of what goes by age is."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import ARRAY, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import Base


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is kept; ages in seconds, 0 where there is nothing."""

    bytes: Mapping[str, int]
    """By table, with its indexes and large values."""
    oldest_task: float
    """Since the final state that is the longest ago."""
    oldest_raw: float
    """The age of the oldest body that is kept as it came."""


_BYTES = text(
    "SELECT name, pg_total_relation_size(to_regclass(name)) AS bytes FROM unnest(:names) AS name"
    " WHERE to_regclass(name) IS NOT NULL"
).bindparams(bindparam("names", type_=ARRAY(Text)))
_OLDEST = text(
    """
SELECT coalesce(extract(epoch FROM clock_timestamp() - (
        SELECT min(finished_at) FROM tasks WHERE finished_at IS NOT NULL
    )), 0)::float AS task,
    coalesce(extract(epoch FROM clock_timestamp() - least(
        (SELECT min(received_at) FROM callbacks WHERE raw_deleted_at IS NULL),
        (SELECT min(finished_at) FROM deliveries
            WHERE finished_at IS NOT NULL AND raw_deleted_at IS NULL)
    )), 0)::float AS raw
"""
)


async def read_room(connection: AsyncConnection) -> Room:
    """Look at the files' sizes and the low ends of three indexes."""
    names = sorted(Base.metadata.tables)
    sizes = await connection.execute(_BYTES, {"names": names})
    oldest = (await connection.execute(_OLDEST)).one()
    return Room(
        bytes={row.name: row.bytes for row in sizes},
        oldest_task=max(0.0, oldest.task),
        oldest_raw=max(0.0, oldest.raw),
    )
