"""What the gateway makes of one statement of kie.ai about a task.

The order of the rules is their meaning: a statement must be readable, genuine, about this task and
of one mind with itself before it may move anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.domain.amendment import Amendment, amend, contradicts
from app.domain.callback_url import Echo
from app.domain.holding import CONTRADICTED, may_turn, wait_of
from app.domain.report import Facts, Progress, Report, Unreadable
from app.domain.submission import Accepted, Outcome, Unknown
from app.domain.task import (
    FINAL,
    SETTLED_AS,
    Source,
    Standing,
    State,
    overturns,
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
    """It contradicts itself, the task's id or URL, or what is known of the end."""
    UNVERIFIED = "unverified"
    """Its signature is missing or wrong, or it is only believed once kie.ai's record says so."""
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
    alleged_id: str | None = None
    """An id that kie.ai named without accepting the create: to be asked about."""
    foreign: bool = False
    """kie.ai's record under the task's id is another task's."""
    holds: bool = False
    """It reports an end that is asked about before it counts."""
    releases: bool = False
    """kie.ai's record shows that the end that was asked about is none."""
    fills: bool = False
    """It is not believed, and tells of something that the known end lacks."""
    amendment: Amendment | None = None
    """What it adds to the end that is known, or contradicts there."""


_UNBELIEVED: Mapping[Signature, Verdict] = {
    Signature.MISSING: Verdict.UNVERIFIED,
    Signature.WRONG: Verdict.UNVERIFIED,
    Signature.STALE: Verdict.STALE,
}


def judge_callback(
    standing: Standing | None,
    known: Facts,
    statement: Report | Unreadable,
    signature: Signature,
    *,
    echo: Echo,
    confirm_first: bool,
) -> Judgement:
    """Judge what came by webhook with a right token.

    The signature does not cover the body, so with `confirm_first` an end is only believed from a
    query; the callback is then no more than a reason to ask. It never binds an id: only kie.ai's
    record proves whose an id is.
    """
    if isinstance(statement, Unreadable):
        return Judgement(verdict=Verdict.UNREADABLE, poll=True)
    if signature in _UNBELIEVED:
        return Judgement(verdict=_UNBELIEVED[signature], poll=True)
    if standing is None:
        return Judgement(verdict=Verdict.UNMATCHED)
    return _contradiction(standing, statement, Source.CALLBACK, echo) or _judge_genuine(
        standing, known, statement, confirm_first=confirm_first
    )


def _judge_genuine(
    standing: Standing, known: Facts, report: Report, *, confirm_first: bool
) -> Judgement:
    """Judge a callback that may well be kie.ai's, about this task."""
    if standing.kie_task_id is None:
        return _without_an_id(standing, report)
    if confirm_first and report.progress is not Progress.RUNNING:
        return _asked_about(standing, known, report)
    return _judge(standing, known, report, Source.CALLBACK)


def judge_query(
    standing: Standing, known: Facts, report: Report, *, echo: Echo, alleged: bool
) -> Judgement:
    """Judge the answer to a query.

    `alleged`: it is about an id that only a callback named. Then kie.ai must echo this task's own
    URL, which is all that could prove whose id it is.
    """
    if contradiction := _contradiction(standing, report, Source.QUERY, echo):
        return contradiction
    if alleged and echo is not Echo.OWN:
        return Judgement(verdict=Verdict.UNVERIFIED)
    return _judge(standing, known, report, Source.QUERY)


def judge_create(standing: Standing, attempt: int, outcome: Outcome, tries: int = 0) -> Judgement:
    """Judge how an attempt's create ended.

    Where a callback was faster, or another attempt is newer, it moves nothing; the id that it
    brings is compared with the task's all the same. A task that was queued again although it was
    taken is not sent a second time.
    """
    taken_after_all = standing.state is State.QUEUED and isinstance(outcome, Accepted)
    takes = takes_outcome(standing, attempt) or taken_after_all
    target = state_after(outcome, tries) if takes else None
    brought = outcome.kie_task_id if isinstance(outcome, Accepted) else None
    known = standing.kie_task_id
    return Judgement(
        verdict=Verdict.APPLIED if takes else Verdict.LATE,
        # Unconfirmed already: the lease was over before the answer was given up.
        target=None if target is standing.state else target,
        kie_task_id=brought if known is None else None,
        second_id=brought if known not in (None, brought) else None,
        alleged_id=outcome.kie_task_id if isinstance(outcome, Unknown) and known is None else None,
    )


def is_asked_about(standing: Standing, judgement: Judgement) -> bool:
    """Tell whether kie.ai is asked because of a callback.

    Of an end that its record vouched for, only about what that lacks, or what may turn it.
    """
    recorded = standing.confirmed or standing.settled_by is Source.QUERY
    if yields(standing) or not recorded or standing.may_turn:
        return judgement.poll
    return judgement.poll and (judgement.fills or judgement.amendment is not None)


def is_refuted(claim: Report, record: Report) -> bool:
    """Tell whether kie.ai's record shows that an end which a callback told of is none, or another.

    A failure that may turn around was true in its time.
    """
    if claim.progress is Progress.RUNNING or may_turn(claim):
        return False
    return claim.progress is not record.progress or contradicts(record, claim)


def _contradiction(
    standing: Standing, report: Report, source: Source, echo: Echo
) -> Judgement | None:
    """Judge a report that cannot be about this task, or is not of one mind with itself."""
    anothers = echo is Echo.ANOTHERS
    if not _contradicts(standing, report, echo):
        return None
    second = None
    if source is Source.CALLBACK and echo not in {Echo.ANOTHERS, Echo.STRANGE}:
        second = _second_id(standing, report)
    return Judgement(
        verdict=Verdict.DISAGREED,
        poll=True,
        second_id=second,
        foreign=anothers and source is Source.QUERY,
    )


def _contradicts(standing: Standing, report: Report, echo: Echo) -> bool:
    if len(report.kie_task_ids) > 1 or echo is Echo.ANOTHERS:
        return True
    if standing.kie_task_id is not None:
        return bool(report.kie_task_ids) and report.kie_task_ids[0] != standing.kie_task_id
    # It would bind an id, so what it echoes of our URL must be this task's own.
    return echo is Echo.STRANGE


def _second_id(standing: Standing, report: Report) -> str | None:
    if standing.kie_task_id is None or len(report.kie_task_ids) != 1:
        return None
    return report.kie_task_ids[0]


def _without_an_id(standing: Standing, report: Report) -> Judgement:
    """Judge a callback to a task that has no id yet: it is asked about under the one it names."""
    if not yields(standing) and report.progress is not Progress.SUCCEEDED:
        return Judgement(verdict=Verdict.LATE)
    # A queued task was sent before, or nobody could call back: it must not be sent again.
    target = State.UNCONFIRMED if standing.state is State.QUEUED else None
    return Judgement(verdict=Verdict.UNVERIFIED, target=target, poll=True)


def _asked_about(standing: Standing, known: Facts, report: Report) -> Judgement:
    """Judge an end that only kie.ai's record may tell of: settled or not, it is asked about."""
    if yields(standing):
        return Judgement(verdict=Verdict.UNVERIFIED, poll=True, holds=standing.state not in FINAL)
    if SETTLED_AS[report.progress] is not standing.state:
        return Judgement(verdict=Verdict.DISAGREED, poll=True)
    found = amend(known, report, wins=False)
    if found.disagrees:
        return Judgement(verdict=Verdict.DISAGREED, poll=True)
    if found.changes:
        return Judgement(verdict=Verdict.UNVERIFIED, poll=True, fills=True)
    return Judgement(verdict=_again(standing, Source.CALLBACK))


def _judge(standing: Standing, known: Facts, report: Report, source: Source) -> Judgement:
    """Judge a genuine report about this very task."""
    if report.progress is Progress.RUNNING:
        return _judge_running(standing, report, source)
    if not yields(standing):
        return _judge_again(standing, known, report, source)
    wait = wait_of(report) if standing.state not in FINAL else 0.0
    # A callback is followed by a question; kie.ai's record is the answer to one.
    if wait and (source is Source.CALLBACK or (standing.held_for or 0.0) < wait):
        return Judgement(
            verdict=Verdict.HELD,
            target=_start(standing),
            kie_task_id=_binds(standing, report),
            poll=source is Source.CALLBACK,
            holds=True,
        )
    return Judgement(
        verdict=Verdict.APPLIED,
        target=SETTLED_AS[report.progress],
        kie_task_id=_binds(standing, report),
    )


def _judge_running(standing: Standing, report: Report, source: Source) -> Judgement:
    if not yields(standing):
        return Judgement(verdict=_while_it_runs(standing, source))
    return Judgement(
        verdict=Verdict.APPLIED,
        target=_start(standing),
        kie_task_id=_binds(standing, report),
        # An end of the gateway's own, and kie.ai says that it runs: worth following.
        poll=standing.state in FINAL,
        releases=source is Source.QUERY and (standing.held_for or 0.0) > CONTRADICTED,
    )


def _while_it_runs(standing: Standing, source: Source) -> Verdict:
    """Judge a progress report after the end: a record may lag behind a callback, but not long."""
    doubted = standing.settled_by is Source.CALLBACK and not standing.confirmed
    long_ago = (standing.final_for or 0.0) > CONTRADICTED
    contradicts = source is Source.QUERY and doubted and long_ago
    return Verdict.DISAGREED if contradicts else Verdict.LATE


def _judge_again(standing: Standing, known: Facts, report: Report, source: Source) -> Judgement:
    """Judge another report of an end, after one that kie.ai vouched for."""
    target = SETTLED_AS[report.progress]
    asks = source is Source.CALLBACK
    if target is not standing.state:
        return _judge_otherwise(standing, report, source, target)
    found = amend(known, report, wins=source is Source.QUERY)
    amendment = found if found.changes else None
    if found.disagrees:
        return Judgement(verdict=Verdict.DISAGREED, poll=asks, amendment=amendment)
    if amendment is not None:
        return Judgement(verdict=Verdict.APPLIED, poll=asks, amendment=amendment)
    return Judgement(verdict=_again(standing, source))


def _judge_otherwise(
    standing: Standing, report: Report, source: Source, target: State
) -> Judgement:
    """Judge a report of the opposite end: kie.ai's record may turn what is known."""
    if not overturns(standing, target, source):
        return Judgement(verdict=Verdict.DISAGREED, poll=source is Source.CALLBACK)
    turned = standing.confirmed or standing.settled_by is not Source.CALLBACK
    return Judgement(
        # A failure that kie.ai's own record takes back is news; a callback's word was wrong.
        verdict=Verdict.APPLIED if turned else Verdict.DISAGREED,
        target=target,
        kie_task_id=_binds(standing, report),
    )


def _again(standing: Standing, source: Source) -> Verdict:
    return Verdict.DUPLICATE if standing.settled_by is source else Verdict.LATE


def _binds(standing: Standing, report: Report) -> str | None:
    return report.kie_task_ids[0] if report.kie_task_ids and not standing.kie_task_id else None


def _start(standing: Standing) -> State | None:
    """Return the move of a task that is at kie.ai, as it turns out; None: it is known."""
    starts = {State.QUEUED, State.SUBMITTING, State.UNCONFIRMED}
    return State.RUNNING if standing.state in starts else None
