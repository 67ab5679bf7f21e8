"""What each client may have repeated, by this process: the rest waits, and is told how long."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from app.domain.errors import RateLimitedError
from app.domain.limits import Limited
from app.domain.redeliveries import grant
from app.metrics import Metrics
from app.services.limits.refusals import LimitRefusals

TIDY_FROM = 1000
"""Clients from which those whose bucket is full are forgotten."""


@dataclass(slots=True)
class Spending:
    """What may be repeated, and what was."""

    granted: int
    spent: int = 0


class Budget:
    """Counts what clients have repeated. Several processes grant as much each."""

    def __init__(self, per_minute: int, metrics: Metrics) -> None:
        self._per_minute = per_minute
        self._now = metrics.now
        self._full_at: dict[UUID, float] = {}
        self._refusals = LimitRefusals(metrics)

    @contextmanager
    def spending(self, client_id: UUID, wanted: int) -> Iterator[Spending]:
        """Grant up to `wanted` repetitions; what was not spent at the end is given back.

        Raises `RateLimitedError` where there is none.
        """
        now = self._now()
        granted = grant(self._full_at.get(client_id, now), now, self._per_minute, wanted)
        if not granted.count:
            raise self._refused(client_id, granted.retry_after)
        self._full_at[client_id] = now + granted.full_in
        spending = Spending(granted.count)
        try:
            yield spending
        finally:
            unspent = spending.granted - spending.spent
            self._full_at[client_id] -= unspent * 60.0 / self._per_minute
            self._tidy()

    def _refused(self, client_id: UUID, retry_after: float) -> RateLimitedError:
        self._refusals.note(Limited.REDELIVERIES, client_id)
        detail = (
            f"Your client repeats more than {self._per_minute} deliveries per minute: go on after "
            "the seconds that Retry-After says."
        )
        return RateLimitedError(detail, retry_after=retry_after)

    def _tidy(self) -> None:
        if len(self._full_at) > TIDY_FROM:
            now = self._now()
            self._full_at = {one: at for one, at in self._full_at.items() if at > now}
