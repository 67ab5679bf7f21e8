"""Waiting for final states: any number of waiters, one look at the database for all of them.

A commit's announcement wakes; a look at every task that is waited for, each `POLL` seconds, is the
guarantee.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias
from uuid import UUID

from app.services.limits.under_way import resting
from app.store.connections.engine import Database
from app.store.signals import EVERYTHING, Signals, erased_in
from app.store.tasks import rows

POLL = 2.0
"""Seconds between looks at everything that is waited for."""

GATHER = 0.003
"""Seconds for which announcements are collected into one look."""

Finished = Mapping[str, Any]
"""The columns of a task in its final state, as its client sees them."""

Future: TypeAlias = "asyncio.Future[Finished]"
Awaited: TypeAlias = asyncio.Future[Any]


class Waiters:
    """Knows who waits for which task in this process."""

    def __init__(self, database: Database, signals: Signals) -> None:
        self._database = database
        self._waiting: defaultdict[UUID, set[asyncio.Future[Finished]]] = defaultdict(set)
        self._entered = asyncio.Event()
        self._announced: set[UUID] = set()
        self._woken = asyncio.Event()
        self._closing = asyncio.Event()
        signals.tap(self._note)

    def enter(self, task_id: UUID) -> Future:
        """Wait for a task's final state. Enter first and read the task then: nothing is missed."""
        future: Future = asyncio.get_running_loop().create_future()
        self._waiting[task_id].add(future)
        self._entered.set()
        return future

    def leave(self, task_id: UUID, future: Future) -> None:
        """Wait no longer; every `enter` needs its `leave`."""
        future.cancel()
        self._waiting[task_id].discard(future)
        if not self._waiting[task_id]:
            del self._waiting[task_id]

    @contextmanager
    def waiting_for(self, ids: Iterable[UUID]) -> Iterator[Mapping[UUID, Future]]:
        """Wait for several tasks for the length of the block."""
        entered = {task_id: self.enter(task_id) for task_id in dict.fromkeys(ids)}
        try:
            yield entered
        finally:
            for task_id, future in entered.items():
                self.leave(task_id, future)

    async def wait(
        self, futures: Collection[Future], *, until: float, given_up: Awaited | None = None
    ) -> bool:
        """Wait until one of them is done; False: the time is over, or the process is ending.

        `until` is a time of the event loop's clock. Once `given_up` is done, it is False too.
        """
        closing = asyncio.ensure_future(self._closing.wait())
        ends = {closing} if given_up is None else {closing, given_up}
        awaited: set[Awaited] = {*futures, *ends}
        left = until - asyncio.get_running_loop().time()
        try:
            with resting():
                done, _ = await asyncio.wait(
                    awaited, timeout=max(0, left), return_when=asyncio.FIRST_COMPLETED
                )
        finally:
            closing.cancel()
        return bool(done - ends)

    @property
    def is_closing(self) -> bool:
        """Whether the process is about to end."""
        return self._closing.is_set()

    def close(self) -> None:
        """End every wait at once: the process is about to end."""
        self._closing.set()

    async def run(self) -> None:
        """Serve the waiters until cancelled."""
        loop = asyncio.get_running_loop()
        look_at_all = loop.time() + POLL
        while True:
            if not self._waiting:
                await self._somebody_waits()
                look_at_all = loop.time() + POLL
            with suppress(TimeoutError):
                async with asyncio.timeout_at(look_at_all):
                    await self._woken.wait()
                    await asyncio.sleep(GATHER)
            # Not by the timeout alone: an event that is always set is never waited for.
            if loop.time() >= look_at_all:
                look_at_all = loop.time() + POLL
                ids = set(self._waiting)
            else:
                ids = self._announced & self._waiting.keys()
            self._woken.clear()
            self._announced.clear()
            if ids:
                await self._look(ids)

    async def _somebody_waits(self) -> None:
        """Sleep while nobody does."""
        while not self._waiting:
            self._entered.clear()
            await self._entered.wait()

    async def _look(self, ids: Collection[UUID]) -> None:
        async with self._database.read() as connection:
            finished = await rows.read_finished(connection, ids)
        for row in finished:
            for future in self._waiting.get(row["id"], ()):
                if not future.done():
                    future.set_result(dict(row))

    def _note(self, topic: str) -> None:
        if not self._waiting:
            return  # who enters from now on reads the task afterwards
        gone = erased_in(topic)
        if gone is not None:
            self._end(gone)
        elif topic == EVERYTHING:
            self._announced |= self._waiting.keys()
        elif len(topic) == len(UUID(int=0).hex):
            self._announced.add(UUID(hex=topic))
        else:
            return
        self._woken.set()

    def _end(self, task_id: UUID) -> None:
        """Let who waits for an erased task look at once: there is nothing to wait for."""
        for future in self._waiting.get(task_id, ()):
            if not future.done():
                future.set_result({"id": task_id, "input": None})


def is_gone(future: Future) -> bool:
    """Tell of a future that is done whether its task was erased."""
    return "state" not in future.result()
