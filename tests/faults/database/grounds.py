"""What a drill stands on: a PostgreSQL of its own, and what is between it and the processes."""

import asyncio
import contextlib
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from tests import pgbouncer
from tests.faults.lab.crew import Crew
from tests.pgbouncer import Pooler
from tests.postgres import Server, Servers
from tests.proxy import Cutter, between

LOCK_TIMEOUT = "1s"
FEW_CONNECTIONS = 60
DISK_BYTES = 160 * 2**20
"""A new cluster with its WAL takes about 60 MiB of it."""
FAKETIME = next(map(str, Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
NO_FAKETIME = "libfaketime is not installed (Debian's package: libfaketime)"


class NotHereError(Exception):
    """This machine lacks what an event needs; says what."""


@dataclass(kw_only=True)
class Ground:
    """Servers and lines; the crew comes when the processes do."""

    server: Server
    dsn: str = ""
    """Leads to whichever server may be written to."""
    via: str = ""
    """What the processes connect to, where that is something else."""
    settings: Mapping[str, str] = field(default_factory=dict)
    standby: Server | None = None
    cutter: Cutter | None = None
    pooler: Pooler | None = None
    clock: Path | None = None
    """Holds by how much the clock of the processes is off, as libfaketime reads it."""
    crew: Crew | None = None

    def __post_init__(self) -> None:
        self.dsn = self.dsn or self.server.dsn

    @property
    def database(self) -> str:
        """The name of the database that the processes work in."""
        return urlsplit(self.members.dsn).path.strip("/")

    @property
    def members(self) -> Crew:
        assert self.crew is not None, "the processes have not been started"
        return self.crew

    async def connect(self, **options: str) -> "asyncpg.Connection[asyncpg.Record]":
        """Connect to the database of the processes, past everything between."""
        return await asyncpg.connect(self.server.url(self.database), server_settings=options)


Stand = Callable[[Servers], AbstractAsyncContextManager[Ground]]


@contextlib.asynccontextmanager
async def plain(make: Servers) -> AsyncIterator[Ground]:
    yield Ground(server=await asyncio.to_thread(make.new))


@contextlib.asynccontextmanager
async def impatient(make: Servers) -> AsyncIterator[Ground]:
    """The role waits for no lock for longer than a second."""
    server = await asyncio.to_thread(make.new)
    await asyncio.to_thread(
        server.execute, f"ALTER ROLE postgres SET lock_timeout = '{LOCK_TIMEOUT}'"
    )
    yield Ground(server=server)


@contextlib.asynccontextmanager
async def crowded(make: Servers) -> AsyncIterator[Ground]:
    yield Ground(server=await asyncio.to_thread(make.new, max_connections=str(FEW_CONNECTIONS)))


@contextlib.asynccontextmanager
async def held_up(make: Servers) -> AsyncIterator[Ground]:
    """Something between that can hold PostgreSQL's answers."""
    server = await asyncio.to_thread(make.new)
    async with between(server.dsn) as (cutter, through):
        yield Ground(server=server, via=through, cutter=cutter)


@contextlib.asynccontextmanager
async def pooled(make: Servers) -> AsyncIterator[Ground]:
    if pgbouncer.PROGRAM is None:
        raise NotHereError(pgbouncer.NEEDED)
    server = await asyncio.to_thread(make.new)
    settings = {"GATEWAY_DATABASE_STATEMENT_CACHE": "false"}
    with pgbouncer.pooling(server.dsn) as pooler:
        yield Ground(server=server, via=pooler.dsn, pooler=pooler, settings=settings)


def followed(*, synchronous: bool) -> Stand:
    """A primary and its standby; the processes know both."""

    @contextlib.asynccontextmanager
    async def stand(make: Servers) -> AsyncIterator[Ground]:
        primary = await asyncio.to_thread(make.new)
        standby = await asyncio.to_thread(make.standby, primary)
        if synchronous:
            # Not before the copy, which would have it too, and wait for ever once promoted.
            named = "ALTER SYSTEM SET synchronous_standby_names = '*'"
            await asyncio.to_thread(primary.execute, named, "SELECT pg_reload_conf()")
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in (primary, standby))
        name = urlsplit(primary.dsn).path
        both = f"postgresql://postgres@{hosts}{name}?target_session_attrs=read-write"
        yield Ground(server=primary, standby=standby, dsn=both)

    return stand


@contextlib.asynccontextmanager
async def small_disk(make: Servers) -> AsyncIterator[Ground]:
    """The data directory is a file system of its own, and nearly full of data."""
    with _mounted(make.directory / "disk", DISK_BYTES) as disk:
        server = await asyncio.to_thread(make.new_at, disk / "data")
        try:
            yield Ground(server=server)
        finally:
            await asyncio.to_thread(server.kill)


@contextlib.contextmanager
def _mounted(place: Path, size: int) -> Iterator[Path]:
    place.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", str(place))
    done = subprocess.run(mount, capture_output=True, check=False, text=True)  # noqa: S603  # ours
    if done.returncode != 0:
        refusal = f"no file system can be mounted here: {done.stderr.strip()}"
        raise NotHereError(refusal)
    try:
        yield place
    finally:
        subprocess.run(("umount", str(place)), check=True)  # noqa: S603, S607  # ours


@contextlib.asynccontextmanager
async def own_clock(make: Servers) -> AsyncIterator[Ground]:
    """The processes' wall clock can be set; PostgreSQL's, kie.ai's and the callers' stay right."""
    if FAKETIME is None:
        raise NotHereError(NO_FAKETIME)
    server = await asyncio.to_thread(make.new)
    async with AsyncExitStack() as closing:
        place = closing.enter_context(tempfile.TemporaryDirectory(prefix="kie-gateway-clock-"))
        clock = Path(place) / "offset"
        clock.write_text("+0\n")
        settings = {
            "LD_PRELOAD": FAKETIME,
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        yield Ground(server=server, clock=clock, settings=settings)
