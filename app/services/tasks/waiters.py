"""Waiting for tasks to rest: any number of waiters, one look at the database for all of them.

A commit's announcement wakes; a look at every task that is waited for, each `POLL` seconds, is the
guarantee.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from app.store.engine import Database
from app.store.signals import EVERYTHING, Signals
from app.store.tasks import rows

POLL = 2.0
"""Seconds between looks at everything that is waited for."""

GATHER = 0.003
"""Seconds in which announcements gather into one look."""

Finished = Mapping[str, Any]
"""A task's answered columns, once it rests."""


class Waiters:
    """Knows who waits for which task in this process."""

    def __init__(self, database: Database, signals: Signals) -> None:
        self._database = database
        self._waiting: defaultdict[UUID, set[asyncio.Future[Finished]]] = defaultdict(set)
        self._announced: set[UUID] = set()
        self._woken = asyncio.Event()
        self._closing = asyncio.Event()
        signals.tap(self._hear)

    def enter(self, task_id: UUID) -> "asyncio.Future[Finished]":
        """Wait for a task: its row comes when it rests. Enter first, look at the task then."""
        future: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        self._waiting[task_id].add(future)
        return future

    def leave(self, task_id: UUID, future: "asyncio.Future[Finished]") -> None:
        """Wait no longer; whoever enters leaves."""
        future.cancel()
        self._waiting[task_id].discard(future)
        if not self._waiting[task_id]:
            del self._waiting[task_id]

    async def come(self, futures: Collection["asyncio.Future[Finished]"], *, until: float) -> bool:
        """Wait until one of them has come; False: the time is over, or the process is ending.

        `until` is a time of the event loop's clock.
        """
        closing = asyncio.ensure_future(self._closing.wait())
        awaited: set[asyncio.Future[Any]] = {*futures, closing}
        left = until - asyncio.get_running_loop().time()
        try:
            done, _ = await asyncio.wait(
                awaited, timeout=max(0, left), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            closing.cancel()
        return bool(done - {closing})

    @property
    def is_closing(self) -> bool:
        """Whether the process is about to end."""
        return self._closing.is_set()

    def close(self) -> None:
        """Let everyone go with what there is: the process is about to end."""
        self._closing.set()

    async def run(self) -> None:
        """Look after the waiters until cancelled."""
        loop = asyncio.get_running_loop()
        look_at_all = loop.time() + POLL
        while True:
            try:
                async with asyncio.timeout_at(look_at_all):
                    await self._woken.wait()
                await asyncio.sleep(GATHER)
                ids = self._announced & self._waiting.keys()
            except TimeoutError:
                look_at_all = loop.time() + POLL
                ids = set(self._waiting)
            self._woken.clear()
            self._announced.clear()
            if ids:
                await self._look(ids)

    async def _look(self, ids: Collection[UUID]) -> None:
        async with self._database.read() as connection:
            when_final = await rows.read_finished(connection, ids)
        for row in when_final:
            for future in self._waiting.get(row["id"], ()):
                if not future.done():
                    future.set_result(dict(row))

    def _hear(self, topic: str) -> None:
        if topic == EVERYTHING:
            self._announced |= self._waiting.keys()
        elif len(topic) == len(UUID(int=0).hex):
            self._announced.add(UUID(hex=topic))
        else:
            return
        self._woken.set()
