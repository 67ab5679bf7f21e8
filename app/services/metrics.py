"""Telling how this process is: its counts, and what the database holds."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from app.domain.admission import Limits
from app.metrics import Metrics
from app.services.health import Health
from app.store import backlog
from app.store.account import room
from app.store.account.room import Room
from app.store.backlog import Census
from app.store.engine import Database

FRESH = 5.0
"""Seconds for which one look at the database answers every scrape."""

PATIENCE = 3.0
"""Seconds for that look: Prometheus waits 10 for the whole page."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the database."""

    census: Census
    room: Room

    @property
    def overdue(self) -> Mapping[str, float]:
        """By loop: for how many seconds the work that waits longest has been due."""
        own = {"submit": self.room.unused_for, "probe": self.room.unproved_for}
        return {**own, **self.census.overdue}


class MetricsPage:
    """Writes `/metrics`, whatever ails the database."""

    def __init__(
        self,
        database: Database,
        health: Health,
        metrics: Metrics,
        monotonic: Callable[[], float],
        limits: Limits,
    ) -> None:
        self._database = database
        self._health = health
        self._metrics = metrics
        self._monotonic = monotonic
        self._limits = limits
        self._looking = asyncio.Lock()
        self._census: Look | None = None
        self._looked_at: float | None = None

    async def page(self) -> bytes:
        """Write everything down in Prometheus's text format."""
        found = await self.census()
        if found is None:
            self._metrics.show_database_away()
        else:
            self._show(found)
        self._metrics.show_loops(self._health.silences(), self._health.stuck())
        self._metrics.show_pool(
            checked_out=self._database.checked_out, size=self._database.pool_size
        )
        return self._metrics.page()

    def _show(self, found: Look) -> None:
        tasks = {str(state): count for state, count in found.census.tasks.items()}
        self._metrics.show_tasks(tasks, found.census.oldest_queued, found.overdue)
        self._metrics.show_admission(
            {str(reason) for reason in found.room.held},
            slots_free=found.room.slots_free,
            seats_free=found.room.seats_free,
            set_aside=found.room.set_aside,
        )

    async def census(self) -> Look | None:
        """Return what the database held within the last `FRESH` seconds; None: it did not say."""
        async with self._looking:
            now = self._monotonic()
            if self._looked_at is None or now - self._looked_at >= FRESH:
                self._census = await self._look()
                self._looked_at = now
            return self._census

    async def _look(self) -> Look | None:
        try:
            async with asyncio.timeout(PATIENCE), self._database.read() as connection:
                return Look(
                    census=await backlog.take(connection),
                    room=await room.look(connection, self._limits),
                )
        except Exception as error:  # noqa: BLE001  # a wrong schema too: the rest is told anyhow
            log.warning("metrics.no_census", error=type(error).__name__)
            return None
