"""What the gateway makes of one statement of kie.ai about a task.

The order of the rules is their meaning: a statement must be readable, genuine, about this task and
of one mind with itself before it may move anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.domain.report import Progress, Report, Unreadable
from app.domain.submission import Accepted, Outcome
from app.domain.task import (
    FINAL,
    SETTLED_AS,
    Source,
    Standing,
    State,
    state_after,
    takes_outcome,
    yields,
)


class Signature(StrEnum):
    """What the signature of a callback is worth."""

    UNCHECKED = "unchecked"
    """No keys are configured, or a query's answer: nothing to check."""
    VALID = "valid"
    MISSING = "missing"
    WRONG = "wrong"
    STALE = "stale"
    """Right, and more than five minutes away from our clock."""


class Verdict(StrEnum):
    """What was made of a callback; the same words stand in the table `callbacks`."""

    APPLIED = "applied"
    """It moved the task, or told something new about it."""
    DUPLICATE = "duplicate"
    """The end that it reports is known, and from the same source."""
    HELD = "held"
    """The end that it reports is asked about first: it may turn around, or shows no result."""
    LATE = "late"
    """It came after the end, which was learnt another way, and agrees with it."""
    DISAGREED = "disagreed"
    """It contradicts itself, the task's id or URL, or an end that kie.ai vouched for."""
    UNVERIFIED = "unverified"
    """Its signature is missing or wrong, or callbacks are only believed once confirmed."""
    STALE = "stale"
    """Its signature is right and older than five minutes."""
    UNMATCHED = "unmatched"
    """Its token is right and no such task is kept."""
    UNREADABLE = "unreadable"
    """It is not a statement about a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict, and what follows from it."""

    verdict: Verdict
    target: State | None = None
    """The state to move to; None: stay."""
    kie_task_id: str | None = None
    """The id to bind; None: nothing to bind."""
    poll: bool = False
    """Ask kie.ai at once: something was said that is not believed."""
    second_id: str | None = None
    """Another id than the task's, under the task's own URL: kie.ai took a second create for it."""


_UNBELIEVED: Mapping[Signature, Verdict] = {
    Signature.MISSING: Verdict.UNVERIFIED,
    Signature.WRONG: Verdict.UNVERIFIED,
    Signature.STALE: Verdict.STALE,
}


def judge_callback(
    standing: Standing | None,
    statement: Report | Unreadable,
    signature: Signature,
    *,
    foreign: bool,
    confirm_first: bool,
) -> Judgement:
    """Judge what came by webhook with a right token.

    The signature does not cover the body, so with `confirm_first` an end is only believed from a
    query; the callback is then no more than a reason to ask.
    """
    if isinstance(statement, Unreadable):
        return Judgement(verdict=Verdict.UNREADABLE, poll=True)
    if signature in _UNBELIEVED:
        return Judgement(verdict=_UNBELIEVED[signature], poll=True)
    if standing is None:
        return Judgement(verdict=Verdict.UNMATCHED)
    ends = statement.progress is not Progress.RUNNING
    if confirm_first and ends and yields(standing):
        return Judgement(verdict=Verdict.UNVERIFIED, poll=True)
    return judge(standing, statement, Source.CALLBACK, foreign=foreign)


def judge_query(standing: Standing, report: Report, *, foreign: bool, unproved: bool) -> Judgement:
    """Judge the answer to a query.

    `unproved`: it is about an id that a callback named, and does not echo this task's own URL,
    which is all that could prove whose id it is.
    """
    if unproved:
        return Judgement(verdict=Verdict.UNVERIFIED)
    return judge(standing, report, Source.QUERY, foreign=foreign)


def judge_create(standing: Standing, attempt: int, outcome: Outcome, tries: int = 0) -> Judgement:
    """Judge how an attempt's create ended.

    Where a callback was faster, or another attempt is newer, it moves nothing; the id that it
    brings is compared with the task's all the same.
    """
    takes = takes_outcome(standing, attempt)
    target = state_after(outcome, tries) if takes else None
    brought = outcome.kie_task_id if isinstance(outcome, Accepted) else None
    known = standing.kie_task_id
    return Judgement(
        verdict=Verdict.APPLIED if takes else Verdict.LATE,
        # Unconfirmed already: the lease was over before the answer was given up.
        target=None if target is standing.state else target,
        kie_task_id=brought if known is None else None,
        second_id=brought if known not in (None, brought) else None,
    )


def judge(standing: Standing, report: Report, source: Source, *, foreign: bool) -> Judgement:
    """Judge a genuine report; `foreign`: it echoes a callback URL that is not this task's."""
    if _contradicts(standing, report, foreign=foreign):
        second = None if foreign or source is Source.QUERY else _second_id(standing, report)
        return Judgement(verdict=Verdict.DISAGREED, poll=True, second_id=second)
    if not yields(standing):
        return Judgement(verdict=_after_the_end(standing, report, source))
    bind = report.kie_task_ids[0] if report.kie_task_ids and not standing.kie_task_id else None
    return Judgement(
        verdict=Verdict.APPLIED,
        target=_target(standing, report.progress),
        kie_task_id=bind,
        # An end of the gateway's own, and kie.ai says that it runs: worth following.
        poll=standing.state in FINAL and report.progress is Progress.RUNNING,
    )


def _contradicts(standing: Standing, report: Report, *, foreign: bool) -> bool:
    if len(report.kie_task_ids) > 1:
        return True
    if standing.kie_task_id is not None:
        return bool(report.kie_task_ids) and report.kie_task_ids[0] != standing.kie_task_id
    # It would bind an id, so what it echoes of our URL must be this task's own.
    return foreign


def _second_id(standing: Standing, report: Report) -> str | None:
    if standing.kie_task_id is None or len(report.kie_task_ids) != 1:
        return None
    return report.kie_task_ids[0]


def _after_the_end(standing: Standing, report: Report, source: Source) -> Verdict:
    if report.progress is Progress.RUNNING:
        return Verdict.LATE
    if SETTLED_AS[report.progress] is not standing.state:
        return Verdict.DISAGREED
    return Verdict.DUPLICATE if standing.settled_by is source else Verdict.LATE


def _target(standing: Standing, progress: Progress) -> State | None:
    if progress is not Progress.RUNNING:
        return SETTLED_AS[progress]
    starts = {State.QUEUED, State.SUBMITTING, State.UNCONFIRMED}
    return State.RUNNING if standing.state in starts else None
