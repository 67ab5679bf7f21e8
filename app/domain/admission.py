"""What may be sent when: the account's limits, and what each answer to a create teaches of it.

A trouble belongs to a pair first, a client and a model (see `breaker`). Only what is the account's
own holds the account at once: too many calls, key or credits refused, kie.ai not reached. Other
troubles hold it once they are spread: over models, and over clients where several are active.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self, TypeVar
from uuid import UUID

from app.domain.submission import Accepted, Fault, Outcome, Refused, Unknown, Unsent
from app.domain.task import TOO_LARGE


class HoldReason(StrEnum):
    """Why a task waits in the queue."""

    ADMISSION_PAUSED = "admission_paused"
    """An operator has paused everything."""
    DATABASE_RESTORED = "database_restored"
    """PostgreSQL has lost commits, or is not the one that was known: a person has to look."""
    DATABASE_MOVING = "database_moving"
    """An operator has announced that the database is being moved."""
    DATABASE_CHANGED = "database_changed"
    """PostgreSQL was restarted or failed over: every process looks first whether it lost any."""
    CLIENT_PAUSED = "client_paused"
    """An operator has paused its client."""
    KIE_ACCOUNT = "kie_account"
    """kie.ai refuses the gateway's key or credits."""
    KIE_BUSY = "kie_busy"
    """kie.ai said: too many calls, or, of a model, maintenance."""
    KIE_UNREACHABLE = "kie_unreachable"
    """No connection, or something on the way that answers in kie.ai's place."""
    KIE_UNANSWERED = "kie_unanswered"
    """Creates were sent, and no answer, several in a row, said what became of them."""
    RUNNING_LIMIT = "running_limit"
    """As many tasks run as the account may have."""
    CLIENT_RUNNING_LIMIT = "client_running_limit"
    """As many of its client's run as may, while others are there or wait."""
    CREATE_LIMIT = "create_limit"
    """As many were created of late as the account may create."""


class Call(StrEnum):
    """The kinds of calls whose number is limited."""

    CREATE = "create"
    QUERY = "query"
    DOUBT = "doubt"
    """A query that a callback caused, beyond a task's first."""


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
    running_share: float = 0.9
    """What one client may have of these while others are enabled, where it has none of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBounds:
    """What one client may have queued, where it has no bounds of its own."""

    tasks: int = 10_000
    bytes: int = 2**30
    """Of the tasks' inputs."""


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
"""The reasons for which the account or a pair is held, and how patiently it is probed."""

BRAKES = (
    HoldReason.DATABASE_RESTORED,
    HoldReason.ADMISSION_PAUSED,
    HoldReason.DATABASE_MOVING,
    HoldReason.DATABASE_CHANGED,
)
"""The reasons for which nothing at all is sent, not even a probe; the first counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A client and a model: the least that can be in trouble by itself."""

    client_id: UUID
    model: str


# -- what an answer is about

_ACCOUNT_TROUBLES: Mapping[Fault, HoldReason] = {
    Fault.BUSY: HoldReason.KIE_BUSY,
    Fault.ACCOUNT: HoldReason.KIE_ACCOUNT,
}
_PAIR_TROUBLES: Mapping[Fault, HoldReason] = {
    Fault.MAINTENANCE: HoldReason.KIE_BUSY,
    Fault.PROXY: HoldReason.KIE_UNREACHABLE,
}


def account_trouble(outcome: Outcome) -> HoldReason | None:
    """Return what holds the account at once, whoever met it; None: the answer does not."""
    match outcome:
        case Refused(fault=fault):
            return _ACCOUNT_TROUBLES.get(fault)
        case Unsent(late=False):
            return HoldReason.KIE_UNREACHABLE
        case _:
            return None


def pair_trouble(outcome: Outcome) -> HoldReason | None:
    """Return the trouble that may be one client's with one model; None: the answer shows none.

    What a proxy finds too large is one task's trouble: the next may be smaller.
    """
    match outcome:
        case Refused(fault=Fault.PROXY, code=code) if code == TOO_LARGE:
            return None
        case Refused(fault=fault):
            return _PAIR_TROUBLES.get(fault)
        case Unknown():
            return HoldReason.KIE_UNANSWERED
        case _:
            return None


def shows_kie_works(outcome: Outcome) -> bool:
    """Tell whether kie.ai took the request in and judged it, for or against."""
    return isinstance(outcome, Accepted) or (
        isinstance(outcome, Refused) and outcome.fault is Fault.REQUEST
    )


# -- what it teaches of the account

FAILURES_IN_A_ROW = 3
"""So many, of several pairs and with no success between, are no accident of one of them."""
SEVERAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Troubles of pairs in a row, with no success between; counted as far as it matters."""

    failures: int = 0
    clients: frozenset[UUID] = frozenset()
    models: frozenset[str] = frozenset()

    def with_one_more(self, pair: Pair) -> Self:
        return replace(
            self,
            failures=min(self.failures + 1, FAILURES_IN_A_ROW),
            clients=_with_one_more(self.clients, pair.client_id),
            models=_with_one_more(self.models, pair.model),
        )

    def is_spread(self, *, alone: bool) -> bool:
        """Tell whether it is the account's trouble; `alone`: no other client is active.

        Where others are, one client's models prove nothing: it may have misspelt them all.
        """
        return (
            self.failures >= FAILURES_IN_A_ROW
            and len(self.models) >= SEVERAL
            and (alone or len(self.clients) >= SEVERAL)
        )


Found = TypeVar("Found")


def _with_one_more(found: frozenset[Found], one: Found) -> frozenset[Found]:
    return found if len(found) >= SEVERAL else found | {one}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How the account stands."""

    hold_reason: HoldReason | None = None
    hold_tries: int = 0
    """Probes that failed in a row, the first trouble included."""
    hold_client_id: UUID | None = None
    """Only this client met the trouble: the hold is void as soon as another one has work."""
    run: Run = Run()


FREE = Condition()


def condition_after(
    before: Condition, outcome: Outcome, pair: Pair, *, probed: bool, alone: bool
) -> Condition | None:
    """Say how the account stands after an attempt of the pair's ended so; None: it taught nothing.

    `probed`: the attempt began after the hold did. What was under way before proves nothing of it:
    neither that the trouble is over nor that it goes on. `alone`: no other client is active.

    Every hold ends with a create that is accepted. Only that ends `kie_account`: it alone shows
    that there are credits. All others end as well with a request that kie.ai refuses for what is in
    it: it was reached, it answers, and it has room for another call. A probe that shows neither is
    made again after the same wait; after a longer one where it met the hold's own trouble.
    """
    held = before.hold_reason
    if held is not None and not probed:
        return None
    after = _after(before, outcome, pair, alone=alone)
    return None if held is None and after == before else after


def _after(before: Condition, outcome: Outcome, pair: Pair, *, alone: bool) -> Condition:
    trouble = account_trouble(outcome)
    if before.hold_reason is HoldReason.KIE_ACCOUNT:
        if isinstance(outcome, Accepted):
            return FREE
        return _held_at_once(before, trouble) if trouble is before.hold_reason else before
    if shows_kie_works(outcome):
        return FREE
    if trouble is not None:
        return _held_at_once(before, trouble)
    if (trouble := pair_trouble(outcome)) is not None:
        return _after_failure(before, trouble, pair, alone=alone)
    return before


def _held_at_once(before: Condition, reason: HoldReason) -> Condition:
    tries = before.hold_tries + 1 if before.hold_reason is reason else 1
    return replace(before, hold_reason=reason, hold_tries=tries, hold_client_id=None)


def _after_failure(before: Condition, trouble: HoldReason, pair: Pair, *, alone: bool) -> Condition:
    run = before.run.with_one_more(pair)
    if not run.is_spread(alone=alone):
        return replace(before, run=run)
    was_everybodys = before.hold_reason is not None and before.hold_client_id is None
    one_clients = len(run.clients) == 1 and not was_everybodys
    return Condition(
        hold_reason=before.hold_reason or trouble,
        hold_tries=before.hold_tries + 1,
        hold_client_id=pair.client_id if one_clients else None,
        run=run,
    )


def is_throttled(outcome: Outcome) -> bool:
    """Tell whether kie.ai counts more calls than we sent: others use the account too."""
    return isinstance(outcome, Refused) and outcome.fault is Fault.BUSY


STEP_ASIDE_AFTER = 2
"""Refusals of one task in a row: maintenance can be one model's, and the next task another's."""
