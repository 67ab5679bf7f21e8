"""Room for bytes: how many may be held at once, by all copies of a process together."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Room:
    """Lends bytes, first come first served; more than all of them counts as all of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Wait until there is room for `size` bytes, and hold it for the block."""
        size = min(size, self._size)
        await self._take(size)
        try:
            yield
        finally:
            self._give(size)

    async def _take(self, size: int) -> None:
        if not self._line and size <= self._free:
            self._free -= size
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append((size, turn))
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._give(size)
            else:
                self._line.remove((size, turn))
                self._give(0)
            raise

    def _give(self, size: int) -> None:
        self._free += size
        while self._line and self._line[0][0] <= self._free:
            wanted, turn = self._line.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)
