"""Work that runs beside its caller: nobody who hangs up cuts it off, and shutdown waits for it."""

import asyncio
from collections.abc import Coroutine
from contextvars import Context, copy_context
from typing import Any, Generic, TypeVar

import structlog

from app.services.limits.under_way import CURRENT, resting
from app.store.connections.sharing import ASKING

log = structlog.get_logger(__name__)


Result = TypeVar("Result")


class InFlightWork(Generic[Result]):
    """One piece of work under way."""

    def __init__(self, task: "asyncio.Task[Result]") -> None:
        self._task = task

    @property
    def result(self) -> Result | None:
        """What it has come to; None: it is under way, or broken."""
        done = self._task.done() and not self._task.cancelled()
        return self._task.result() if done and self._task.exception() is None else None

    async def ended(self, *, within: float) -> bool:
        """Wait at most `within` seconds; whoever waits and gives up leaves the work as it is."""
        with resting():
            done, _ = await asyncio.wait({self._task}, timeout=within)
        return bool(done)


class InFlight:
    """The errands of one kind that are under way in this process."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    def start(self, work: Coroutine[None, None, Result], name: str) -> InFlightWork[Result]:
        """Start it; an error that nobody expected is logged, and the row's lease runs out."""
        task = asyncio.create_task(work, name=name, context=_of_no_request())
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return InFlightWork(task)

    async def drain(self) -> None:
        """Wait until all have ended."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("errand.broken", errand=task.get_name(), exc_info=error)


def _of_no_request() -> Context:
    """Return a context for work that outlives its request: it waits for no turn of the caller's."""
    context = copy_context()
    context.run(ASKING.set, None)
    context.run(CURRENT.set, None)
    return context
