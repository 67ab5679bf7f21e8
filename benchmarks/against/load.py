"""Open-loop load: each request has its instant, whatever became of those before it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Shot:
    """One request; both instants on the machine's monotonic clock, in seconds."""

    intended: float
    ended: float
    outcome: Any

    @property
    def latency(self) -> float:
        """Seconds from the intended start: a server that falls behind cannot hide it."""
        return self.ended - self.intended


async def open_loop(
    items: Sequence[Item], rate: float, act: Callable[[Item], Awaitable[object]]
) -> list[Shot]:
    """Begin `act` for each item, `rate` a second, and wait for all; raises what they raise."""
    began = time.monotonic() + 0.05
    return list(
        await asyncio.gather(
            *(_shot(item, began + number / rate, act) for number, item in enumerate(items))
        )
    )


async def _shot(item: Item, intended: float, act: Callable[[Item], Awaitable[object]]) -> Shot:
    await asyncio.sleep(max(0.0, intended - time.monotonic()))
    outcome = await act(item)
    return Shot(intended, time.monotonic(), outcome)


async def closed_loop(
    items: Sequence[Item], sides: int, act: Callable[[Item], Awaitable[object]]
) -> list[Shot]:
    """Work through the items, so many at a time, without a pause."""
    left = iter(items)

    async def one() -> list[Shot]:
        return [await _shot(item, time.monotonic(), act) for item in left]

    return [shot for done in await asyncio.gather(*(one() for _ in range(sides))) for shot in done]
