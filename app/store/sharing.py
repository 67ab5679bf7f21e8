"""Who uses the next free connection: those who ask take turns, however often each one asks."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import TypeAlias

_Line: TypeAlias = "deque[asyncio.Future[None]]"


class Turns:
    """So many places; who asks for one more waits behind its own, and beside the others."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._lines: dict[Hashable, _Line] = {}
        """Who waits, in the order of the next turns."""

    @asynccontextmanager
    async def turn(self, whose: Hashable) -> AsyncIterator[None]:
        """Have a place for the length of the block; wait in the line of `whose` for it."""
        await self._placed(whose)
        try:
            yield
        finally:
            self._leave()

    async def _placed(self, whose: Hashable) -> None:
        if self._free > 0:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._lines.setdefault(whose, deque())
        line.append(place)
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled():
                self._leave()  # it was given the place while it gave up
            else:
                self._forget(whose, place)
            raise

    def _forget(self, whose: Hashable, place: "asyncio.Future[None]") -> None:
        line = self._lines.get(whose)
        if line is not None and place in line:
            line.remove(place)
            if not line:
                del self._lines[whose]

    def _leave(self) -> None:
        """Give the place to the first of the next line, which goes to the end of the round."""
        while self._lines:
            whose = next(iter(self._lines))
            line = self._lines.pop(whose)
            place = line.popleft()
            if line:
                self._lines[whose] = line
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
