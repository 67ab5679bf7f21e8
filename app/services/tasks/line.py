"""The line of a process's admissions: they go one after the other, as each locks the account.

The few that come next wait within their transaction. Where more come than that, each stores its
task and leaves the line, and one admits for all of them afterwards (see `crowd`): so the more there
are, the fewer admissions there are for each.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

NEXT = 4
"""Transactions that have a place in line at most, beside the one that has its turn."""

PATIENCE = 1.0
"""Seconds that they wait."""


class Place:
    """A transaction's place in line; it has its turn until it has ended, committed or not."""

    def __init__(self, line: "Line", *, is_crowded: bool) -> None:
        self._line = line
        self._has_turn = False
        self.is_crowded = is_crowded
        """So many are before it that it should not wait."""

    async def come(self) -> None:
        """Wait for the turn, but not for long; go on without it then."""
        if self._has_turn:
            return
        with suppress(TimeoutError):
            await self._line.begin(PATIENCE)
            self._has_turn = True

    def leave(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._line.end()


class Line:
    """One admission at a time; whose turn it is ends it."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._lent = 0

    async def begin(self, patience: float) -> None:
        """Wait for the turn; raises `TimeoutError` after `patience` seconds."""
        async with asyncio.timeout(patience):
            await self._turn.acquire()

    def end(self) -> None:
        self._turn.release()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        """Lend a place to what is about to begin a transaction."""
        place = Place(self, is_crowded=self._lent > NEXT)
        self._lent += 1
        try:
            yield place
        finally:
            self._lent -= 1
            place.leave()
