"""What may be sent when: the account's limits, and what each answer to a create teaches about it.

One trouble holds the whole account: if kie.ai is away for one task, it is away for the next.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from app.domain.submission import Accepted, Fault, Outcome, Refused, Unknown, Unsent


class HoldReason(StrEnum):
    """Why a task waits in the queue."""

    ADMISSION_PAUSED = "admission_paused"
    """An operator has paused everything."""
    CLIENT_PAUSED = "client_paused"
    """An operator has paused its client."""
    KIE_ACCOUNT = "kie_account"
    """kie.ai refuses the gateway's key or credits."""
    KIE_BUSY = "kie_busy"
    """kie.ai said: too many calls, or maintenance."""
    KIE_UNREACHABLE = "kie_unreachable"
    KIE_UNANSWERED = "kie_unanswered"
    """Creates were sent and their answers lost, several in a row."""
    RUNNING_LIMIT = "running_limit"
    """As many tasks run as the account may have."""
    CREATE_LIMIT = "create_limit"
    """As many were created of late as the account may create."""


class Call(StrEnum):
    """The kinds of calls whose number is limited."""

    CREATE = "create"
    QUERY = "query"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """So many calls in any window of so many seconds."""

    calls: int
    window: float

    @classmethod
    def per_second(cls, rate: float) -> Self:
        """Spread a rate that need not be whole: 2.5 a second are 2 calls in any 0.8 s."""
        calls = max(1, math.floor(rate))
        return cls(calls=calls, window=calls / rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the account may do, over all replicas."""

    creates: Limit = Limit(calls=20, window=10.0)
    """kie.ai's documentation: 20 creates in any 10 s; over it 429, rejected and not queued."""
    queries: Limit = Limit(calls=10, window=1.0)
    running: int = 100


UNKNOWNS_IN_A_ROW = 3
"""After so many lost answers kie.ai's front door counts as out of order: the rest of the queue
should not become `unconfirmed` one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Seconds between probes: doubling from the first to the ceiling."""

    first: float
    ceiling: float


PAUSES: Mapping[HoldReason, Pause] = {
    HoldReason.KIE_BUSY: Pause(first=1, ceiling=60),
    HoldReason.KIE_UNREACHABLE: Pause(first=1, ceiling=60),
    HoldReason.KIE_UNANSWERED: Pause(first=5, ceiling=300),
    HoldReason.KIE_ACCOUNT: Pause(first=5, ceiling=300),
}
"""The reasons for which the account holds itself, and how patiently it probes."""

_TROUBLES: Mapping[Fault, HoldReason] = {
    Fault.BUSY: HoldReason.KIE_BUSY,
    Fault.MAINTENANCE: HoldReason.KIE_BUSY,
    Fault.PROXY: HoldReason.KIE_UNREACHABLE,
    Fault.ACCOUNT: HoldReason.KIE_ACCOUNT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How the account stands."""

    hold_reason: HoldReason | None = None
    hold_tries: int = 0
    """Probes that failed in a row, the first trouble included."""
    unknowns: int = 0
    """Lost answers in a row."""


FREE = Condition()


def condition_after(before: Condition, outcome: Outcome, *, probed: bool) -> Condition:
    """Say how the account stands after an attempt ended so.

    `probed`: the attempt began after the hold did. What was under way before proves nothing of it:
    neither that the trouble is over nor that it goes on.
    """
    if before.hold_reason is not None and not probed:
        return before
    match outcome:
        case Accepted() | Refused(fault=Fault.REQUEST):
            return FREE
        case Refused(fault=fault):
            return _held(before, _TROUBLES[fault], unknowns=0)
        case Unsent():
            return _held(before, HoldReason.KIE_UNREACHABLE, unknowns=before.unknowns)
        case Unknown():
            return _after_unknown(before)


def _after_unknown(before: Condition) -> Condition:
    unknowns = before.unknowns + 1
    if unknowns >= UNKNOWNS_IN_A_ROW:
        return _held(before, HoldReason.KIE_UNANSWERED, unknowns=unknowns)
    if before.hold_reason is not None:
        return _held(before, before.hold_reason, unknowns=unknowns)
    return Condition(unknowns=unknowns)


def _held(before: Condition, reason: HoldReason, *, unknowns: int) -> Condition:
    tries = before.hold_tries + 1 if before.hold_reason is reason else 1
    return Condition(hold_reason=reason, hold_tries=tries, unknowns=unknowns)


def is_throttled(outcome: Outcome) -> bool:
    """Tell whether kie.ai counts more calls than we sent: others use the account too."""
    return isinstance(outcome, Refused) and outcome.fault is Fault.BUSY


STEP_ASIDE_AFTER = 2
"""Refusals of one task in a row: maintenance can be one model's, and the next task another's."""
