"""Large answers: what one client reads of them is bounded by its bytes, here for all their kinds.

What one costs grows with its bytes: PostgreSQL unpacks and sends them, and one thread writes them
for everybody. A page of 4 MiB takes as long as a hundred small reads. So a client's pages that may
be large are read one at a time, and after each large answer, of whatever kind, the next waits until
the client is within its bytes per second again. Who reads only small ones never waits.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.domain.errors import RateLimitedError

SMALL = 64 * 1024
"""Bytes up to which an answer is not counted."""

LONGEST = 16
"""Reads of one client that wait; more are refused at once."""

PATIENCE = 5.0
"""Seconds for which one waits before it is refused: as long as for a connection to PostgreSQL."""


@dataclass(slots=True)
class _Line:
    """The reads of one client and kind."""

    rested_at: float
    """When the client has paid for what it has read, by the loop's clock."""
    busy: bool = False
    """A page that may be large is being read."""
    waiting: "deque[asyncio.Future[None]]" = field(default_factory=deque)
    timer: asyncio.TimerHandle | None = None


class LargeAnswers:
    """Who reads large answers, and until when each of them rests; nobody else is known here."""

    def __init__(self, bytes_per_second: int, refused: Callable[[Hashable], None]) -> None:
        """`refused` is called with the client of each read that was one too many."""
        self._rate = bytes_per_second
        self._refused = refused
        self._lines: dict[tuple[Hashable, str], _Line] = {}

    async def may_read(self, client: Hashable, kind: str) -> None:
        """Wait while the client rests from a large answer of this kind.

        Raises `RateLimitedError` where too many wait, or one waited for too long.
        """
        if (client, kind) in self._lines:
            await self._enter(client, kind)
            self._leave(client, kind)

    @asynccontextmanager
    async def page(self, client: Hashable, kind: str) -> AsyncIterator[None]:
        """Read what may be large in the block, and nothing else of this client and kind.

        Raises as `may_read`.
        """
        await self._enter(client, kind)
        try:
            yield
        finally:
            self._leave(client, kind)

    def was_read(self, client: Hashable, kind: str, size: int) -> None:
        """Have the client rest for as long as so many bytes take at its rate."""
        if size <= SMALL:
            return
        line = self._line(client, kind)
        line.rested_at = max(line.rested_at, _now()) + size / self._rate
        self._go_on(client, kind)

    # -- the line of a client

    def _line(self, client: Hashable, kind: str) -> _Line:
        return self._lines.setdefault((client, kind), _Line(rested_at=_now()))

    async def _enter(self, client: Hashable, kind: str) -> None:
        """Have the turn, until `_leave`."""
        line = self._line(client, kind)
        if not (line.busy or line.waiting) and line.rested_at <= _now():
            line.busy = True
            return
        if len(line.waiting) >= LONGEST:
            raise self._too_many(client, line)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiting.append(place)
        try:
            async with asyncio.timeout(PATIENCE):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self._leave(client, kind)  # it was given the turn while it gave up
            else:
                line.waiting.remove(place)
            if isinstance(error, TimeoutError):
                raise self._too_many(client, line) from None
            raise

    def _leave(self, client: Hashable, kind: str) -> None:
        self._lines[client, kind].busy = False
        self._go_on(client, kind)

    def _too_many(self, client: Hashable, line: _Line) -> RateLimitedError:
        self._refused(client)
        detail = (
            "Your client reads large answers faster than it may: one page at a time, and "
            f"{self._rate} bytes per second. Read fewer at once."
        )
        return RateLimitedError(detail, retry_after=max(1.0, line.rested_at - _now()))

    def _go_on(self, client: Hashable, kind: str) -> None:
        """Give the turn to the next, now or when the client has rested; forget a line of nobody."""
        line = self._lines.get((client, kind))
        if line is None or line.busy:
            return
        if line.timer is not None:
            line.timer.cancel()
        rest = line.rested_at - _now()
        if rest > 0:
            loop = asyncio.get_running_loop()
            line.timer = loop.call_later(rest, self._go_on, client, kind)
        elif line.waiting:
            line.busy = True
            line.waiting.popleft().set_result(None)
        else:
            del self._lines[client, kind]


def _now() -> float:
    return asyncio.get_running_loop().time()
