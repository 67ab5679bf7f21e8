"""The loops that carry work on: under `serve` beside the API, under `worker` alone.

Each loop takes what is due, sleeps until it is woken or its period is over, and outlives whatever
goes wrong in a turn. An announcement wakes it when there is something to do; the period is the
guarantee.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import structlog

from app.domain.errors import DatabaseUnavailableError
from app.domain.retry import backoff
from app.services.services import Services
from app.services.shutdown import Shutdown
from app.services.tasks import numbering
from app.services.tasks.submit import AT_ONCE
from app.store.signals import ARCHIVE, DELIVER, ERASE, POLL, PROBE, QUEUE, ROOM, SWEEP, TASKS

DEAF = 1.0
"""Seconds at most in which nothing wakes a loop that broke: what does so would break it again."""

MAX_SPREAD = 0.02
"""Seconds by which replicas are kept apart: more would leave the account's slots unused."""

LAST_TURN = 2.0
"""Seconds that a turn without claims has at the end: the database may be away for longer."""

LONG_RUN = 60.0
"""Seconds after which an end counts as the first trouble, not as one more."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One kind of work: `turn` does some and returns the seconds until there may be more.

    0: at once; None: nobody knows, and `every` decides.
    """

    name: str
    turn: Callable[[], Awaitable[float | None]]
    every: float
    """Seconds between turns at most: the guarantee, whatever wakes were lost."""
    topics: tuple[str, ...]
    """The announcements that wake it."""
    only_if: Mapping[str, Callable[[], bool]] = field(default_factory=dict)
    """Some wake it only where that is so."""
    foresees: bool = False
    """A turn's answer covers all that was announced before it, for whatever time."""
    claims: bool = False
    """A turn may hold claims that nobody else takes up before their leases are over."""


def loops(services: Services) -> tuple[Loop, ...]:
    return (
        Loop(
            name="submit",
            turn=lambda: services.submitter.submit_due(AT_ONCE),
            every=5.0,
            topics=(QUEUE, ROOM),
            only_if={ROOM: lambda: services.submitter.is_waiting},
            claims=True,
        ),
        Loop(
            name="poll",
            turn=services.poller.poll_due,
            every=5.0,
            topics=(POLL,),
            foresees=True,
            claims=True,
        ),
        Loop(
            name="deliver",
            turn=services.deliverer.deliver_due,
            every=10.0,
            topics=(DELIVER,),
            claims=True,
        ),
        Loop(name="archive", turn=services.archiver.archive_due, every=5.0, topics=(ARCHIVE,)),
        Loop(name="probe", turn=services.account.probe_due, every=5.0, topics=(PROBE,)),
        Loop(name="sweep", turn=services.sweeper.sweep, every=5.0, topics=(SWEEP,)),
        Loop(name="balance", turn=services.reconciliation.turn, every=60.0, topics=()),
        number_loop(services),
        Loop(name="retain", turn=services.retainer.retain, every=600.0, topics=(ERASE,)),
    )


def number_loop(services: Services) -> Loop:
    """Return the loop without which the feed stands still."""
    turn = services.numbering.number
    return Loop(name="number", turn=turn, every=numbering.LOOK, topics=(TASKS,))


@asynccontextmanager
async def at_work(
    services: Services, working: Sequence[Loop], kind: str = "serve"
) -> AsyncIterator[None]:
    """Keep the loops going until the shutdown begins, and drain what they started after the block.

    The block may last longer: requests are answered meanwhile. Leases, signals and the heartbeat
    are kept to the end, and in every process, since the API sends tasks too. The database is judged
    before anything is admitted.
    """
    with suppress(DatabaseUnavailableError):  # the keeper tries again
        await services.witness.beat(kind)
    async with asyncio.TaskGroup() as group:
        keepers = [
            group.create_task(_kept_up("leases", services.leases.run)),
            group.create_task(_kept_up("signals", services.signals.run)),
            group.create_task(_kept_up("waiters", services.waiters.run)),
            group.create_task(_kept_up("streams", services.streams.run)),
            group.create_task(_kept_up("uses", services.uses.run)),
            group.create_task(_kept_up("models", services.models.run)),
            group.create_task(_kept_up("witness", lambda: services.witness.run(kind))),
        ]
        workers = [
            group.create_task(_turning(loop, services, services.shutdown)) for loop in working
        ]
        # With the loops, not with the keepers: what drains is silent and not stuck.
        workers.append(group.create_task(_kept_up("watch", services.health.watch)))
        keepers.append(group.create_task(_stopped(services.shutdown, workers)))
        try:
            yield
        finally:
            services.shutdown.begin()
            _cancel(workers)
            await asyncio.wait(workers)
            await _drain(services)
            _cancel(keepers)
            await services.witness.leave()
            await services.traces.close(services.shutdown.left)


async def _stopped(shutdown: Shutdown, workers: Sequence["asyncio.Task[None]"]) -> None:
    """Stop the loops as the shutdown begins: uvicorn ends the block only after open requests."""
    await shutdown.wait()
    _cancel(workers)


async def _turning(loop: Loop, services: Services, shutdown: Shutdown) -> None:
    tries, health = 0, services.health
    with services.signals.alarm(*loop.topics, only_if=loop.only_if) as alarm:
        while True:
            alarm.clear(all_=loop.foresees)
            health.beat(loop.name)
            try:
                rest = await _whole(loop, shutdown)
                tries = 0
            except Exception as error:  # noqa: BLE001  # a loop outlives whatever a turn meets
                rest, tries = None, tries + 1
                _log_trouble(loop.name, tries, error)
            rest = loop.every if rest is None else min(rest, loop.every)
            if rest > 0 or tries > 0:
                pause = _pause(tries)
                deaf, wait = min(pause, DEAF), _spread(rest + pause)
                health.beat(loop.name, rests=wait)
                await asyncio.sleep(deaf)
                await alarm.wait(wait - deaf)


async def _whole(loop: Loop, shutdown: Shutdown) -> float | None:
    """Take a turn, and let it come to its end where the process ends meanwhile."""
    under_way = asyncio.ensure_future(loop.turn())
    try:
        return await asyncio.shield(under_way)
    except asyncio.CancelledError:
        await asyncio.wait({under_way}, timeout=shutdown.left if loop.claims else LAST_TURN)
        under_way.cancel()
        raise


def _spread(seconds: float) -> float:
    """Return a little more, so that replicas do not march in step."""
    return seconds + random.uniform(0, min(seconds / 10, MAX_SPREAD))  # noqa: S311  # no secret


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
        async with asyncio.timeout(services.shutdown.left):
            await services.archiver.drain()
            await services.submitter.drain()
            await services.poller.drain()
            await services.deliverer.drain()
            await services.numbering.release()
    except TimeoutError:
        log.warning("worker.drain_cut_short", after=services.shutdown.within)
    except DatabaseUnavailableError:
        log.warning("worker.lease_kept")  # it is over by itself soon


def _cancel(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
