"""Who uses the next free connection: those who ask take turns, however often each one asks."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TypeAlias

_Line: TypeAlias = "deque[asyncio.Future[None]]"

ASKING: ContextVar[Hashable] = ContextVar("asking", default=None)
"""The caller for whom this code uses a connection; None: nobody has to wait for it."""

SENDER_WAITS = "its sender waits"

ERRAND: ContextVar[Hashable] = ContextVar("errand", default=None)
"""What this code uses a connection for. Each errand has a line of its own: a callback, whose sender
waits, does not come after a hundred tasks that are to be sent."""


@contextmanager
def errand(kind: Hashable) -> Iterator[None]:
    """Use connections for an errand of this kind in the block."""
    token = ERRAND.set(kind)
    try:
        yield
    finally:
        ERRAND.reset(token)


class Turns:
    """So many places; who asks for one more waits behind its own, and beside the others."""

    def __init__(self, places: int, *, kept: int = 0) -> None:
        """`kept` of the places are only for who has none yet."""
        self._free = places
        self._kept = kept
        self._taken: Counter[Hashable] = Counter()
        self._lines: dict[Hashable, _Line] = {}
        """Who waits, in the order of the next turns."""

    @asynccontextmanager
    async def turn(self, whose: Hashable) -> AsyncIterator[None]:
        """Have a place for the length of the block; wait in the line of `whose` for it."""
        await self.enter(whose)
        try:
            yield
        finally:
            self.leave(whose)

    async def enter_within(self, whose: Hashable, seconds: float) -> None:
        """Have a place until `leave`; raises `TimeoutError` where none is free in time."""
        if self._may_enter(whose):  # nearly always, and a timer costs more than that
            self._take(whose)
            return
        async with asyncio.timeout(seconds):
            await self.enter(whose)

    async def enter(self, whose: Hashable) -> None:
        """Have a place until `leave`."""
        if self._may_enter(whose):
            self._take(whose)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._lines.setdefault(whose, deque())
        line.append(place)
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled():
                self.leave(whose)  # it was given the place while it gave up
            else:
                self._forget(whose, place)
            raise

    def _may_enter(self, whose: Hashable) -> bool:
        return self._free > (self._kept if self._taken[whose] else 0)

    def _take(self, whose: Hashable) -> None:
        self._free -= 1
        self._taken[whose] += 1

    def _forget(self, whose: Hashable, place: "asyncio.Future[None]") -> None:
        line = self._lines.get(whose)
        if line is not None and place in line:
            line.remove(place)
            if not line:
                del self._lines[whose]

    def leave(self, whose: Hashable) -> None:
        """Give the place to the first of the next line, which goes to the end of the round."""
        self._free += 1
        self._taken[whose] -= 1
        if not self._taken[whose]:
            del self._taken[whose]
        for one in tuple(self._lines):
            if self._may_enter(one) and self._gives(one):
                return

    def _gives(self, whose: Hashable) -> bool:
        """Let the first in the line enter who is still there; False: nobody is."""
        line = self._lines.pop(whose)
        while line:
            place = line.popleft()
            if not place.done():
                self._take(whose)
                place.set_result(None)
                break
        else:
            return False
        if line:
            self._lines[whose] = line
        return True
