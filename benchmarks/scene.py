"""A gateway of one or several processes, its clients, and a simulator that enforces limits."""

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self, TypeAlias
from uuid import UUID

import aiohttp
import asyncpg
from pydantic import SecretStr

from app.config import Settings
from app.services.clients.settings import ClientChange
from app.services.services import Services
from app.store import schema
from app.wiring import wired
from benchmarks.stand import SECRET, environment, process
from tests.gateway import OPERATOR

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Row: TypeAlias = dict[str, Any]

SIDES = 20
"""Creates under way at once while the stage is set."""
PAGE = 200
LOOK_EVERY = 0.25
SIMULATOR = ("simulator", "--port", "0", "--credits", "10000000")

_numbers = itertools.count()


def say(text: str) -> None:
    """Tell how far it has come, with the machine's load."""
    print(f"{time.strftime('%H:%M:%S')} [load {os.getloadavg()[0]:.1f}] {text}", flush=True)


@contextlib.contextmanager
def own_database(server: str) -> Iterator[str]:
    """Lend an empty, migrated database beside the one that `server` names."""
    name = f"bench_{os.getpid()}_{next(_numbers)}"
    asyncio.run(_admin(server, f"CREATE DATABASE {name}"))
    head, _, query = server.partition("?")
    own = f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
    try:
        schema.upgrade(own)
        yield own
    finally:
        asyncio.run(_admin(server, f"DROP DATABASE {name} WITH (FORCE)"))


async def _admin(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """Everything that was started: a `serve`, workers beside it, and the simulator."""

    dsn: str
    upstream: str
    url: str
    pids: Sequence[int]
    """The gateway's."""


@contextlib.contextmanager
def started(
    server: str, simulator: Sequence[str], settings: Mapping[str, str], *, workers: int = 0
) -> Iterator[Processes]:
    """Run a `serve` and so many workers, over a database of their own."""
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(own_database(server))
        upstream, _ = stack.enter_context(process([*SIMULATOR, *simulator], {}))
        given = environment(dsn, upstream, GATEWAY_WORKER_LISTEN="127.0.0.1:0", **settings)
        given = {name: value for name, value in given.items() if value}
        url, pid = stack.enter_context(process(["serve"], given))
        pids = [pid]
        pids += [stack.enter_context(process(["worker"], given))[1] for _ in range(workers)]
        yield Processes(dsn=dsn, upstream=upstream, url=url, pids=pids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A client with a key."""

    name: str
    id: UUID
    api_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Calls the processes over HTTP, and looks into their database."""

    processes: Processes
    http: aiohttp.ClientSession
    sql: Connection
    services: Services

    @classmethod
    @contextlib.asynccontextmanager
    async def over(cls, processes: Processes) -> AsyncIterator[Self]:
        async with contextlib.AsyncExitStack() as stack:
            # Shorter than the server keeps them: who sends just then would be cut off.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
            http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            sql = await asyncpg.connect(processes.dsn)
            stack.push_async_callback(sql.close)
            settings = Settings(
                database_url=SecretStr(processes.dsn), secret_keys=(SecretStr(SECRET),)
            )
            services = await stack.enter_async_context(wired(settings, processes.dsn))
            telling = asyncio.create_task(services.signals.run())
            stack.callback(telling.cancel)
            yield cls(processes=processes, http=http, sql=sql, services=services)

    async def client(self, name: str, weight: int = 1) -> Caller:
        issued = await self.services.keys.create(name)
        change = ClientChange(given=frozenset({"weight"}), weight=weight)
        await self.services.clients.change(OPERATOR, name, change)
        found = await self.sql.fetchval("SELECT id FROM clients WHERE name = $1", name)
        return Caller(name=name, id=UUID(str(found)), api_key=issued.api_key)

    async def pause(self) -> None:
        await self.services.pauses.pause(OPERATOR, client=None, note="a benchmark's")

    async def resume(self) -> None:
        await self.services.pauses.resume(OPERATOR, client=None)

    async def create(self, caller: Caller, **members: object) -> Row:
        body = {"model": "m", "input": {"prompt": "a cat"}, **members}
        async with self.http.post(
            f"{self.processes.url}/v1/tasks", json=body, headers=_key(caller)
        ) as made:
            task: Row = await made.json()
            assert made.status == HTTPStatus.CREATED, task
            return task

    async def create_many(self, callers: Sequence[Caller]) -> list[Row]:
        """Create a task for each entry, `SIDES` at a time."""
        gate = asyncio.Semaphore(SIDES)

        async def one(caller: Caller) -> Row:
            async with gate:
                return await self.create(caller)

        return list(await asyncio.gather(*(one(caller) for caller in callers)))

    async def queued(self, caller: Caller) -> list[tuple[float, Row]]:
        """Page through the client's queued tasks; returns each with the instant it was read."""
        found: list[tuple[float, Row]] = []
        cursor: str | None = None
        while True:
            given = {
                "state": "queued",
                "limit": str(PAGE),
                **({"cursor": cursor} if cursor else {}),
            }
            async with self.http.get(
                f"{self.processes.url}/v1/tasks", params=given, headers=_key(caller)
            ) as read:
                assert read.status == HTTPStatus.OK, await read.text()
                body = await read.json()
            found += [(time.time(), row) for row in body["data"]]
            cursor = body["next_cursor"]
            if cursor is None:
                return found

    async def simulator(self, path: str) -> list[Row]:
        """Show what the simulator has noted."""
        async with self.http.get(f"{self.processes.upstream}/simulator/{path}") as shown:
            rows: list[Row] = (await shown.json())["data"]
            return rows

    async def sent(self, patience: float) -> None:
        """Wait until nothing is queued or on its way any more."""
        await self.none_in(("queued", "submitting"), patience)

    async def none_in(self, states: Sequence[str], patience: float) -> None:
        count = "SELECT count(*) FROM tasks WHERE state = ANY($1)"
        async with asyncio.timeout(patience):
            while await self.sql.fetchval(count, list(states)):  # noqa: ASYNC110  # it is a query
                await asyncio.sleep(LOOK_EVERY)


def _key(caller: Caller) -> dict[str, str]:
    return {"Authorization": f"Bearer {caller.api_key}"}


def refused(rows: Sequence[Row]) -> int:
    """Count the creates or queries that were one too many."""
    return sum(
        HTTPStatus.TOO_MANY_REQUESTS in (row.get("code"), row.get("refused")) for row in rows
    )
