"""The life of a task: its states, the arrows between them, and what each arrow needs.

The table is the rule. `docs/decisions/0002-states.md` says why each state exists.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.domain.report import Progress
from app.domain.submission import Accepted, Fault, Outcome, Refused, Unknown, Unsent


class State(StrEnum):
    """Where a task stands."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    UNCONFIRMED = "unconfirmed"
    RUNNING = "running"
    EXPIRED = "expired"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class FailSource(StrEnum):
    """Who declared the failure."""

    KIE = "kie"
    GATEWAY = "gateway"


class Source(StrEnum):
    """Which way kie.ai's word came."""

    CALLBACK = "callback"
    QUERY = "query"


class Change(StrEnum):
    """What an event of a task's history tells of."""

    MOVED = "moved"
    FILLED = "filled"
    """Later evidence added what the end had lacked."""
    CORRECTED = "corrected"
    """kie.ai's record replaced what a callback had said."""
    ARCHIVED = "archived"
    """All its files are in the archive, or given up."""


class FailClass(StrEnum):
    """What kind of trouble a failure was; `app/domain/failure.py` has the table."""

    CONTENT = "content"
    INPUT = "input"
    TIMEOUT = "timeout"
    PROVIDER = "provider"
    ACCOUNT = "account"
    GATEWAY = "gateway"
    UNKNOWN = "unknown"


class FailCode(StrEnum):
    """The gateway's own reasons for an end (`fail_source: gateway`); see `docs/errors.md`."""

    SUBMIT_DEADLINE = "submit_deadline"
    OUTCOME_UNKNOWN = "outcome_unknown"
    NO_ANSWER = "no_answer"
    BY_OPERATOR = "failed_by_operator"
    FILE_EXPIRED = "file_expired"


ARROWS: Mapping[State, frozenset[State]] = {
    State.QUEUED: frozenset(
        # The last three where an earlier create turns up, which was not known to be taken; an
        # operator may fail it too.
        {State.SUBMITTING, State.CANCELED, State.UNCONFIRMED, State.RUNNING}
        | {State.SUCCEEDED, State.FAILED}
    ),
    State.SUBMITTING: frozenset(
        {State.RUNNING, State.QUEUED, State.UNCONFIRMED, State.SUCCEEDED, State.FAILED}
    ),
    State.UNCONFIRMED: frozenset(
        {State.RUNNING, State.QUEUED, State.SUCCEEDED, State.FAILED, State.EXPIRED}
    ),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.EXPIRED}),
    State.EXPIRED: frozenset({State.SUCCEEDED, State.FAILED}),
    # Only where the gateway declared the end on its own, or kie.ai's record says otherwise: see
    # `yields` and `overturns`.
    State.CANCELED: frozenset({State.SUCCEEDED, State.FAILED}),
    State.FAILED: frozenset({State.SUCCEEDED, State.FAILED}),
    State.SUCCEEDED: frozenset({State.FAILED}),
}
"""From each state, the states that it may move to. What is not here cannot happen."""

FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELED, State.EXPIRED})
"""Waits and streams end here, `finished_at` is set, the caller is told."""


class NoSuchArrowError(Exception):
    """A rule asked for a move that the table does not have: a defect, never a caller's fault."""


def created_at(task_id: UUID) -> float:
    """Read the instant in a task's id, a UUIDv7 (RFC 9562 section 5.7), in seconds since 1970."""
    return (task_id.int >> 80) / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the rules read of a task."""

    state: State
    attempt: int = 0
    kie_task_id: str | None = None
    fail_source: FailSource | None = None
    settled_by: Source | None = None
    confirmed: bool = False
    """kie.ai's record said the same."""
    priced: bool = False
    """Its credits are known."""
    may_turn: bool = False
    """It failed in a way that kie.ai was seen to take back."""
    held_for: float | None = None
    """Seconds since an end was reported that is still asked about; None: there is none."""
    unreached_for: float | None = None
    """Seconds since kie.ai gave an answer to that question; None: it answered the last one."""
    final_for: float | None = None
    """Seconds since it became final; None: it is open."""
    model: str | None = None
    traceparent: str | None = None


def move(standing: Standing, target: State, source: Source | None = None) -> State:
    """Return `target` when the table allows it; raises `NoSuchArrowError` otherwise.

    `source`: which way the report came that asks for it, where one does.
    """
    allowed = target in ARROWS[standing.state]
    if standing.state in FINAL and not yields(standing):
        allowed = allowed and overturns(standing, target, source)
    if not allowed:
        message = f"{standing.state} -> {target}"
        raise NoSuchArrowError(message)
    return target


def yields(standing: Standing) -> bool:
    """Tell whether authentic evidence may still settle this task.

    An end that kie.ai vouched for never yields; one that the gateway declared on its own does.
    """
    vouched = standing.state is State.SUCCEEDED or (
        standing.state is State.FAILED and standing.fail_source is not FailSource.GATEWAY
    )
    return not vouched


def overturns(standing: Standing, target: State, source: Source | None) -> bool:
    """Tell whether kie.ai's record may turn an end that kie.ai vouched for into another.

    It may where only a callback vouched, which can be forged. A success may also follow a failure
    that kie.ai was seen to take back, and a refusal: then it had taken the create all the same.
    """
    if source is not Source.QUERY or target is standing.state:
        return False
    only_called_back = standing.settled_by is Source.CALLBACK and not standing.confirmed
    was_refused = standing.settled_by is None
    turned = target is State.SUCCEEDED and (standing.may_turn or was_refused)
    return only_called_back or turned


SETTLED_AS: Mapping[Progress, State] = {
    Progress.SUCCEEDED: State.SUCCEEDED,
    Progress.FAILED: State.FAILED,
}
"""The end that each of kie.ai's ends means."""


_AFTER_REFUSAL: Mapping[Fault, State] = {
    Fault.REQUEST: State.FAILED,
    Fault.BUSY: State.QUEUED,
    Fault.MAINTENANCE: State.QUEUED,
    Fault.PROXY: State.QUEUED,
    Fault.ACCOUNT: State.QUEUED,
    Fault.FILE: State.FAILED,
}

TOO_LARGE = "413"
TOO_LARGE_AFTER = 3
"""Refusals in a row after which a body that a proxy finds too large is not sent again."""


def state_after(outcome: Outcome, tries: int = 0) -> State:
    """Say where an attempt's outcome leads; only what is proved not created is queued again.

    `tries`: refusals of the task in a row before it. A proxy's word is no verdict on a task; what
    it says of the task's size holds for that task alone, and no other proves it wrong.
    """
    match outcome:
        case Accepted():
            return State.RUNNING
        case Refused(fault=Fault.PROXY, code=code) if code == TOO_LARGE:
            return State.FAILED if tries + 1 >= TOO_LARGE_AFTER else State.QUEUED
        case Refused(fault=fault):
            return _AFTER_REFUSAL[fault]
        case Unsent():
            return State.QUEUED
        case Unknown():
            return State.UNCONFIRMED


def takes_outcome(standing: Standing, attempt: int) -> bool:
    """Tell whether an attempt may still record its outcome: only the newest, only while open."""
    return standing.attempt == attempt and standing.state in {State.SUBMITTING, State.UNCONFIRMED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """How a state ends when its bound passes and nothing has happened."""

    state: State
    fail_code: FailCode
    fail_message: str


DEADLINES: Mapping[State, Deadline] = {
    State.QUEUED: Deadline(
        state=State.FAILED,
        fail_code=FailCode.SUBMIT_DEADLINE,
        fail_message="The task could not be sent to kie.ai within submit_within.",
    ),
    State.UNCONFIRMED: Deadline(
        state=State.EXPIRED,
        fail_code=FailCode.OUTCOME_UNKNOWN,
        fail_message="The create was sent to kie.ai and its answer was lost; no callback came.",
    ),
    State.RUNNING: Deadline(
        state=State.EXPIRED,
        fail_code=FailCode.NO_ANSWER,
        fail_message="kie.ai reported no end in time; a late report still settles the task.",
    ),
}
"""`submitting` is not here: its bound is its lease, and it ends as `unconfirmed`."""
