"""When to ask kie.ai about a task that it has."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from app.domain.evidence import Judgement, Verdict
from app.domain.policy import Policy
from app.domain.report import Progress, Report
from app.domain.retry import backoff
from app.domain.task import FINAL, Standing, State, yields

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


def next_poll(schedule: PollSchedule, age: float) -> float:
    """Seconds until the next question about a task that was submitted `age` seconds ago."""
    return next(interval for below, interval in schedule if age < below)


AFTER_EXPIRY: Sequence[float] = (2 * 3600.0, 6 * 3600.0, 24 * 3600.0)
"""Ages of an expired task, in seconds since it expired, at which kie.ai is asked once more."""


def next_after_expiry(age: float) -> float | None:
    """Seconds until the next question about a task that expired `age` seconds ago; None: none."""
    return next((at - age for at in AFTER_EXPIRY if at > age), None)


CONFIRMATIONS = 8
"""Fruitless tries after which a settled task stays unconfirmed by query: over half an hour."""

FRUITLESS = frozenset({Verdict.DISAGREED, Verdict.UNVERIFIED})
"""Answers that settle nothing and say nothing new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuePoll:
    """A task to poll, with a query slot in hand; ages in seconds."""

    id: UUID
    kie_task_id: str | None
    tries: int
    age: float
    """Since its create was sent."""
    final_for: float | None
    """Since it became final; None: it is open."""
    slot: int
    sharing: int
    """How many tasks share the query limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextPoll:
    """What a task owes after a poll that did not settle it."""

    due_in: float | None
    """Seconds until the next poll; None: it is not worth one."""
    tries: int = 0
    kie_state: str | None = None
    confirms: bool = False
    """kie.ai said the same as the callback that settled the task."""


def next_poll_of(
    due: DuePoll,
    standing: Standing,
    judgement: Judgement | None,
    report: Report | None,
    *,
    policy: Policy,
    share: float,
) -> NextPoll | None:
    """Say what follows from the answer to a poll; None: it settled the task.

    `standing` is the task before it; without a judgement kie.ai gave no answer of use. `share` is
    a random number in [0, 1): it spreads what was due together.
    """
    if judgement is None or report is None or judgement.verdict in FRUITLESS:
        tries = due.tries + 1
        wait = backoff(tries, first=2, ceiling=300, share=share)
        return NextPoll(due_in=_wait(due, standing, tries, policy, at_least=wait), tries=tries)
    if report.progress is Progress.RUNNING:
        after = replace(standing, state=judgement.target or standing.state)
        return NextPoll(due_in=_wait(due, after, 0, policy), kie_state=report.kie_state)
    return NextPoll(due_in=None, confirms=True) if judgement.target is None else None


def _wait(
    due: DuePoll, standing: Standing, tries: int, policy: Policy, *, at_least: float = 0.0
) -> float | None:
    """Come back soon at first, then ever more slowly, and never without an end."""
    if standing.state is State.EXPIRED:
        return next_after_expiry(due.final_for or 0)
    if not _is_worth_polling(standing, tries):
        return None
    queries = policy.limits.queries
    turn = due.sharing * queries.window / queries.calls
    schedule = schedule_of(callbacks_expected=policy.callbacks_expected)
    return max(next_poll(schedule, due.age), turn, at_least)


def _is_worth_polling(standing: Standing, tries: int) -> bool:
    if standing.state in FINAL:
        # A settled task is polled a few times, one that the gateway ended but once.
        return not yields(standing) and tries < CONFIRMATIONS
    # Without an id there is nothing to ask about until a callback names one.
    return standing.kie_task_id is not None or standing.state is State.RUNNING
