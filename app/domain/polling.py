"""When to ask kie.ai about a task that it has."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from app.domain.evidence import Judgement, Verdict
from app.domain.holding import UNREACHED, may_turn, next_question, wait_of
from app.domain.pace import Pace
from app.domain.policy import Policy
from app.domain.report import Progress, Report
from app.domain.retry import backoff
from app.domain.task import FINAL, Source, Standing, State, yields

PollSchedule = Sequence[tuple[float, float]]
"""Rows of (age below, seconds until the next question); the last row's age is infinite."""

EXPECTING_CALLBACK: PollSchedule = (
    (60.0, 60.0),
    (600.0, 60.0),
    (1800.0, 120.0),
    (float("inf"), 300.0),
)
"""Asking is only the net below the callback, so it starts late and grows slower."""

POLLING: PollSchedule = ((30.0, 2.5), (120.0, 7.5), (float("inf"), 20.0))
"""The vendor's advice: every 2 to 3 s for 30 s, 5 to 10 s until 2 min, 15 to 30 s after."""


def schedule_of(*, callbacks_expected: bool) -> PollSchedule:
    """Return how often to ask about tasks that run."""
    return EXPECTING_CALLBACK if callbacks_expected else POLLING


def next_wait(age: float, *, callbacks_expected: bool, pace: Pace | None) -> float:
    """Seconds until the next question about a task of that age, by its model's pace if known.

    With callbacks expected asking is the net below them, and as slow as for any model.
    """
    if pace is None or callbacks_expected:
        return next_poll(schedule_of(callbacks_expected=callbacks_expected), age)
    return pace.wait(age)


def next_poll(schedule: PollSchedule, age: float) -> float:
    """Seconds until the next question about a task that was submitted `age` seconds ago."""
    return next(interval for below, interval in schedule if age < below)


AFTER_EXPIRY: Sequence[float] = (2 * 3600.0, 6 * 3600.0, 24 * 3600.0)
"""Ages of an expired task, in seconds since it expired, at which kie.ai is asked once more."""


AFTER_TURNING_FAILURE: Sequence[float] = (300.0, 1800.0)
"""The same for a failure that kie.ai was seen to take back, since it was believed."""

WITHOUT_CREDITS: Sequence[float] = (10.0, 60.0)
"""The same for a success that nobody has told the credits of: records have them some seconds late,
those of 2025 never."""


def looks_after(report: Report, *, priced: bool) -> Sequence[float]:
    """Return the ages of an end at which kie.ai is asked once more, though its record shows it.

    `priced`: its credits are known already.
    """
    if may_turn(report):
        return AFTER_TURNING_FAILURE
    priced = priced or report.credits_consumed is not None
    return () if priced or report.progress is Progress.FAILED else WITHOUT_CREDITS


def next_look(ages: Sequence[float], age: float) -> float | None:
    """Seconds until the next of these ages of a final task; None: there is none."""
    return next((at - age for at in ages if at > age), None)


CONFIRMATIONS = 8
"""Fruitless tries after which a settled task stays unconfirmed by query: over half an hour."""

FRUITLESS = frozenset({Verdict.DISAGREED, Verdict.UNVERIFIED})
"""Answers that settle nothing and say nothing new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuePoll:
    """A task to poll, with a query slot in hand; ages in seconds."""

    id: UUID
    kie_task_id: str | None
    """The task's, or else the one that the answer to its create named without accepting it."""
    tries: int
    age: float
    """Since its create was sent."""
    final_for: float | None
    """Since it became final; None: it is open."""
    slot: int
    sharing: int
    """How many tasks share the query limit."""
    model: str = ""
    pace: Pace | None = None
    """How long tasks of the model take; None: too little is known."""
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NextPoll:
    """What a task owes after a poll that did not settle it."""

    due_in: float | None
    """Seconds until the next poll; None: it is not worth one."""
    tries: int = 0
    kie_state: str | None = None
    confirms: bool = False
    """kie.ai's record vouches for the end."""
    held: bool = False
    """An end was reported that is still asked about."""
    unreached: bool = False
    """kie.ai gave no answer to that."""


def next_poll_of(
    due: DuePoll,
    standing: Standing,
    judgement: Judgement | None,
    report: Report | None,
    *,
    reached: bool,
    policy: Policy,
    share: float,
) -> NextPoll | None:
    """Say what follows from the answer to a poll; None: it settled the task.

    `standing` is the task before it; without a judgement kie.ai gave no answer of use, and without
    `reached` none at all. `share` is a random number in [0, 1): it spreads what was due together.
    """
    if judgement is None or report is None:
        return _fruitless(due, standing, policy, share, unreached=not reached)
    if judgement.target in FINAL:
        return None
    runs = report.progress is Progress.RUNNING
    if judgement.verdict in FRUITLESS and not (
        judgement.amendment or (runs and _is_doubted(standing))
    ):
        return _fruitless(due, standing, policy, share)
    if runs:
        return _while_it_runs(due, standing, judgement, report, policy)
    if judgement.holds:
        return _held(due, standing.held_for or 0.0, policy, wait_of(report))
    ages = looks_after(report, priced=standing.priced)
    return NextPoll(due_in=next_look(ages, standing.final_for or 0.0), confirms=True)


def _fruitless(
    due: DuePoll, standing: Standing, policy: Policy, share: float, *, unreached: bool = False
) -> NextPoll:
    tries = due.tries + 1
    if standing.held_for is None:
        wait = backoff(tries, first=2, ceiling=300, share=share)
        return NextPoll(due_in=_wait(due, standing, tries, policy, at_least=wait), tries=tries)
    # Somebody waits for this answer; without any, what was reported is believed one day.
    wait = next_question(standing.held_for, 0.0)
    if unreached and (left := UNREACHED - (standing.unreached_for or 0.0)) > 0:
        wait = min(wait, left)
    due_in = max(_turn(due, policy), wait)
    return NextPoll(due_in=due_in, tries=tries, held=True, unreached=unreached)


def _while_it_runs(
    due: DuePoll, standing: Standing, judgement: Judgement, report: Report, policy: Policy
) -> NextPoll:
    """Poll on; more often while somebody said that it is over."""
    if standing.held_for is not None and not judgement.releases:
        return replace(_held(due, standing.held_for, policy), kie_state=report.kie_state)
    if _is_doubted(standing):
        age = standing.final_for or 0.0
        due_in = next_question(age, 0.0) if age < policy.task_expires_after else None
        return NextPoll(due_in=due_in)
    after = replace(standing, state=judgement.target or standing.state)
    return NextPoll(due_in=_wait(due, after, 0, policy), kie_state=report.kie_state)


def _is_doubted(standing: Standing) -> bool:
    """Only a callback told of the end, and kie.ai's record has not said the same."""
    return standing.settled_by is Source.CALLBACK and not standing.confirmed


def _held(due: DuePoll, held_for: float, policy: Policy, wait: float = 0.0) -> NextPoll:
    return NextPoll(due_in=max(_turn(due, policy), next_question(held_for, wait)), held=True)


def _turn(due: DuePoll, policy: Policy) -> float:
    """Seconds that all who share the query limit take for one question each."""
    queries = policy.limits.queries
    return due.sharing * queries.window / queries.calls


def _wait(
    due: DuePoll, standing: Standing, tries: int, policy: Policy, *, at_least: float = 0.0
) -> float | None:
    """Come back soon at first, then ever more slowly, and never without an end."""
    if standing.state is State.EXPIRED:
        return next_look(AFTER_EXPIRY, due.final_for or 0)
    if not _is_worth_polling(due, standing, tries):
        return None
    wait = next_wait(due.age, callbacks_expected=policy.callbacks_expected, pace=due.pace)
    return max(wait, _turn(due, policy), at_least)


def _is_worth_polling(due: DuePoll, standing: Standing, tries: int) -> bool:
    if standing.state in FINAL:
        # A settled task is polled a few times, one that the gateway ended but once.
        return not yields(standing) and tries < CONFIRMATIONS
    # Without an id there is nothing to ask about until somebody names one.
    return due.kie_task_id is not None or standing.state is State.RUNNING
