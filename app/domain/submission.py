"""How one createTask call can end: four values, never an exception.

What counts as which stands in `app/kie/wire.py`; what follows from each in `app/domain/task.py`.
"""

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Whose fault a refusal is; every one of them proves that no task was created."""

    REQUEST = "request"
    """The request itself: sending it again would be refused again."""
    BUSY = "busy"
    """Too many calls from this account: the same request may be sent later."""
    MAINTENANCE = "maintenance"
    """The model is out of service for now: the same request may be sent later."""
    PROXY = "proxy"
    """Not kie.ai's word, but a page of something on the way: it may be sent later."""
    ACCOUNT = "account"
    """The gateway's own key or credits: nothing can be sent until an operator acts."""
    FILE = "file"
    """A file that the task names has expired: the gateway itself sends nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """kie.ai has the task, and bills it."""

    kie_task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """kie.ai said no in so many words: nothing was created, nothing is billed."""

    fault: Fault
    code: str
    """kie.ai's envelope code as text, or the HTTP status where there was no envelope."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """Proved not to have left this process: names, TCP or TLS failed, or it was too late."""

    reason: str
    late: bool = False
    """Only we were too slow: nothing is wrong on the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """The request may have arrived and nobody said no: it must never be sent again."""

    reason: str
    message: str | None = None
    """kie.ai's own words, where it answered and they prove nothing; None: the answer is lost."""
    kie_task_id: str | None = None
    """The id that the answer named all the same: to be asked about."""


Outcome = Accepted | Refused | Unsent | Unknown


def message_of(outcome: Outcome) -> str | None:
    """Return what kie.ai or the network said; None: it is accepted."""
    match outcome:
        case Refused(message=message):
            return message
        case Unsent(reason=reason) | Unknown(reason=reason):
            return reason
        case Accepted():
            return None


def named_id(outcome: Outcome) -> str | None:
    """Return kie.ai's id where the answer named one, accepted or not."""
    return outcome.kie_task_id if isinstance(outcome, Accepted | Unknown) else None


_NOT_KIES = frozenset({Fault.PROXY, Fault.FILE})
"""Refusals that kie.ai has no part in."""


def words_of(outcome: Outcome) -> str | None:
    """Return kie.ai's own words; None: it said nothing, or something on the way spoke."""
    match outcome:
        case Refused(fault=fault, message=message) if fault not in _NOT_KIES:
            return message
        case Unknown(message=message):
            return message
        case _:
            return None


def with_code(outcome: Outcome) -> str | None:
    """Return what was said, with kie.ai's code before it: operators look it up."""
    message = message_of(outcome)
    return f"{outcome.code}: {message}" if isinstance(outcome, Refused) else message


def label(outcome: Outcome) -> str:
    """Name it for the metrics."""
    match outcome:
        case Accepted():
            return "accepted"
        case Refused(fault=fault):
            return f"refused_{fault}"
        case Unsent():
            return "unsent"
        case Unknown():
            return "unknown"
