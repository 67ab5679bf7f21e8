"""The loops that carry work on: under `serve` beside the API, under `worker` alone.

Each loop takes what is due, sleeps until it is woken or its period is over, and outlives whatever
goes wrong in a turn. NOTIFY wakes; the period is the guarantee.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog

from app.domain.errors import DatabaseUnavailableError
from app.domain.retry import backoff
from app.services.health import Health
from app.store.signals import QUEUE, Signals
from app.wiring import Services

DRAIN = 45.0
"""Seconds that shutdown waits for sendings and questions: one call to kie.ai and its record."""

LONG_RUN = 60.0
"""Seconds after which an end counts as the first trouble, not as one more."""

BATCH = 50
"""Sendings, and questions, that one process has under way at most."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One kind of work: `turn` does some and returns how much; 0 lets the loop sleep."""

    name: str
    turn: Callable[[], Awaitable[int]]
    every: float
    """Seconds between turns when nothing wakes it."""
    topic: str | None = None
    """The announcement that wakes it."""


def loops(services: Services, queries_per_second: float) -> tuple[Loop, ...]:
    """List the loops; asking takes no more than the query limit in each turn of a second."""
    questions = max(1, int(queries_per_second))
    return (
        Loop(
            name="submit",
            turn=lambda: services.submissions.submit_due(BATCH),
            every=1.0,
            topic=QUEUE,
        ),
        Loop(name="ask", turn=lambda: _paced(services.asker.ask_due(questions)), every=1.0),
        Loop(name="sweep", turn=services.sweeper.sweep, every=5.0),
    )


async def _paced(turn: Awaitable[int]) -> int:
    """Let a turn take its period even when there is more to do."""
    await turn
    return 0


@asynccontextmanager
async def at_work(services: Services, working: Sequence[Loop]) -> AsyncIterator[None]:
    """Keep the loops going for the length of the block, then drain what they started.

    Leases and signals are kept in every process, since the API sends tasks too.
    """
    async with asyncio.TaskGroup() as group:
        keepers = [
            group.create_task(_kept_up("leases", services.leases.run)),
            group.create_task(_kept_up("signals", services.signals.run)),
            group.create_task(_kept_up("room", services.room.run)),
        ]
        workers = [
            group.create_task(_turning(loop, services.signals, services.health)) for loop in working
        ]
        # With the loops, not with the keepers: what drains is silent and not stuck.
        workers.append(group.create_task(_kept_up("watch", services.health.watch)))
        try:
            yield
        finally:
            _cancel(workers)
            await _drain(services)
            _cancel(keepers)


async def _turning(loop: Loop, signals: Signals, health: Health) -> None:
    tries = 0
    health.beat(loop.name)
    with signals.subscribed(loop.topic or f"nobody announces {loop.name}") as woken:
        while True:
            woken.clear()
            try:
                done = await loop.turn()
                tries = 0
            except Exception as error:  # noqa: BLE001  # a loop outlives whatever a turn meets
                done, tries = 0, tries + 1
                _log_trouble(loop.name, tries, error)
            health.beat(loop.name)
            if done == 0:
                await _woken(woken, loop.every + _pause(tries))


async def _woken(woken: asyncio.Event, seconds: float) -> None:
    """Sleep, a little longer than told so that replicas do not march in step."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds * random.uniform(1.0, 1.1)):  # noqa: S311  # no secret
            await woken.wait()


async def _kept_up(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run for ever: start it again, ever more slowly, whenever it ends."""
    tries = 0
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        try:
            await run()
        except Exception as error:  # noqa: BLE001  # as above
            tries = tries + 1 if loop.time() - started < LONG_RUN else 1
            _log_trouble(name, tries, error)
        await asyncio.sleep(_pause(tries))


def _pause(tries: int) -> float:
    if tries == 0:
        return 0.0
    return backoff(tries, first=0.2, ceiling=5.0, share=random.random())  # noqa: S311  # no secret


def _log_trouble(name: str, tries: int, error: Exception) -> None:
    if isinstance(error, (DatabaseUnavailableError, OSError)):
        log.warning("loop.database_away", loop=name, tries=tries)
    else:
        log.error("loop.broken", loop=name, tries=tries, exc_info=error)


async def _drain(services: Services) -> None:
    try:
        async with asyncio.timeout(DRAIN):
            await services.submissions.drain()
            await services.asker.drain()
    except TimeoutError:
        log.warning("worker.drain_cut_short", after=DRAIN)


def _cancel(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
