"""What the server is like to which we are connected."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_IS_WRITABLE = text("SELECT current_setting('transaction_read_only') = 'off'")


async def is_writable(connection: AsyncConnection) -> bool:
    """Tell whether the server takes writes: no standby, and not read-only."""
    return bool(await connection.scalar(_IS_WRITABLE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the server has, and how much of it is left; sizes in bytes."""

    version: str
    version_number: int
    """150004 is 15.4."""
    is_standby: bool
    is_read_only: bool
    connections: int
    """What the server lets in, without those that it keeps for superusers."""
    connections_left: int
    """By the limits of server, database and role, whichever is the lowest."""
    jit: bool
    """In this session."""
    jit_source: str
    """Where this session has that from, in PostgreSQL's words."""
    database_size: int
    tablespace_size: int | None
    """None: our role may not know."""
    data_directory: str | None
    """On the server; None: our role may not know."""
    is_local: bool
    """We are connected by a socket in a directory, not by TCP."""


# Each limit is -1 where there is none. Who may not look into others' sessions still counts them.
_ROOM = text(
    """
    WITH at AS (
        SELECT db.oid, db.datconnlimit, db.dattablespace, role.rolconnlimit, role.oid AS role_id
        FROM pg_database db, pg_roles role
        WHERE db.datname = current_database() AND role.rolname = current_user
    ), allowed AS (
        SELECT current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true)::int, 0) AS connections
    ), used AS (
        SELECT sum(numbackends)::int AS server,
            sum(numbackends) FILTER (WHERE datid = (SELECT oid FROM at))::int AS database,
            (SELECT count(*)::int FROM pg_stat_activity
                WHERE usesysid = (SELECT role_id FROM at)) AS role
        FROM pg_stat_database
    )
    SELECT current_setting('server_version') AS version,
        current_setting('server_version_num')::int AS version_number,
        pg_is_in_recovery() AS is_standby,
        current_setting('transaction_read_only') = 'on' AS is_read_only,
        allowed.connections,
        least(
            allowed.connections - used.server,
            CASE WHEN at.datconnlimit >= 0 THEN at.datconnlimit - used.database END,
            CASE WHEN at.rolconnlimit >= 0 THEN at.rolconnlimit - used.role END
        ) AS connections_left,
        jit.setting = 'on' AS jit,
        jit.source AS jit_source,
        pg_database_size(at.oid) AS database_size,
        CASE WHEN has_tablespace_privilege(at.dattablespace, 'CREATE')
            OR pg_has_role('pg_read_all_stats', 'USAGE')
            THEN pg_tablespace_size(at.dattablespace) END AS tablespace_size,
        (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS data_directory,
        inet_server_addr() IS NULL AS is_local
    FROM at, allowed, used, pg_settings jit
    WHERE jit.name = 'jit'
    """
)


async def room(connection: AsyncConnection) -> Room:
    """Look at versions, limits and sizes."""
    row = (await connection.execute(_ROOM)).mappings().one()
    return Room(**row)
