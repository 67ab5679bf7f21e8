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
