"""Places in lists and feeds, and what a list is narrowed to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.domain.delivery import DeliveryState
from app.domain.task import FailClass, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a list of tasks is narrowed to; nothing given: every task of the client's."""

    states: Sequence[State] = ()
    model: str | None = None
    fail_class: FailClass | None = None
    retryable: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which of a client's deliveries are meant; nothing given: all."""

    state: DeliveryState | None = None
    task_id: UUID | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a list of tasks, newest first, a page ended."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPlace:
    """A place in a feed: everything up to it has been seen. The default is the beginning."""

    position: int = 0
    token: int = 0
    """What tells the event there from one that has its position in another copy of the data."""
