"""PostgreSQL for the comparison: its statements are counted, and its CPU is read from outside.

Debian's PostgreSQL 15 where it is installed, with `pg_stat_statements`; else the embedded one,
whose wheel has no such extension.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from app import embedded
from benchmarks.stand import postmaster
from tests.leash import LEASH

DEBIAN = Path("/usr/lib/postgresql/15/bin")
OPTIONS = (
    *("-c", "shared_preload_libraries=pg_stat_statements", "-c", "pg_stat_statements.max=10000"),
    *("-c", "listen_addresses=", "-c", "max_connections=200"),
)
OWNER = "postgres"
"""Who runs the server where we are root."""

COUNTED = """
SELECT coalesce(sum(calls), 0) AS statements, coalesce(sum(total_exec_time), 0) AS ms
FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%'
AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
WRITTEN = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
"""Each transaction that writes takes the next number."""
MOST = """
SELECT calls, round(total_exec_time::numeric, 1) AS ms, left(query, 160) AS query
FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%'
AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY calls DESC LIMIT 60
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server; `dsn` names its database for maintenance."""

    dsn: str
    pid: int
    counts: bool
    """Whether it counts statements."""
    version: str

    def cpu(self) -> float:
        """Return the CPU seconds of all its processes so far, ended ones too."""
        own = psutil.Process(self.pid)
        times = own.cpu_times()
        spent: float = times.user + times.system + times.children_user + times.children_system
        for child in own.children():
            with contextlib.suppress(psutil.Error):
                used = child.cpu_times()
                spent += used.user + used.system
        return spent


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Run one for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="kie-gateway-bench-") as folder:
        Path(folder).chmod(0o755)
        LEASH.hold_directory(Path(folder))
        if (DEBIAN / "postgres").exists():
            with _debian(Path(folder)) as (dsn, pid):
                yield Server(dsn=dsn, pid=pid, counts=True, version="15 (Debian)")
        else:
            with embedded.running(Path(folder)) as dsn:
                pid = postmaster(Path(folder))
                LEASH.hold(pid, signal.SIGQUIT)
                yield Server(dsn=dsn, pid=pid, counts=False, version="embedded")


@contextlib.contextmanager
def _debian(folder: Path) -> Iterator[tuple[str, int]]:
    data = folder / "data"
    data.mkdir()
    user = OWNER if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(data, user)
    _run(user, "initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "--no-locale", "-E=UTF8")
    log = (folder / "log").open("w")
    one = subprocess.Popen(  # noqa: S603  # Debian's own program
        [DEBIAN / "postgres", "-D", str(data), "-k", str(data), *OPTIONS],
        **_as(user),
        stdout=log,
        stderr=log,
    )
    LEASH.hold(one.pid, signal.SIGQUIT)
    try:
        _await(user, data)
        yield f"postgresql://postgres@/postgres?host={data}", one.pid
    finally:
        one.send_signal(signal.SIGINT)  # also with sessions that nobody ended
        one.wait()


def _await(user: str | None, data: Path) -> None:
    deadline = time.monotonic() + 60
    asked = [str(DEBIAN / "pg_isready"), "-q", "-h", str(data)]
    while subprocess.run(asked, check=False, **_as(user)).returncode:  # noqa: S603
        if time.monotonic() > deadline:
            message = "PostgreSQL did not start in 60 s"
            raise SystemExit(message)
        time.sleep(0.1)


def _run(user: str | None, program: str, *arguments: str) -> None:
    subprocess.run(  # noqa: S603
        [DEBIAN / program, *arguments], check=True, capture_output=True, **_as(user)
    )


def _as(user: str | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": [], "cwd": "/"}


@dataclass(frozen=True, slots=True)
class Counts:
    """What a database has done."""

    statements: int
    transactions: int
    """That wrote."""
    ms: float
    """Execution time of the statements."""

    def since(self, before: "Counts") -> "Counts":
        return Counts(
            self.statements - before.statements,
            self.transactions - before.transactions,
            self.ms - before.ms,
        )


async def counts(connection: "asyncpg.Connection[asyncpg.Record]", server: Server) -> Counts:
    written = await connection.fetchval(WRITTEN)
    if not server.counts:
        return Counts(0, written, 0.0)
    found = await connection.fetchrow(COUNTED)
    assert found is not None
    return Counts(int(found["statements"]), written, float(found["ms"]))
