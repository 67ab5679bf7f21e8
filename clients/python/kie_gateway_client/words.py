"""The words that the gateway uses for states and kinds; a word of a newer gateway is taken too."""

from enum import Enum
from typing import Any, TypeVar

from typing_extensions import Self

W = TypeVar("W", bound="Word")


class Word(str, Enum):
    """One of several words. What is not among them is kept as it came, and equals its text."""

    @classmethod
    def _missing_(cls, value: object) -> "Self | None":
        if not isinstance(value, str):
            return None
        made = str.__new__(cls, value)
        made._name_ = value
        made._value_ = value
        return made

    @property
    def is_known(self) -> bool:
        """False: it is younger than this client."""
        return self._value_ in type(self)._value2member_map_

    def __str__(self) -> str:
        return str.__str__(self)

    def __format__(self, spec: str) -> str:
        return str.__format__(str(self), spec)

    def __reduce_ex__(self, _: Any) -> tuple[type["Word"], tuple[str]]:  # noqa: ANN401
        return type(self), (self._value_,)


class State(Word):
    """Where a task stands."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    UNCONFIRMED = "unconfirmed"
    RUNNING = "running"
    EXPIRED = "expired"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        return self in FINAL


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELED, State.EXPIRED})
"""Waits end here. Late evidence may still change one of them: see `Task.version`."""


class FailSource(Word):
    """Who declared the failure."""

    KIE = "kie"
    GATEWAY = "gateway"


class FailClass(Word):
    """What kind of trouble a failure was."""

    CONTENT = "content"
    INPUT = "input"
    TIMEOUT = "timeout"
    PROVIDER = "provider"
    ACCOUNT = "account"
    GATEWAY = "gateway"
    UNKNOWN = "unknown"


class Source(Word):
    """Which way kie.ai's word came."""

    CALLBACK = "callback"
    QUERY = "query"


class HoldReason(Word):
    """Why a task waits in the queue."""

    ADMISSION_PAUSED = "admission_paused"
    DATABASE_RESTORED = "database_restored"
    DATABASE_MOVING = "database_moving"
    DATABASE_CHANGED = "database_changed"
    CLIENT_PAUSED = "client_paused"
    KIE_ACCOUNT = "kie_account"
    KIE_BUSY = "kie_busy"
    KIE_UNREACHABLE = "kie_unreachable"
    KIE_UNANSWERED = "kie_unanswered"
    RUNNING_LIMIT = "running_limit"
    CLIENT_RUNNING_LIMIT = "client_running_limit"
    CREATE_LIMIT = "create_limit"


class ArtifactState(Word):
    """Where a result file's copy stands."""

    WAITING = "waiting"
    STORED = "stored"
    FAILED = "failed"
    DELETING = "deleting"
    DELETED = "deleted"


class EventType(Word):
    """What a webhook is about."""

    RUNNING = "task.running"
    SUCCEEDED = "task.succeeded"
    FAILED = "task.failed"
    EXPIRED = "task.expired"
    CANCELED = "task.canceled"
    UPDATED = "task.updated"
    ARCHIVED = "task.archived"
    BUDGET_THRESHOLD = "budget.threshold"


class DeliveryState(Word):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    DISABLED = "disabled"
    UNDELIVERABLE = "undeliverable"


class DisableReason(Word):
    """Why a URL is not called any more."""

    GONE = "gone"
    FAILING = "failing"


class Verdict(Word):
    """What was made of kie.ai's statement."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    HELD = "held"
    LATE = "late"
    DISAGREED = "disagreed"
    UNVERIFIED = "unverified"
    STALE = "stale"
    UNMATCHED = "unmatched"
    UNREADABLE = "unreadable"


class Signature(Word):
    """What the signature of a statement is worth."""

    UNCHECKED = "unchecked"
    VALID = "valid"
    MISSING = "missing"
    WRONG = "wrong"
    STALE = "stale"


class Period(Word):
    """For how long a budget is to last."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class Mode(Word):
    """What happens to a create that a budget does not allow."""

    HARD = "hard"
    WARN = "warn"
