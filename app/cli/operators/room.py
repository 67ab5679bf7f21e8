"""What the doctor looks at in the PostgreSQL server: a table of checks, each a small function."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from app.cli.operators.finding import Finding
from app.config import Settings
from app.store.connections import server
from app.store.connections.engine import Database
from app.store.connections.server import Room

OLDEST = 150000
"""PostgreSQL 15."""

LISTENING = 1
"""Connections of a process beside its pool: it is told there what others did."""

LEAST_FREE = 0.1
"""Of a disk: below this part, a night's work may fill it."""

MB = 1024 * 1024


async def room_of(url: str, found: Settings) -> list[Finding]:
    """Look at the server once, and judge all that it says."""
    database = Database(url, pool_size=1)
    try:
        async with database.read() as connection:
            seen = await server.room(connection)
    finally:
        await database.dispose()
    return [check(seen, found) for check in CHECKS]


def _version(seen: Room, _: Settings) -> Finding:
    if seen.version_number >= OLDEST:
        return Finding("version", f"PostgreSQL {seen.version}")
    remedy = f"upgrade it to {OLDEST // 10000} or newer"
    return Finding("version", f"PostgreSQL {seen.version} is too old", remedy)


def _writes(seen: Room, _: Settings) -> Finding:
    if seen.is_standby:
        remedy = "let GATEWAY_DATABASE_URL lead to the primary, or name all hosts in it"
        return Finding("writes", "this is a standby: it takes none", remedy)
    if seen.is_read_only:
        remedy = (
            "look for default_transaction_read_only, on the server, the database and the role; a "
            "managed server sets it when its disk is full"
        )
        return Finding("writes", "sessions are read-only", remedy)
    return Finding("writes", "the server is a primary and takes them")


def _connections(seen: Room, found: Settings) -> Finding:
    """Compare what is left with what one process more would take, as in a rolling replacement."""
    takes = found.database_pool_size + LISTENING
    left = seen.connections_left
    said = f"{left} of {seen.connections} are left; a process takes up to {takes}"
    if left >= takes:
        return Finding("connections", f"{said}: room for {left // takes} more")
    remedy = (
        "raise max_connections, or the limit of the database or the role; or lower "
        "GATEWAY_DATABASE_POOL_SIZE: replicas x (pool + 1) have to fit, and one more to replace one"
    )
    return Finding("connections", said, remedy)


_OURS = ("session", "client")


def _jit(seen: Room, _: Settings) -> Finding:
    if seen.jit:
        remedy = "kie-gateway migrate, or: ALTER ROLE … IN DATABASE … SET jit = off"
        return Finding("JIT", "is on: it compiles our statements for longer than they run", remedy)
    if seen.jit_source in _OURS:
        return Finding("JIT", "off: each session of ours sees to it")
    return Finding("JIT", f"off, by the {seen.jit_source}")


def _disk(seen: Room, _: Settings) -> Finding:
    """Say how large it is; how much is free, PostgreSQL tells nobody."""
    said = f"the database takes {_megabytes(seen.database_size)}"
    if seen.tablespace_size is not None:
        said += f", its tablespace {_megabytes(seen.tablespace_size)}"
    free = _free(seen)
    if free is None:
        return Finding("disk", f"{said}; what is free cannot be asked: watch the server's disk")
    part, size = free
    said = f"{said}; {_megabytes(size)} are free ({part:.0%})"
    return Finding("disk", said, None if part >= LEAST_FREE else "make room on this disk")


def _free(seen: Room) -> tuple[float, int] | None:
    """Return the free part of the disk, and its bytes; None: it is not in this machine."""
    if not seen.is_local or seen.data_directory is None:
        return None
    data = Path(seen.data_directory)
    try:
        if not (data / "PG_VERSION").exists():  # a pooler's socket: the data are elsewhere
            return None
        usage = shutil.disk_usage(data)
    except OSError:
        return None
    return usage.free / usage.total, usage.free


def _megabytes(size: int) -> str:
    return f"{size / MB:,.0f} MB"


CHECKS: Sequence[Callable[[Room, Settings], Finding]] = (
    _version,
    _writes,
    _connections,
    _jit,
    _disk,
)
