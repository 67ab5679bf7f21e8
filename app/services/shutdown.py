"""The end of this process: known to everything at the signal, and over by one deadline."""

import asyncio
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class Shutdown:
    """Whether this process is to end, and the seconds that are left for what is under way.

    `within` is the seconds from the beginning to the end, requests and sendings together.
    """

    def __init__(self, within: float, monotonic: Callable[[], float]) -> None:
        self.within = within
        self._monotonic = monotonic
        self._deadline: float | None = None
        self._begun = asyncio.Event()
        self._stops: list[Callable[[], None]] = []

    @property
    def begun(self) -> bool:
        return self._begun.is_set()

    def stops(self, stop: Callable[[], None]) -> None:
        """Have `stop` called as the end begins."""
        self._stops.append(stop)

    def begin(self) -> None:
        """Take nothing new from now on; a second time changes nothing."""
        if self.begun:
            return
        self._deadline = self._monotonic() + self.within
        self._begun.set()
        for stop in self._stops:
            stop()
        log.info("shutdown.begun", within=self.within)

    async def wait(self) -> None:
        """Wait until the end begins."""
        await self._begun.wait()

    @property
    def left(self) -> float:
        """The seconds until the deadline: all of them while the end has not begun."""
        if self._deadline is None:
            return self.within
        return max(0.0, self._deadline - self._monotonic())
