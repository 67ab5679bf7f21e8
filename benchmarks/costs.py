"""What a deep queue costs: claims and creates, told as ratios to those with hardly a queue."""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from uuid import UUID

import asyncpg
from pydantic import SecretStr

from app.config import Settings
from app.domain.admission import Limit, Limits
from app.domain.draft import Draft
from app.domain.policy import Policy
from app.services.account.admission import Admission, Claim
from app.services.account.witness import Witness
from app.services.services import Services
from app.store.connections.engine import Database
from app.wiring import both_clocks, new_id, wired
from benchmarks.figures import Figure
from benchmarks.flood import insert_queued
from benchmarks.scene import Connection, own_database, say
from benchmarks.stand import SECRET

CLIENTS = 50
QUEUED = 101_000
OF_ONE = 10_000
TURNS = 200
WARM = 20
AGES = 1e8

BACKEND = "SELECT pid FROM pg_stat_activity WHERE application_name = 'kie-gateway'"
BACK = """
UPDATE tasks SET state = 'queued', due_at = now(), submitted_at = NULL, leased_until = NULL,
                 claim = NULL
WHERE state = 'submitting'
"""
FREE = "UPDATE kie_slots SET free_at = now(), task_id = NULL"
FULL = """
INSERT INTO kie_slots (kind, slot, free_at, taken_at)
SELECT 'create', n, now() + interval '1 day', now() FROM generate_series(1, 20) n
"""
CLIENT = "INSERT INTO clients (id, name, signing_secret) VALUES ($1, $2, 'x')"
PLACE = "INSERT INTO client_queues (client_id) VALUES ($1)"


@dataclass
class Cost:
    """Milliseconds of each turn: on the clock, and of PostgreSQL's and our own CPU."""

    clock: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)

    @contextmanager
    def of(self, backend: int) -> Iterator[None]:
        server, own, clock = cpu(backend), time.process_time(), time.perf_counter()
        yield
        self.clock.append(1000 * (time.perf_counter() - clock))
        self.own.append(1000 * (time.process_time() - own))
        self.server.append(1000 * (cpu(backend) - server))


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two databases: a deep queue, and hardly any."""

    sql: Connection
    backend: int
    turn: Callable[[], Awaitable[object]]
    after: Callable[[], Awaitable[object]]
    cost: Cost = field(default_factory=Cost)

    async def go(self, *, count: bool) -> None:
        with (self.cost if count else Cost()).of(self.backend):
            await self.turn()
        await self.after()


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process; 0 where PostgreSQL runs on another machine."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0.0


def costs(server: str) -> Iterator[Figure]:
    """Claim and create in turn at a deep queue and at a shallow one."""
    for limit in (1, 20):
        say(f"cost: claims of {limit} at {QUEUED} queued over {CLIENTS} clients")
        with own_database(server) as deep, own_database(server) as shallow:
            yield from asyncio.run(_claims(deep, shallow, limit))
    say(f"cost: creates at {OF_ONE} queued of the same client")
    with own_database(server) as deep, own_database(server) as shallow:
        yield from asyncio.run(_creates(deep, shallow))


async def _claims(deep: str, shallow: str, limit: int) -> list[Figure]:
    async with (
        _claiming(deep, QUEUED // CLIENTS, limit) as one,
        _claiming(shallow, 1, limit) as other,
    ):
        await _side_by_side(one, other)
        return _told(f"cost, claim of {limit}", one.cost, other.cost)


async def _creates(deep: str, shallow: str) -> list[Figure]:
    async with _creating(deep, OF_ONE) as one, _creating(shallow, 0) as other:
        await _side_by_side(one, other)
        return _told("cost, create", one.cost, other.cost)


async def _side_by_side(one: Side, other: Side) -> None:
    for number in range(WARM + TURNS):
        for side in (one, other):
            await side.go(count=number >= WARM)


class Trusting:
    """A witness to whom no database is strange."""

    def vouches_for(self, _: object) -> bool:
        return True


@asynccontextmanager
async def _claiming(dsn: str, each: int, limit: int) -> AsyncIterator[Side]:
    sql = await asyncpg.connect(dsn)
    for number in range(CLIENTS):
        await insert_queued(sql, await _client(sql, str(number)), each)
    await sql.execute("VACUUM ANALYZE")
    database = Database(dsn, pool_size=1)
    limits = Limits(creates=Limit(calls=20, window=10.0), running=1000)
    trusting = cast(Witness, Trusting())
    admission = Admission(database, Policy(limits=limits), random.random, trusting, both_clocks)

    async def turn() -> None:
        claimed = await database.run(
            lambda connection: admission.admit(connection, Claim(new_id()), limit=limit, wait=True)
        )
        assert len(claimed) == limit

    async def after() -> None:
        await sql.execute(BACK)
        await sql.execute(FREE)

    await turn()
    await after()
    yield Side(sql=sql, backend=await sql.fetchval(_own(BACKEND)), turn=turn, after=after)
    await database.dispose()
    await sql.close()


@asynccontextmanager
async def _creating(dsn: str, queued: int) -> AsyncIterator[Side]:
    """Create where all slots are taken, so that the forecast has to look ahead."""
    sql = await asyncpg.connect(dsn)
    client = await _client(sql, "alone")
    await insert_queued(sql, client, queued)
    await sql.execute(FULL)
    await sql.execute("VACUUM ANALYZE")
    settings = Settings(
        client_queued_tasks=2 * OF_ONE,
        database_url=SecretStr(dsn),
        secret_keys=(SecretStr(SECRET),),
        database_pool_size=1,
    )
    async with wired(settings, dsn) as services:
        made: list[UUID] = []

        async def turn() -> None:
            made.append(await _create(services, client))

        async def after() -> None:
            await sql.execute("DELETE FROM tasks WHERE id = $1", made.pop())

        await turn()
        await after()
        yield Side(sql=sql, backend=await sql.fetchval(_own(BACKEND)), turn=turn, after=after)
    await sql.close()


async def _create(services: Services, client: UUID) -> UUID:
    draft = Draft(
        model="m",
        input={"prompt": "a cat"},
        metadata={},
        webhook_url=None,
        priority=5,
        submit_within=AGES,
    )
    return (await services.creates.create(client, draft, None)).id


async def _client(sql: Connection, name: str) -> UUID:
    client = new_id()
    await sql.execute(CLIENT, client, name)
    await sql.execute(PLACE, client)
    return client


def _own(statement: str) -> str:
    return f"{statement} AND datname = current_database()"


def _told(part: str, deep: Cost, shallow: Cost) -> list[Figure]:
    rows: Sequence[tuple[str, list[float], list[float]]] = (
        ("time", deep.clock, shallow.clock),
        ("CPU of PostgreSQL", deep.server, shallow.server),
        ("CPU of our own", deep.own, shallow.own),
    )
    return [
        Figure(part=part, name=name, value=_ratio(statistics.median(one), statistics.median(two)))
        for name, one, two in rows
    ]


def _ratio(deep: float, shallow: float) -> str:
    times = deep / shallow if shallow else float("nan")
    return f"{deep:.2f} ms against {shallow:.2f}: x {times:.1f}"
