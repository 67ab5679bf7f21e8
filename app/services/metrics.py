"""Telling how this process is: its counts, and what the database holds."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from app.domain.admission import Limits
from app.domain.retention import Retention
from app.metrics import Metrics
from app.services.health import Health
from app.services.limits.under_way import UnderWay
from app.store.backlog import Backlog, read_backlog
from app.store.connections.engine import Connection, Pools
from app.store.tasks.room import Room, read_room

Found = TypeVar("Found")

FRESH = 5.0
"""Seconds for which one look at the database answers every scrape."""

SHARED = 1.0
"""Seconds for which one page answers every scrape."""

MEASURED = 60.0
"""Seconds for which the sizes of tables are taken as they were."""

PATIENCE = 3.0
"""Seconds for that look: Prometheus waits 10 for the whole page."""

log = structlog.get_logger(__name__)


class MetricsPage:
    """Writes `/metrics`, whatever ails the database."""

    def __init__(
        self,
        pools: Pools,
        under_way: UnderWay,
        health: Health,
        metrics: Metrics,
        monotonic: Callable[[], float],
        limits: Limits,
        retention: Retention,
    ) -> None:
        self._pools = pools
        self._under_way = under_way
        self._health = health
        self._metrics = metrics
        self._monotonic = monotonic
        self._limits = limits
        self._retention = retention
        self._room: Room | None = None
        self._measured_at: float | None = None
        self._looking = asyncio.Lock()
        self._backlog: Backlog | None = None
        self._read_at: float | None = None
        self._writing = asyncio.Lock()
        self._page = b""
        self._written_at: float | None = None

    async def page(self) -> bytes:
        """Return everything in Prometheus's text format, as of the last second.

        All who ask meanwhile wait for the same page: anybody may ask, and writing it takes
        milliseconds of which nobody else has any.
        """
        async with self._writing:
            now = self._monotonic()
            if self._written_at is None or now - self._written_at >= SHARED:
                self._page = await self._write()
                self._written_at = self._monotonic()
            return self._page

    async def _write(self) -> bytes:
        found = await self.backlog()
        if found is None:
            self._metrics.show_database_away()
        else:
            self._show(found)
        await self._show_room()
        self._metrics.show_loops(self._health.silences(), self._health.stuck())
        self._metrics.show_pool(checked_out=self._pools.checked_out, size=self._pools.size)
        under_way = self._under_way.total
        self._metrics.show_under_way(requests=under_way.requests, size=under_way.size)
        return self._metrics.page()

    def _show(self, found: Backlog) -> None:
        tasks = {str(state): count for state, count in found.tasks.items()}
        self._metrics.show_tasks(tasks, found.oldest_queued, found.overdue)
        self._metrics.show_troubled_urls(found.troubled_urls)
        self._metrics.show_feed(found.overdue["number"])
        self._metrics.show_admission(
            {str(reason) for reason in found.held},
            {str(reason): count for reason, count in found.held_pairs.items()},
            slots_free=found.slots_free,
            seats_free=found.seats_free,
            set_aside=found.parked,
        )

    async def _show_room(self) -> None:
        """Show how much is kept, as of the last minute."""
        found = await self.room()
        if found is None:
            return
        oldest = {"task": found.oldest_task, "raw": found.oldest_raw}
        bounds = {"task": self._retention.tasks, "raw": self._retention.raw}
        lag = {
            kind: 0.0 if (bound := bounds[kind]) is None else max(0.0, age - bound)
            for kind, age in oldest.items()
        }
        self._metrics.show_room(found.bytes, oldest, lag)

    async def room(self) -> Room | None:
        """Return what is kept, as of the last `MEASURED` seconds; None: the database did not say.

        Who asks meanwhile has the last answer.
        """
        now = self._monotonic()
        if self._measured_at is None or now - self._measured_at >= MEASURED:
            self._measured_at = now
            self._room = await self._looked(read_room)
        return self._room

    async def backlog(self) -> Backlog | None:
        """Return what the database held within the last `FRESH` seconds; None: it did not say."""
        async with self._looking:
            now = self._monotonic()
            if self._read_at is None or now - self._read_at >= FRESH:
                self._backlog = await self._looked(
                    lambda connection: read_backlog(connection, self._limits)
                )
                self._read_at = now
            return self._backlog

    async def _looked(self, look: Callable[[Connection], Awaitable[Found]]) -> Found | None:
        try:
            async with asyncio.timeout(PATIENCE), self._pools.working.read() as connection:
                return await look(connection)
        except Exception as error:  # noqa: BLE001  # a wrong schema too: the rest is shown anyhow
            log.warning("metrics.no_backlog", error=type(error).__name__)
            return None
