"""The events as data. Each begins, lasts for its seconds, and ends by itself or by an operator's
hand on the database: nobody touches the gateway."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.faults.database import grounds
from tests.faults.database.grounds import FEW_CONNECTIONS, Ground, Stand
from tests.services.tasks.test_lost_commits import COMMIT
from tests.stage import eventually

LEASE = 30.0
"""Seconds; who stands still for longer may find its work taken over."""
TAKEN_WITHIN = 30.0
"""Seconds in which foreign sessions have taken all connections."""
OFF = 600
"""Seconds that a clock is ahead."""
TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = $1 AND pid <> pg_backend_pid()
"""

Trouble = Callable[[Ground], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`trouble` begins it and, on the way out, ends it; `seconds` are between."""

    name: str
    title: str
    seconds: float
    trouble: Trouble
    stand: Stand = grounds.plain
    loses: bool = False
    """PostgreSQL loses committed writes: spending has to be held until a person resumes."""

    @property
    def outlasts_leases(self) -> bool:
        return self.seconds > LEASE


@contextlib.asynccontextmanager
async def restarted(ground: Ground) -> AsyncIterator[None]:
    await asyncio.to_thread(ground.server.stop)
    yield
    await asyncio.to_thread(ground.server.start)


@contextlib.asynccontextmanager
async def failed_over(ground: Ground) -> AsyncIterator[None]:
    """The primary's machine is lost, and its standby takes over."""
    primary, standby = ground.server, ground.standby
    assert standby is not None
    await asyncio.to_thread(primary.kill)
    yield
    await asyncio.to_thread(standby.promote)
    ground.server = standby


@contextlib.asynccontextmanager
async def failed_over_behind(ground: Ground) -> AsyncIterator[None]:
    """The same, with a standby that has heard nothing for the length of the event."""
    primary, standby = ground.server, ground.standby
    assert standby is not None
    deaf = ("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
    await asyncio.to_thread(standby.execute, *deaf)
    yield
    await asyncio.to_thread(primary.kill)
    await asyncio.to_thread(standby.promote)
    ground.server = standby


@contextlib.asynccontextmanager
async def read_only(ground: Ground) -> AsyncIterator[None]:
    """Sessions that began meanwhile stay read-only: nobody ends them."""
    server, name = ground.server, ground.database
    setting = f"ALTER DATABASE {name} SET default_transaction_read_only = on"
    await asyncio.to_thread(server.execute, setting)
    await asyncio.to_thread(server.fetch, TERMINATE, name)
    yield
    await asyncio.to_thread(
        server.execute, f"ALTER DATABASE {name} RESET default_transaction_read_only"
    )


@contextlib.asynccontextmanager
async def full(ground: Ground) -> AsyncIterator[None]:
    """Where PostgreSQL had to end for lack of room, it is started once there is room again."""
    server = ground.server
    ballast = server.data.with_name("ballast")
    over = threading.Event()
    filling = asyncio.create_task(asyncio.to_thread(_fill, ballast, over))
    try:
        yield
    finally:
        over.set()
        await filling
        ballast.unlink()
    if not server.processes():
        await asyncio.to_thread(server.start)
    await asyncio.to_thread(server.await_writable)


def _fill(ballast: Path, over: threading.Event) -> None:
    """Take all room, and what becomes free meanwhile."""
    with ballast.open("wb", buffering=0) as file:
        while not over.wait(0.01):
            for size in (2**20, 2**12):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)):
                        pass


@contextlib.asynccontextmanager
async def locked(ground: Ground) -> AsyncIterator[None]:
    connection = await ground.connect(lock_timeout="0")
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def stopped(ground: Ground) -> AsyncIterator[None]:
    ground.server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        ground.server.signal(signal.SIGCONT)


@contextlib.asynccontextmanager
async def exhausted(ground: Ground) -> AsyncIterator[None]:
    """Foreign sessions take every connection that there is, those of the processes too."""
    foreign = [await asyncpg.connect(ground.server.url("postgres"))]
    over = asyncio.Event()
    grabbing = [asyncio.create_task(_grab(ground, foreign, over)) for _ in range(4)]
    name = ground.database

    async def all_taken() -> bool | None:
        await foreign[0].fetchval(TERMINATE, name)
        return len(foreign) >= FEW_CONNECTIONS or None

    try:
        await eventually(all_taken, TAKEN_WITHIN)
        yield
    finally:
        over.set()
        await asyncio.gather(*grabbing)
        for connection in foreign:
            await connection.close()


async def _grab(
    ground: Ground, taken: "list[asyncpg.Connection[asyncpg.Record]]", over: asyncio.Event
) -> None:
    while not over.is_set() and len(taken) < FEW_CONNECTIONS:
        with contextlib.suppress(asyncpg.PostgresError, OSError):
            taken.append(await asyncpg.connect(ground.server.url("postgres")))


@contextlib.asynccontextmanager
async def commits_held(ground: Ground) -> AsyncIterator[None]:
    assert ground.cutter is not None
    ground.cutter.holds_the_answers_to(COMMIT)
    yield
    ground.cutter.lets_go()


@contextlib.asynccontextmanager
async def pooler_restarted(ground: Ground) -> AsyncIterator[None]:
    assert ground.pooler is not None
    await asyncio.to_thread(ground.pooler.stop)
    yield
    await asyncio.to_thread(ground.pooler.start)


@contextlib.asynccontextmanager
async def clock_ahead(ground: Ground) -> AsyncIterator[None]:
    assert ground.clock is not None
    ground.clock.write_text(f"+{OFF}\n")
    yield
    ground.clock.write_text("+0\n")


@contextlib.asynccontextmanager
async def postgres_out_of_reach(ground: Ground) -> AsyncIterator[None]:
    ground.members.to_postgres.clear()
    yield
    ground.members.to_postgres.set()


@contextlib.asynccontextmanager
async def kie_out_of_reach(ground: Ground) -> AsyncIterator[None]:
    ground.members.to_kie.clear()
    yield
    ground.members.to_kie.set()


def processes_stopped(count: int) -> Trouble:
    @contextlib.asynccontextmanager
    async def trouble(ground: Ground) -> AsyncIterator[None]:
        chosen = [replica.pid for replica in ground.members.living[:count]]
        for pid in chosen:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in chosen:
                os.kill(pid, signal.SIGCONT)

    return trouble


_DATABASE = (
    Event(name="restarted", title="primary restarted", seconds=3, trouble=restarted),
    Event(
        name="failed-over",
        title="primary lost, its synchronous standby promoted after 5 s",
        seconds=5,
        trouble=failed_over,
        stand=grounds.followed(synchronous=True),
    ),
    Event(
        name="failed-over-with-loss",
        title="primary lost, a standby promoted that is 5 s behind",
        seconds=5,
        trouble=failed_over_behind,
        stand=grounds.followed(synchronous=False),
        loses=True,
    ),
    Event(name="read-only", title="read-only for 10 s", seconds=10, trouble=read_only),
    Event(
        name="disk-full",
        title="disk full for 10 s",
        seconds=10,
        trouble=full,
        stand=grounds.small_disk,
    ),
    Event(
        name="lock-timeout",
        title=f"`tasks` locked for 8 s, lock_timeout {grounds.LOCK_TIMEOUT}",
        seconds=8,
        trouble=locked,
        stand=grounds.impatient,
    ),
    Event(name="stopped", title="all backends SIGSTOP for 35 s", seconds=35, trouble=stopped),
    Event(
        name="exhausted",
        title="connections exhausted for 12 s",
        seconds=12,
        trouble=exhausted,
        stand=grounds.crowded,
    ),
    Event(
        name="commits-held",
        title="answers to COMMIT held 14 s",
        seconds=14,
        trouble=commits_held,
        stand=grounds.held_up,
    ),
    Event(
        name="pgbouncer-restarted",
        title="PgBouncer restarted",
        seconds=2,
        trouble=pooler_restarted,
        stand=grounds.pooled,
    ),
    Event(
        name="clock-off",
        title="the gateway's clock 10 minutes ahead for 15 s",
        seconds=15,
        trouble=clock_ahead,
        stand=grounds.own_clock,
    ),
)
_STALLS = (
    Event(
        name="postgres-stalled",
        title="the network to PostgreSQL stands still for 40 s",
        seconds=40,
        trouble=postgres_out_of_reach,
    ),
    Event(
        name="kie-stalled",
        title="the network to kie.ai stands still for 40 s",
        seconds=40,
        trouble=kie_out_of_reach,
    ),
    Event(
        name="one-stopped",
        title="one process of two SIGSTOP for 40 s",
        seconds=40,
        trouble=processes_stopped(1),
    ),
    Event(
        name="both-stopped",
        title="both processes SIGSTOP for 40 s",
        seconds=40,
        trouble=processes_stopped(2),
    ),
)
EVENTS = {event.name: event for event in (*_DATABASE, *_STALLS)}
NO_LOSS = tuple(name for name, event in EVENTS.items() if not event.loses)
"""Events after which work has to go on by itself."""
