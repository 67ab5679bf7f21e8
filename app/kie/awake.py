"""A timeout that counts the time in which this process works, not in which it stands still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

STOOD_STILL = 0.5
"""Seconds by which a timer comes late that nothing but a standstill can make so late."""
GRACE = 1.0
"""Seconds for reading what came meanwhile: it lies in the socket's buffer."""


@asynccontextmanager
async def awake_timeout(seconds: float) -> AsyncIterator[None]:
    """Raise `TimeoutError` after so many seconds, as `asyncio.timeout`.

    After a standstill (SIGSTOP, a pause of the machine) timers and sockets are due together, and
    the timer would win over an answer that has been there for long: the id of a paid task.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds
    async with asyncio.timeout(None) as scope:

        def over() -> None:
            late = loop.time() - due
            scope.reschedule(loop.time() + (GRACE if late > STOOD_STILL else 0))

        timer = loop.call_at(due, over)
        try:
            yield
        finally:
            timer.cancel()
