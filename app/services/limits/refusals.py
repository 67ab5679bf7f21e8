"""Clients that met one of their limits: by kind in the metrics, by client in the log."""

from collections.abc import Callable, Hashable

import structlog

from app.domain.limits import Limited
from app.log import Sampled
from app.metrics import Metrics

log = structlog.get_logger(__name__)


class LimitRefusals:
    """Counts them all, and logs one now and then for each client and limit."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told = Sampled(clock=metrics.now)

    def note(self, limited: Limited, client_id: Hashable, **about: object) -> None:
        """Note one more; `about` goes into the log line: a name, or figures."""
        self._metrics.limited(limited)
        suppressed = self._told.admit(f"{client_id} {limited}")
        if suppressed is not None:
            log.warning(
                "client.limited",
                client_id=str(client_id),
                kind=limited,
                suppressed=suppressed,
                **about,
            )


def noting(metrics: Metrics, limited: Limited) -> Callable[[Hashable], None]:
    """Return what notes one more of this kind, by whose it was."""
    refusals = LimitRefusals(metrics)
    return lambda whose: refusals.note(limited, whose)


def overloaded(metrics: Metrics) -> Callable[[Hashable], None]:
    """Return what counts and notes a request that was one too many for the process."""
    note_one = noting(metrics, Limited.OVERLOADED)

    def note(whose: Hashable) -> None:
        metrics.overloaded()
        note_one(whose)

    return note
