"""The feed at 2,000 events a second, while the process that numbers it is killed.

`python -m benchmarks.feed [events per second] [seconds]`. Two `worker` processes take part in the
election; the elected one is killed with SIGKILL midway. Writers commit four events per transaction,
as moves do; one in fifty rolls back, and some are slow, so that ids come late. A reader per client
follows by position. The lag is from the event's instant, which PostgreSQL sets just before the
commit, to the reader that has it. The embedded server does not sync to disk here: what is measured
is the numbering, not the disk.
"""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from app.domain.paging import FeedPlace
from app.store.connections.engine import Database
from app.store.signals import FEED, Signals
from app.store.tasks import feed
from benchmarks.figures import Figure, at_most, table
from benchmarks.stand import cpu_seconds, database, environment, numbers, percentile, process

CLIENTS, TASKS, WRITERS = 4, 2000, 16
TOGETHER = 4
"""Events in one transaction, as where several tasks are admitted at once."""
ROLLED_BACK, SLOW = 50, 200
"""One transaction in so many."""
SETTLE = 3.0
"""Seconds until the processes are at work, before anything is measured."""

_SEED = """
INSERT INTO clients (id, name, signing_secret) SELECT id, id::text, '' FROM unnest($1::uuid[]) id
"""
_TASKS = """
INSERT INTO tasks (id, client_id, state, model, input, metadata, priority, fingerprint, submit_by,
                   finished_at)
SELECT gen_random_uuid(), ($1::uuid[])[1 + n % $2], 'succeeded', 'm', '{}', '{}', 5, '', now(),
       now()
FROM generate_series(1, $3::int) n RETURNING id
"""
_MOVE = """
WITH moved AS (UPDATE tasks SET version = version + 1 WHERE id = ANY($1) RETURNING id, client_id)
INSERT INTO task_events (task_id, client_id, to_state, attempt)
SELECT id, client_id, 'running', 1 FROM moved
"""
_HOLDER = "SELECT holder FROM feed_writer WHERE leased_until > clock_timestamp()"
_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'kie-gateway'"


@dataclass
class Reader:
    """What one client met, in order, and when."""

    client_id: UUID
    events: list[tuple[int, UUID]] = field(default_factory=list)
    lags: list[tuple[float, float]] = field(default_factory=list)
    """When an event was made, and the seconds until it was met."""


def main(rate: float, seconds: float) -> None:
    with database() as dsn:
        if "GATEWAY_BENCH_DATABASE_URL" not in os.environ:
            asyncio.run(_relaxed(dsn))
        settings = environment(
            dsn,
            "http://127.0.0.1:9",
            GATEWAY_WORKER_LISTEN="127.0.0.1:0",
            GATEWAY_ALLOW_UNSAFE_FSYNC="true",
        )
        with process(["worker"], settings) as (_, first):
            time.sleep(SETTLE)  # it is elected
            with process(["worker"], settings):
                print(table(asyncio.run(_measured(dsn, first, rate, seconds))))


async def _relaxed(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        await connection.execute(f"ALTER SYSTEM SET {name} = off")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


async def _measured(dsn: str, first: int, rate: float, seconds: float) -> list[Figure]:
    readers = [Reader(uuid4()) for _ in range(CLIENTS)]
    watch = await asyncpg.connect(dsn)
    clients = [reader.client_id for reader in readers]
    await watch.execute(_SEED, clients)
    tasks = [row["id"] for row in await watch.fetch(_TASKS, clients, CLIENTS, TASKS)]
    backends = [row["pid"] for row in await watch.fetch(_BACKENDS)]
    signals, pool = Signals(dsn), Database(dsn)
    async with _going(signals.run(), *(_follow(pool, signals, one) for one in readers)):
        await asyncio.sleep(SETTLE)
        writing = asyncio.create_task(_written(dsn, signals, tasks, rate, seconds))
        await asyncio.sleep(1)
        before = cpu_seconds(first), sum(map(cpu_seconds, backends))
        began = time.time()
        await asyncio.sleep(seconds / 2)
        passed = time.time() - began
        after = cpu_seconds(first), sum(map(cpu_seconds, backends))
        shares = [100 * (late - early) / passed for early, late in zip(before, after, strict=True)]
        killed, taken = await _killed(watch, first)
        await writing
        await asyncio.sleep(SETTLE)
    await pool.dispose()
    stored = await watch.fetch("SELECT id, task_id FROM task_events ORDER BY id")
    await watch.close()
    figures = _judged(readers, [(row["id"], row["task_id"]) for row in stored], killed, taken)
    return [
        *figures,
        Figure(part="feed", name="events a second", value=f"{len(stored) / _span(readers):.0f}"),
        at_most("feed", "CPU of the elected process", shares[0], 30, " %"),
        at_most("feed", "CPU of both workers' backends", shares[1], 60, " %"),
    ]


@contextlib.asynccontextmanager
async def _going(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _written(
    dsn: str, signals: Signals, tasks: list[UUID], rate: float, seconds: float
) -> None:
    """Commit events at an even rate, each writer those of its own tasks."""
    started = time.monotonic()
    due = iter(range(int(rate * seconds / TOGETHER)))

    async def write(own: list[UUID]) -> None:
        connection = await asyncpg.connect(dsn)
        for number in due:
            at = started + number * TOGETHER / rate
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            await _move(connection, random.sample(own, TOGETHER), number, signals)
        await connection.close()

    await asyncio.gather(*(write(tasks[writer::WRITERS]) for writer in range(WRITERS)))


async def _move(
    connection: "asyncpg.Connection[asyncpg.Record]",
    ids: list[UUID],
    number: int,
    signals: Signals,
) -> None:
    fails, is_slow = number % ROLLED_BACK == 0, number % SLOW == 1
    if not fails and not is_slow:
        await connection.execute(_MOVE, ids)
    else:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(_MOVE, ids)
        if is_slow:
            await asyncio.sleep(0.1)
        await (transaction.rollback() if fails else transaction.commit())
    signals.announce(*(task_id.hex for task_id in ids))


async def _follow(pool: Database, signals: Signals, reader: Reader) -> None:
    place = FeedPlace()
    with signals.subscribed(FEED) as woken:
        while True:
            woken.clear()
            async with pool.read() as connection:
                rows = await feed.read(connection, reader.client_id, after=place, limit=1000)
            now = time.time()
            for row in rows:
                place = FeedPlace(position=row["position"], token=row["token"])
                made = row["at"].timestamp()
                reader.events.append((row["id"], row["task_id"]))
                reader.lags.append((made, now - made))
            if not rows:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await woken.wait()


async def _killed(watch: "asyncpg.Connection[asyncpg.Record]", pid: int) -> tuple[float, float]:
    """Kill the elected process; returns when that was, and when another was elected."""
    holder = await watch.fetchval(_HOLDER)
    os.kill(pid, signal.SIGKILL)
    killed = time.time()
    while await watch.fetchval(_HOLDER) in (holder, None):  # noqa: ASYNC110  # it looks over a network
        await asyncio.sleep(0.01)
    return killed, time.time()


def _span(readers: list[Reader]) -> float:
    """Return the seconds from the first event to the last."""
    made = [at for reader in readers for at, _ in reader.lags]
    return max(made) - min(made)


def _judged(
    readers: list[Reader], stored: list[tuple[int, UUID]], killed: float, taken: float
) -> list[Figure]:
    met = [event for reader in readers for event in reader.events]
    lags = [lag for reader in readers for lag in reader.lags]
    calm = [1000 * lag for made, lag in lags if not killed - 1 <= made <= taken + 1]
    last: dict[UUID, int] = {}
    disordered = 0
    for event, task_id in met:
        disordered += event < last.get(task_id, 0)
        last[task_id] = event
    return [
        at_most("feed", "lag p50", percentile(calm, 0.5), 100, " ms"),
        at_most("feed", "lag p95", percentile(calm, 0.95), 500, " ms"),
        at_most("feed", "lag max, with the takeover", max(lag for _, lag in lags), 7, " s"),
        at_most("feed", "takeover", taken - killed, 5, " s"),
        at_most("feed", "missed", len(set(stored) - set(met)), 0),
        at_most("feed", "repeated", len(met) - len(set(met)), 0),
        at_most("feed", "out of their task's order", disordered, 0),
    ]


if __name__ == "__main__":
    main(*numbers(__doc__, events_per_second=2000.0, seconds=30.0))
