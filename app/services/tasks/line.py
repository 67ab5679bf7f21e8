"""The line of a process's admissions: they go one after the other, as each locks the account.

The few that come next wait within their transaction. Where more come than that, each stores its
task and leaves the line, and one admits for all of them afterwards (see `crowd`): so the more there
are, the fewer admissions there are for each.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

NEXT = 4
"""Transactions that wait in line at most."""

PATIENCE = 1.0
"""Seconds that they wait."""


class Place:
    """A transaction's place in line; it has its turn until it has ended, committed or not."""

    def __init__(self, line: "Line") -> None:
        self._line = line
        self._has_turn = False

    @property
    def is_crowded(self) -> bool:
        """As many wait already as may."""
        return not self._has_turn and self._line.waiting >= NEXT

    async def come(self) -> None:
        """Wait for the turn, where few do, and not for long; go on without it else."""
        if self._has_turn or self.is_crowded:
            return
        self._line.waiting += 1
        try:
            await self._line.begin(PATIENCE)
        except TimeoutError:
            return
        finally:
            self._line.waiting -= 1
        self._has_turn = True

    def leave(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._line.end()


class Line:
    """One admission at a time; whose turn it is ends it."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self.waiting = 0
        """Transactions that wait for their turn."""

    async def begin(self, patience: float) -> None:
        """Wait for the turn; raises `TimeoutError` after `patience` seconds."""
        async with asyncio.timeout(patience):
            await self._turn.acquire()

    def end(self) -> None:
        self._turn.release()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        """Lend a place to what is about to begin a transaction."""
        place = Place(self)
        try:
            yield place
        finally:
            place.leave()
