"""The terms of a task's life: durations and choices that services are given."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from app.domain.admission import Limits, QueueBounds


class Confirm(StrEnum):
    """When a callback's word is checked by a query: its signature does not cover its body."""

    AUTO = "auto"
    """`before` without HMAC keys, `after` with them."""
    BEFORE = "before"
    AFTER = "after"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Seconds, but for `confirm`, `limits` and `unknown_cost`."""

    submit_within: float = 3600
    """The longest time in the queue, where a create does not say otherwise."""
    task_expires_after: float = 3600
    """The longest time in `running`."""
    unconfirmed_expires_after: float = 3600
    """The longest time in `unconfirmed`."""
    confirm: Confirm = Confirm.AFTER
    confirm_after: float = 2
    """How long after the settlement the confirming question is asked."""
    lease: float = 30
    """How long a process may be silent before others take its work for lost."""
    callbacks_expected: bool = True
    """Whether kie.ai is told to call back; without, the gateway polls."""
    limits: Limits = field(default_factory=Limits)
    queue: QueueBounds = field(default_factory=QueueBounds)
    archives: bool = False
    """Whether there is an archive that results are copied into."""
    call: float = 30
    """The longest that one call to kie.ai may take."""
    unknown_cost: Decimal | None = None
    """Credits that are reserved for a model that has not cost anything yet; None: unknown."""
