"""What a task owes after a move: to which loop and when, and until when its state may last."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from app.domain.admission import STEP_ASIDE_AFTER
from app.domain.move import Move
from app.domain.pace import Paces
from app.domain.policy import Confirm, Policy
from app.domain.polling import looks_after, next_look, next_wait
from app.domain.report import Report
from app.domain.retry import backoff
from app.domain.task import FINAL, Source, State
from app.store.signals import POLL, QUEUE

WAKES: Mapping[State, str] = {
    State.QUEUED: QUEUE,
    State.UNCONFIRMED: POLL,
    State.RUNNING: POLL,
    **dict.fromkeys(FINAL, POLL),  # the end may have to be confirmed
}
"""Which loop the row is due for once a task has come to a state: when it is due."""

LEAVES_ROOM = frozenset({State.QUEUED, State.UNCONFIRMED, *FINAL})
"""A task that comes there may leave a seat to another, or the turn to probe."""

UNRECOGNISED_EXPIRES_AFTER = 900.0
"""Seconds in `unconfirmed` of a create that kie.ai answered in words that nobody knows: no task was
ever seen behind such an answer, and none that ran longer would be lost."""


class Owed:
    """Adds it to moves; `chance` gives numbers from 0 to 1."""

    def __init__(self, policy: Policy, chance: Callable[[], float], paces: Paces) -> None:
        self._policy = policy
        self._chance = chance
        self._paces = paces

    def running(self, step: Move) -> Move:
        """Add the first poll and the bound of a task that kie.ai has."""
        expected = self._policy.callbacks_expected
        due_in = next_wait(0, callbacks_expected=expected, pace=self._paces.of(step.model))
        return replace(step, due_in=due_in, expires_in=self._policy.task_expires_after)

    def back(self, step: Move, tries: int) -> Move:
        """Put a task back in its place; one that is refused again and again lets others pass."""
        beyond = tries - STEP_ASIDE_AFTER
        wait = 0.0
        if beyond >= 0:
            wait = backoff(beyond + 1, first=5, ceiling=60, share=self._chance())
        return replace(step, due_in=wait, tries=tries)

    def unconfirmed(self, step: Move, words: str | None = None) -> Move:
        """Add when to ask about a create of unknown outcome, and for how long.

        `words`: kie.ai's, which nobody could read; None: it did not answer.
        """
        expires_in = self._policy.unconfirmed_expires_after
        if words is not None:  # it answered, and seldom created anything then
            expires_in = min(expires_in, UNRECOGNISED_EXPIRES_AFTER)
        return replace(step, due_in=0, expires_in=expires_in)

    def confirm_in(self, report: Report, source: Source) -> float | None:
        """Seconds until kie.ai is asked whether it is so; None: it said all when it was asked."""
        if source is Source.QUERY:
            return next_look(looks_after(report, priced=False), 0)
        return None if self._policy.confirm is Confirm.OFF else self._policy.confirm_after
