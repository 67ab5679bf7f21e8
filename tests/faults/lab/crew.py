"""The replicas: real processes, each behind lines of its own, and the one address before them."""

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import psutil

from tests.faults.lab.lines import Carrier, Join, Streams, Talk, line, opened
from tests.faults.lab.points import Watch
from tests.faults.lab.postgres import Session
from tests.processes.stage import Running, Stage


@dataclass(eq=False)
class Replica:
    """One `kie-gateway serve`."""

    closing: AsyncExitStack = field(default_factory=AsyncExitStack)
    running: Running | None = None
    address: tuple[str, int] = ("", 0)
    alive: bool = False

    @property
    def pid(self) -> int:
        return self.running.pid if self.running else 0

    def kill(self) -> None:
        self.alive = False
        os.kill(self.pid, signal.SIGKILL)

    async def gone(self) -> None:
        """Wait until the process has ended, and close its lines."""
        assert self.running is not None
        await self.running.ended()
        await self.closing.aclose()


@dataclass
class Crew:
    """Keeps so many replicas running over one database."""

    stage: Stage
    watch: Watch
    dsn: str
    """It may name several hosts: each has a line of its own."""
    tables: frozenset[str]
    simulator: tuple[str, int]
    receiver: tuple[str, int]
    """Where callers are told."""
    webhook_url: str = ""
    """The address before it."""
    public_url: str = ""
    """The address before them all, which stays while they die."""
    replicas: list[Replica] = field(default_factory=list)
    some_alive: asyncio.Event = field(default_factory=asyncio.Event)
    to_postgres: asyncio.Event = field(default_factory=opened)
    """The gate in the lines to PostgreSQL; cleared, they stand still."""
    to_kie: asyncio.Event = field(default_factory=opened)
    _turn: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def living(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.alive]

    async def fill(self, count: int) -> None:
        """Bury the dead and start what is missing; stop what is too much."""
        for replica in [replica for replica in self.replicas if not replica.alive]:
            await self.bury(replica)
        while len(self.replicas) > count:
            await self._stop(self.replicas[-1])
        missing = count - len(self.replicas)
        await asyncio.gather(*(self._start() for _ in range(missing)))

    async def bury(self, replica: Replica) -> None:
        """Wait for the end of one that was killed."""
        if not self.living:
            self.some_alive.clear()
        await replica.gone()
        self.replicas.remove(replica)

    async def stop(self) -> None:
        for replica in list(self.replicas):
            await self._stop(replica)

    async def _stop(self, replica: Replica) -> None:
        if replica.alive:
            replica.kill()
        await self.bury(replica)

    async def _start(self) -> None:
        replica = Replica()
        try:
            await self._started(replica)
        except BaseException:
            await replica.closing.aclose()
            raise
        replica.alive = True
        self.replicas.append(replica)
        self.some_alive.set()

    async def _started(self, replica: Replica) -> None:
        lend = replica.closing.enter_async_context
        databases = [
            await lend(line(self._to_database(replica, each), self.to_postgres))
            for each in servers_of(self.dsn)
        ]
        kie = await lend(line(self._to_simulator(replica), self.to_kie))
        account = urlsplit(self.dsn)
        user = account.netloc.rpartition("@")[0]
        hosts = ",".join(f"127.0.0.1:{port}" for port in databases)
        replica.running = await lend(
            self.stage.running(
                "serve",
                GATEWAY_DATABASE_URL=f"postgresql://{user}@{hosts}{account.path}?sslmode=disable",
                GATEWAY_KIE_BASE_URL=f"http://127.0.0.1:{kie}",
                GATEWAY_PUBLIC_URL=self.public_url,
            )
        )
        url = urlsplit(await replica.running.ready())
        replica.address = (url.hostname or "", url.port or 0)

    def _to_database(self, replica: Replica, dsn: str) -> Join:
        async def join(_: Streams) -> tuple[Streams, Carrier]:
            far = await connected_to_postgres(dsn)
            return far, Session(self.watch, replica, self.tables)

        return join

    def _to_simulator(self, replica: Replica) -> Join:
        async def join(_: Streams) -> tuple[Streams, Carrier]:
            far = await asyncio.open_connection(*self.simulator)
            return far, Talk(self.watch, replica)

        return join

    async def to_receiver(self, near: Streams) -> tuple[Streams, Carrier]:
        """Connect whoever tells a caller; only the port that it comes from says who that is."""
        port = near[1].get_extra_info("peername")[1]
        replica = next((each for each in self.living if _has_port(each.pid, port)), None)
        if replica is None:
            raise ConnectionRefusedError
        return await asyncio.open_connection(*self.receiver), Talk(self.watch, replica)

    async def to_replica(self, _: Streams) -> tuple[Streams, Carrier]:
        """Connect to one that lives, each in turn."""
        living = self.living
        if not living:
            raise ConnectionRefusedError
        replica = living[next(self._turn) % len(living)]
        return await asyncio.open_connection(*replica.address), Talk(self.watch, replica)


def _has_port(pid: int, port: int) -> bool:
    with contextlib.suppress(psutil.Error):
        connections = psutil.Process(pid).net_connections("tcp")
        return any(each.laddr and each.laddr.port == port for each in connections)
    return False


def servers_of(dsn: str) -> list[str]:
    """Return a DSN for each of the hosts that one names."""
    account, _, hosts = urlsplit(dsn).netloc.rpartition("@")
    return [
        dsn.replace(f"@{hosts}", f"@{host}", 1) if account else dsn for host in hosts.split(",")
    ]


async def connected_to_postgres(dsn: str) -> Streams:
    parts, query = urlsplit(dsn), parse_qs(urlsplit(dsn).query)
    if parts.hostname:
        return await asyncio.open_connection(parts.hostname, parts.port or 5432)
    port = query.get("port", ["5432"])[0]
    return await asyncio.open_unix_connection(f"{query['host'][0]}/.s.PGSQL.{port}")


@asynccontextmanager
async def mustered(crew: Crew) -> AsyncIterator[Crew]:
    """Open the addresses before all replicas and callers; whatever runs at the end is killed."""
    async with line(crew.to_replica) as port, line(crew.to_receiver) as hooks:
        crew.public_url = f"http://127.0.0.1:{port}"
        crew.webhook_url = f"http://127.0.0.1:{hooks}/hook"
        try:
            yield crew
        finally:
            await crew.stop()
