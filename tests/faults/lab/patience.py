"""How the lab waits: it looks again, but no more often than a look is worth."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tests.stage import eventually

PATIENCE = 75.0
"""Seconds after which a run is judged as it stands: longer than anything may be late."""
LOOK = 0.1
"""Seconds between two looks at the tables, and between two tries of a caller."""

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T | None]]) -> T:
    """Look again until there is something to see; raises TimeoutError after `PATIENCE`."""
    clock = asyncio.get_running_loop().time
    due = clock()

    async def seen() -> T | None:
        nonlocal due
        if clock() < due:
            return None
        found = await look()
        due = clock() + LOOK
        return found

    return await eventually(seen, PATIENCE)


async def passed(seconds: float) -> None:
    """Wait until so much time has passed."""
    clock = asyncio.get_running_loop().time
    end = clock() + seconds

    async def look() -> bool | None:
        return clock() >= end or None

    await eventually(look, seconds + PATIENCE)
