"""Gives committed events their positions in the feed: one process at a time, elected by a lease."""

import asyncio
from collections.abc import Callable
from uuid import UUID

from app.store.connections.engine import Database
from app.store.signals import FEED, Signals
from app.store.tasks import feed

LOOK = 2.0
"""Seconds between turns of a holder that nothing woke, and between the looks of the others."""

LEASE = 2.75
"""Seconds without a turn after which another process takes over: with the wait until its next look
that is within 5 s. A holder that is late loses it, and nothing else."""

GATHER = 0.1
"""Seconds between turns at least: what is committed meanwhile is numbered in one statement."""

BATCH = 1000


class Numbering:
    """Takes part in the election, and numbers while it is elected; `me` names this process."""

    def __init__(
        self,
        database: Database,
        signals: Signals,
        me: UUID,
        monotonic: Callable[[], float],
    ) -> None:
        self._database = database
        self._signals = signals
        self._me = me
        self._monotonic = monotonic
        self._is_elected = False
        self._next_turn = 0.0

    async def number(self) -> float | None:
        """Give positions to what is committed; return seconds as a loop's turn does."""
        wait = self._next_turn - self._monotonic()
        if wait > 0 and not self._is_elected:
            return wait
        await asyncio.sleep(max(0.0, wait))
        numbered = await self._turn()
        self._is_elected = numbered is not None
        self._next_turn = self._monotonic() + (GATHER if self._is_elected else LOOK)
        if numbered:
            self._signals.announce(FEED)
        return 0 if numbered == BATCH else None

    async def _turn(self) -> int | None:
        async with self._database.at_once() as connection:
            return await feed.number(connection, self._me, lease=LEASE, limit=BATCH)

    async def release(self) -> None:
        """Leave the numbering to another process, before the lease is over."""
        if self._is_elected:
            self._is_elected = False
            async with self._database.at_once() as connection:
                await feed.release(connection, self._me)
