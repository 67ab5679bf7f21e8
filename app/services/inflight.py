"""Work that runs beside its caller: nobody who hangs up cuts it off, and shutdown waits for it."""

import asyncio
from collections.abc import Coroutine

import structlog

from app.services.limits.under_way import resting

log = structlog.get_logger(__name__)


class InFlightWork:
    """One piece of work under way."""

    def __init__(self, task: "asyncio.Task[None]") -> None:
        self._task = task

    async def ended(self, *, within: float) -> bool:
        """Wait at most `within` seconds; whoever waits and gives up leaves the work as it is."""
        with resting():
            done, _ = await asyncio.wait({self._task}, timeout=within)
        return bool(done)


class InFlight:
    """The errands of one kind that are under way in this process."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    def start(self, work: Coroutine[None, None, None], name: str) -> InFlightWork:
        """Start it; an error that nobody expected is logged, and the row's lease runs out."""
        task = asyncio.create_task(work, name=name)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return InFlightWork(task)

    async def drain(self) -> None:
        """Wait until all have ended."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("errand.broken", errand=task.get_name(), exc_info=error)
