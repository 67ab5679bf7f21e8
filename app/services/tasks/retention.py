"""Deletes what is older than its retention: little at a time, by one process, with pauses.

Each step is a short transaction that waits for nobody's lock, and after a full one the loop rests
for longer than that took. So what has gathered for months goes while everything else goes on.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from app.domain.retention import Retention
from app.metrics import Metrics
from app.services.consequences import Consequences
from app.services.tasks.erasure import Erasure
from app.services.tasks.lifecycle import Lifecycle
from app.services.tasks.removal import Removal
from app.store.connections.engine import Connection
from app.store.files import uploads
from app.store.tasks import ageing, raw, tombstones

BATCH = 100
"""Rows of the step's own table in one transaction."""

REST = 20.0
"""Seconds of rest for each second that a turn with more to do has taken: so it deletes for
less than a twentieth of the time (`python -m benchmarks.retention`)."""

LEAST_REST = 0.05
"""Seconds."""

Step = Callable[[Connection, Consequences], Awaitable[int | None]]
Deleting = Callable[..., Awaitable[int]]


class Retainer:
    """Takes turns at deleting; all processes may, and one at a time does."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        removal: Removal,
        erasure: Erasure,
        retention: Retention,
        metrics: Metrics,
    ) -> None:
        self._lifecycle = lifecycle
        self._removal = removal
        self._erasure = erasure
        self._retention = retention
        self._metrics = metrics

    async def retain(self) -> float | None:
        """Take each step once; return seconds as a loop's turn does."""
        started = self._metrics.now()
        more = await self._erasure.resume() > 0
        for step in self._steps():
            done = await self._lifecycle.run(step)
            if done is None:
                return None  # another process has the turn
            more = more or done == BATCH
        if not more:
            return None
        return max(LEAST_REST, REST * (self._metrics.now() - started))

    def _steps(self) -> list[Step]:
        kept = self._retention
        steps: list[Step] = []
        if kept.tasks is not None:
            steps.append(partial(self._old, kept.tasks))
            steps.append(partial(self._own, "uploads", kept.tasks))
        if kept.raw is not None:
            steps += [partial(self._own, kind, kept.raw) for kind in _RAW]
        if kept.tombstones is not None:
            steps.append(partial(self._own, "tombstones", kept.tombstones))
        return steps

    async def _old(
        self, after: float, connection: Connection, consequences: Consequences
    ) -> int | None:
        return await self._removal.old(connection, consequences, after=after, limit=BATCH)

    async def _own(
        self, kind: str, after: float, connection: Connection, consequences: Consequences
    ) -> int | None:
        if not await ageing.is_our_turn(connection):
            return None
        done = await _DELETING[kind](connection, after=after, limit=BATCH)
        consequences.count(partial(self._metrics.deleted, kind, done))
        return done


_RAW: Mapping[str, Deleting] = {
    "callback_bodies": raw.empty_callbacks,
    "stray_callbacks": raw.delete_orphans,
    "delivery_bodies": raw.empty_deliveries,
}
"""By what the metric calls them. The strays come after: what is looked through is then theirs."""
_DELETING: Mapping[str, Deleting] = {
    **_RAW,
    "uploads": uploads.forget_old,
    "tombstones": tombstones.forget,
}
