"""Telling callers: what is told, how often it is tried, and when that ends."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.domain.dialect import Dialect
from app.domain.task import FINAL, State


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    """The last attempt of the schedule failed."""
    DISABLED = "disabled"
    """Its URL is not called until it is enabled: it answered 410, or has failed for days."""
    UNDELIVERABLE = "undeliverable"
    """It can never be made: its first attempt showed that there is nowhere to send it."""


class DisableReason(StrEnum):
    """Why a URL is not called any more."""

    GONE = "gone"
    """It answered 410."""
    FAILING = "failing"
    """Nothing but failures for `FAILING_FOR`."""


class Obstacle(StrEnum):
    """Why an attempt cannot be made, whatever its receiver does."""

    URL = "url"
    """No http or https URL, of a host that is forbidden, or not among the client's."""
    ADDRESS = "address"
    """All that the host's name stands for is forbidden."""
    NAME = "name"
    """The host's name does not exist."""
    PLACEHOLDER = "placeholder"
    """The host is documentation's, copied with an example: nobody there waits for results."""


HOPELESS: Mapping[Dialect, frozenset[Obstacle]] = {
    # Its URL was vetted when the task was created: what is wrong with it now is a name server's
    # doing, or a setting's, and may be put right within the schedule.
    Dialect.NATIVE: frozenset(),
    # kie.ai takes any text for a URL, and so do we: most of these could never be called.
    Dialect.KIE: frozenset(Obstacle),
}
"""What ends a delivery at its first attempt. Later on a name was known before, and may come back.
"""


class EventType(StrEnum):
    """What a client may be told of."""

    RUNNING = "task.running"
    SUCCEEDED = "task.succeeded"
    FAILED = "task.failed"
    EXPIRED = "task.expired"
    CANCELED = "task.canceled"
    UPDATED = "task.updated"
    """Of a task that is told of already: its credits, duration or times became known."""
    ARCHIVED = "task.archived"
    """All files of its result are in the archive, or given up."""
    BUDGET_THRESHOLD = "budget.threshold"
    """Of no task: so much of a budget of the client's is spent."""


EVENTS: Mapping[State, EventType] = {
    State.RUNNING: EventType.RUNNING,
    State.SUCCEEDED: EventType.SUCCEEDED,
    State.FAILED: EventType.FAILED,
    State.EXPIRED: EventType.EXPIRED,
    State.CANCELED: EventType.CANCELED,
}
"""The states whose coming is an event."""

USUAL_EVENTS = tuple(event for state, event in EVENTS.items() if state in FINAL)
"""What a client is told of unless it chooses otherwise: every rest."""

GONE = 410

MAX_RETRY_AFTER = 24 * 3600.0
"""A receiver may ask for patience, within reason."""

JITTER = 0.1
"""Of each wait, added at most, so that what failed together does not come back together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """What follows an attempt."""

    state: DeliveryState
    wait: float | None = None
    """Seconds until the next attempt, while it is pending."""
    disables: DisableReason | None = None
    """Why the URL is not to be called any more."""

    @property
    def is_hopeless(self) -> bool:
        """Whether it can never be made: that says nothing of its host."""
        return self.state is DeliveryState.UNDELIVERABLE


_PLACEHOLDER = re.compile(
    r"(?:[^:]*\.)?(?:example\.(?:com|net|org)|[^.:]+\.(?:example|invalid)"
    r"|your[-_]?(?:domain|app|server|site|website|host|callback|api|company)[^.:]*\.[^:]+)(?::\d+)?",
    re.IGNORECASE,
)
"""The names that RFC 2606 keeps for documentation, and those on the vendor's own pages."""


def is_placeholder(host: str) -> bool:
    """Tell whether a host, with or without its port, is one that examples are written with."""
    return _PLACEHOLDER.fullmatch(host) is not None


def is_hopeless(obstacle: Obstacle | None, dialect: Dialect, tries: int) -> bool:
    """Tell whether attempt number `tries` showed that no other can succeed."""
    if obstacle is Obstacle.NAME and tries > 1:
        return False
    return obstacle in HOPELESS[dialect]


def after_attempt(
    status: int | None,
    tries: int,
    schedule: Sequence[float],
    *,
    retry_after: float | None,
    share: float,
    hopeless: bool = False,
) -> After:
    """Say what follows attempt number `tries`; `status` None: there was no answer.

    2xx is success, 410 ends it for good (Standard Webhooks), all else, 3xx too, is tried again.
    `schedule`: the wait before each attempt, in seconds. `share` in [0, 1): the caller's draw.
    `hopeless`: it was not even sent, and never can be.
    """
    if hopeless:
        return After(state=DeliveryState.UNDELIVERABLE)
    if status is not None and 200 <= status < 300:  # noqa: PLR2004  # HTTP's own classes
        return After(state=DeliveryState.DELIVERED)
    if status == GONE:
        return After(state=DeliveryState.DISABLED, disables=DisableReason.GONE)
    if tries >= len(schedule):
        return After(state=DeliveryState.EXHAUSTED)
    wait = schedule[tries] * (1 + JITTER * share)
    if retry_after is not None:
        wait = max(wait, min(retry_after, MAX_RETRY_AFTER))
    return After(state=DeliveryState.PENDING, wait=wait)


FAILING_FOR = 5 * 24 * 3600.0
"""Seconds of nothing but failures after which a URL is disabled: longer than one schedule."""

EXHAUSTED_ENOUGH = 2
"""Deliveries whose last attempt failed in that time: one may have met something of its own."""


def is_dead(seconds: float, exhausted: int) -> bool:
    """Tell whether a URL that has failed for so long, and so many deliveries, is to be disabled."""
    return seconds >= FAILING_FOR and exhausted >= EXHAUSTED_ENOUGH


TROUBLED_AFTER = 3
"""Failures in a row after which a client's URL is called by one attempt at a time."""

SLOW_AFTER = 5.0
"""Seconds of an attempt, in the mean, beyond which a client's URL counts as slow."""

SLOW_PLACES = 2
"""Attempts at a slow URL at once, whatever it answers in the end."""

SLOW_SHARE = 0.3
"""How much the latest attempt counts in the mean: two slow ones in a row make a URL slow, and a
few quick ones make it quick again."""

NOTED_FROM = 1.0
"""Seconds from which an attempt, or the mean, is worth a row."""

AGAIN_COUNTS = 4
"""First attempts for each retry or repetition, while both wait for places."""


def webhook_id(delivery: str) -> str:
    """Return the stable id that a receiver tells repetitions by (Standard Webhooks)."""
    return f"msg_{delivery}"
