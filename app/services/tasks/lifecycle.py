"""The one door for a task's changes: every move, and all that follows from it.

A move has five consequences: an event in the task's history, what it costs in the books, a delivery
in the outbox, a wake-up, and a count. The first three are written in the move's own transaction;
the others are collected there and published after its commit, and only of the try that committed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar
from uuid import UUID

import structlog

from app.domain.admission import STEP_ASIDE_AFTER
from app.domain.amendment import Amendment
from app.domain.delivery import EVENTS, EventType
from app.domain.failure import classify
from app.domain.move import Move
from app.domain.pace import Paces
from app.domain.policy import Confirm, Policy
from app.domain.polling import (
    AFTER_EXPIRY,
    looks_after,
    next_look,
    next_wait,
)
from app.domain.report import Facts, Report
from app.domain.retry import backoff
from app.domain.statement import (
    CreateAnswer,
)
from app.domain.submission import Accepted, Refused, Unknown, message_of, words_of
from app.domain.task import (
    DEADLINES,
    FINAL,
    FailCode,
    FailSource,
    Source,
    State,
)
from app.metrics import Metrics
from app.services.consequences import Consequences, Work
from app.services.deliveries.outbox import Outbox
from app.store.clients import audit
from app.store.engine import Connection, Database
from app.store.signals import DELIVER, POLL, QUEUE, Signals
from app.store.tasks import facts, moves, polls, sweep

Result = TypeVar("Result")

WAKES: Mapping[State, Sequence[str]] = {
    State.QUEUED: (QUEUE,),
    State.UNCONFIRMED: (QUEUE, POLL),
    State.RUNNING: (POLL, DELIVER),
    # A seat came free, the end may have to be confirmed, and its caller is to be notified.
    **dict.fromkeys(FINAL, (QUEUE, POLL, DELIVER)),
}
"""Which loops have something to do once a task has come to a state."""

UNRECOGNISED_EXPIRES_AFTER = 900.0
"""Seconds in `unconfirmed` of a create that kie.ai answered in words that nobody knows: no task was
ever seen behind such an answer, and none that ran longer would be lost."""

NEVER_SENT = "its create was never sent"
WITHDRAWN = "withdrawn: its caller was told that nothing would happen"
TAKEN_AFTER_ALL = "a callback says that kie.ai has it"
FOUND_SENT = "an operator found it at kie.ai"
FAILED_BY_OPERATOR = "failed by an operator"
OTHERWISE = "kie.ai's record says otherwise"

log = structlog.get_logger(__name__)


class LostMoveError(Exception):
    """A row that is locked was not in the state that was read of it: a defect."""


class Lifecycle:
    """Moves tasks, and publishes what follows once it is committed."""

    def __init__(
        self,
        database: Database,
        signals: Signals,
        outbox: Outbox,
        policy: Policy,
        chance: Callable[[], float],
        metrics: Metrics,
        paces: Paces,
    ) -> None:
        self._database = database
        self._signals = signals
        self._outbox = outbox
        self._policy = policy
        self._chance = chance
        self._metrics = metrics
        self._paces = paces

    async def run(
        self, work: Work[Result], *, patience: float = 10.0, insist: bool = False
    ) -> Result:
        """Run `work` in a transaction, then wake and count what it left.

        `work` must be idempotent: it runs again while the database is away, for `patience` seconds.
        Raises `DatabaseUnavailableError` after that, and whatever `work` raises; with `insist`,
        that too only once patience is over (see `Database.run`).
        """
        collected = Consequences()

        async def one_try(connection: Connection) -> Result:
            nonlocal collected
            collected = Consequences()
            return await work(connection, collected)

        result = await self._database.run(one_try, patience=patience, insist=insist)
        self._signals.announce(*collected.topics)
        for counting in collected.counts:
            counting()
        return result

    async def amend(
        self,
        connection: Connection,
        consequences: Consequences,
        task_id: UUID,
        state: State,
        amendment: Amendment,
    ) -> None:
        """Keep what an end had lacked, and tell its caller."""
        await facts.amend(connection, task_id, state, amendment)
        event = None if amendment.retold else EventType.UPDATED
        await self._outbox.notify(connection, consequences, [task_id], event=event)
        consequences.wake(task_id, DELIVER)
        consequences.count(partial(self._metrics.amended, amendment.kind))

    async def record_report(
        self,
        connection: Connection,
        consequences: Consequences,
        report: Report,
        source: Source,
        step: Move,
    ) -> None:
        """Move a task by what kie.ai reports of it."""
        kie_task_id = report.kie_task_ids[0] if report.kie_task_ids else None
        if step.target is State.RUNNING:
            step = self._running(step)
            won = await moves.start(
                connection, step, kie_task_id=kie_task_id, kie_state=report.kie_state
            )
        elif step.target is State.UNCONFIRMED:
            expires_in = self._policy.unconfirmed_expires_after
            step = replace(step, due_in=0, expires_in=expires_in, reason=TAKEN_AFTER_ALL)
            won = await moves.lose(connection, step, kie_message=None)
        else:
            otherwise = step.left in (State.SUCCEEDED, State.FAILED)
            reason = OTHERWISE if otherwise else f"reported by {source}"
            step = replace(step, due_in=self._confirm_in(report, source), reason=reason)
            won = await moves.settle(connection, step, report, source)
            self._count_failure(consequences, step.target, report)
        await self._moved(connection, consequences, _won(step, won=won), step.target, source)

    def _confirm_in(self, report: Report, source: Source) -> float | None:
        """Seconds until kie.ai is asked whether it is so; None: it said all when it was asked."""
        if source is Source.QUERY:
            return next_look(looks_after(report, priced=False), 0)
        return None if self._policy.confirm is Confirm.OFF else self._policy.confirm_after

    def _count_failure(self, consequences: Consequences, target: State, said: Facts) -> None:
        if target is State.FAILED:
            failure = classify(said.fail_code, said.fail_message, FailSource.KIE)
            consequences.count(partial(self._metrics.failed, failure.fail_class))

    async def record_create(
        self, connection: Connection, consequences: Consequences, said: CreateAnswer, step: Move
    ) -> None:
        """Move a task by how its create ended."""
        message = message_of(said.outcome)
        step = replace(step, reason=message)
        match said.outcome:
            case Accepted(kie_task_id=kie_task_id):
                alleged = await polls.alleged_ids(connection, said.task_id, limit=1)
                step = self._running(step, poll=bool(alleged))
                for second in set(alleged) - {kie_task_id}:
                    await self.note_second_id(
                        connection, consequences, said.task_id, known=kie_task_id, second=second
                    )
                won = await moves.start(connection, step, kie_task_id=kie_task_id, kie_state=None)
            case Unknown(message=words):
                expires_in = self._policy.unconfirmed_expires_after
                if words is not None:  # it answered, and seldom created anything then
                    expires_in = min(expires_in, UNRECOGNISED_EXPIRES_AFTER)
                step = replace(step, due_in=0, expires_in=expires_in)
                won = await moves.lose(connection, step, kie_message=words)
            case Refused(code=code) if step.target is State.FAILED:
                words = words_of(said.outcome)
                won = await moves.fail(
                    connection, step, code=code, message=message or "", kie_message=words
                )
                said_of_it = Facts(fail_code=code, fail_message=message)
                self._count_failure(consequences, step.target, said_of_it)
            case _:  # refused for now, or proved not sent
                step = self._back(step, said.tries + 1)
                words = words_of(said.outcome)
                won = await moves.requeue(connection, step, kie_message=words)
        await self._moved(connection, consequences, _won(step, won=won), step.target, "create")

    async def note_second_id(
        self,
        connection: Connection,
        consequences: Consequences,
        task_id: UUID,
        *,
        known: str | None,
        second: str,
    ) -> None:
        """Keep another id than the one that is bound: kie.ai took a second create for the task."""
        await audit.note_paid_twice(connection, task_id, known=known, second=second)
        consequences.count(self._metrics.paid_twice)
        consequences.count(partial(log.error, "task.paid_twice", task_id=str(task_id)))

    def _running(self, step: Move, *, poll: bool = False) -> Move:
        """Add the first poll and the bound of a task that kie.ai has."""
        expected = self._policy.callbacks_expected
        wait = next_wait(0, callbacks_expected=expected, pace=self._paces.of(step.model))
        due_in = 0 if poll else wait
        return replace(step, due_in=due_in, expires_in=self._policy.task_expires_after)

    def _back(self, step: Move, tries: int) -> Move:
        """Put a task back in its place; one that is refused again and again lets others pass."""
        beyond = tries - STEP_ASIDE_AFTER
        wait = 0.0
        if beyond >= 0:
            wait = backoff(beyond + 1, first=5, ceiling=60, share=self._chance())
        return replace(step, due_in=wait, tries=tries)

    # -- what people and the clock decide

    async def cancel(
        self,
        connection: Connection,
        consequences: Consequences,
        task_id: UUID,
        *,
        reason: str = "canceled by its client",
    ) -> None:
        """Take a queued task, whose row the caller has locked, out of the queue for good."""
        step = Move(id=task_id, left=State.QUEUED, target=State.CANCELED, reason=reason)
        won = await moves.cancel(connection, step)
        await self._moved(connection, consequences, _won(step, won=won), step.target)

    async def give_up(
        self,
        connection: Connection,
        consequences: Consequences,
        task_id: UUID,
        left: State,
        message: str,
    ) -> None:
        """Fail a task, whose row the caller has locked, because an operator says so.

        kie.ai may have one that left `unconfirmed`: it is asked once more, later, and whatever it
        says then, or in a callback, still settles the task. `message` is for the caller.
        """
        due_in = None if left is State.QUEUED else AFTER_EXPIRY[0]
        step = Move(
            id=task_id, left=left, target=State.FAILED, due_in=due_in, reason=FAILED_BY_OPERATOR
        )
        won = await moves.give_up(connection, step, code=FailCode.BY_OPERATOR, message=message)
        await self._moved(connection, consequences, _won(step, won=won), step.target)

    async def withdraw(
        self, connection: Connection, consequences: Consequences, step: Move
    ) -> None:
        """Take a task out for good that was never sent, and whose caller knows of none.

        `step` names the state that it leaves; the caller has locked its row. Nobody is notified.
        """
        if step.left is not State.QUEUED:
            back = replace(step, target=State.QUEUED, reason=NEVER_SENT)
            _won(back, won=await moves.requeue(connection, back))
        step = replace(step, left=State.QUEUED, target=State.CANCELED, reason=WITHDRAWN)
        _won(step, won=await moves.cancel(connection, step))
        consequences.wake(step.id, QUEUE)

    async def found_sent(
        self, connection: Connection, consequences: Consequences, task_id: UUID, kie_task_id: str
    ) -> None:
        """Have a queued task, whose row the caller has locked, run: a person found it at kie.ai."""
        step = Move(id=task_id, left=State.QUEUED, target=State.RUNNING, reason=FOUND_SENT)
        step = self._running(step)
        won = await moves.start(connection, step, kie_task_id=kie_task_id, kie_state=None)
        await self._moved(connection, consequences, _won(step, won=won), step.target)

    async def send_again(
        self, connection: Connection, consequences: Consequences, task_id: UUID
    ) -> None:
        """Queue an unconfirmed task, whose row the caller has locked, although it may be paid."""
        step = Move(
            id=task_id,
            left=State.UNCONFIRMED,
            target=State.QUEUED,
            due_in=0,
            reason="put back by an operator; may pay again",
        )
        submit_within = self._policy.submit_within
        won = await moves.send_again(connection, step, submit_within=submit_within)
        await self._moved(connection, consequences, _won(step, won=won), step.target)

    async def end_leases(
        self, connection: Connection, consequences: Consequences, *, limit: int
    ) -> Sequence[UUID]:
        """Make tasks `unconfirmed` whose create was in flight when its process died."""
        ids = await sweep.free_lost(
            connection,
            limit=limit,
            expires_in=self._policy.unconfirmed_expires_after,
            window=self._policy.limits.creates.window,
        )
        await self._swept(connection, consequences, ids, State.UNCONFIRMED)
        return ids

    async def withdraw_unreleased(
        self, connection: Connection, consequences: Consequences, *, limit: int
    ) -> Sequence[UUID]:
        """Take out what was not released in time: who stored it is gone, or said no."""
        ids = await sweep.unreleased(connection, limit=limit)
        for task_id in ids:
            step = Move(id=task_id, left=State.QUEUED, target=State.CANCELED)
            await self.withdraw(connection, consequences, step)
        consequences.count(partial(self._metrics.swept, State.CANCELED, len(ids)))
        return ids

    async def expire(
        self, connection: Connection, consequences: Consequences, state: State, *, limit: int
    ) -> Sequence[UUID]:
        """End tasks whose bound in `state` has passed, as `DEADLINES` says."""
        target = DEADLINES[state].state
        poll_in = AFTER_EXPIRY[0] if target is State.EXPIRED else None
        ids = await sweep.expire(connection, state, limit=limit, ask_in=poll_in)
        await self._swept(connection, consequences, ids, target)
        return ids

    async def _swept(
        self,
        connection: Connection,
        consequences: Consequences,
        ids: Sequence[UUID],
        target: State,
    ) -> None:
        consequences.count(partial(self._metrics.swept, target, len(ids)))
        await self._moved(connection, consequences, ids, target, "gateway")

    async def _moved(
        self,
        connection: Connection,
        consequences: Consequences,
        ids: Sequence[UUID],
        target: State,
        settled_by: str | None = None,
    ) -> None:
        """Add what follows from tasks having come to a state.

        `settled_by`: who ended them, for the metrics; None: nobody is counted.
        """
        if not ids:
            return
        if target in EVENTS:
            await self._outbox.notify(connection, consequences, ids)
        consequences.wake(*ids, *WAKES[target])
        if target in FINAL and settled_by is not None:
            for task_id in ids:
                consequences.count(partial(self._metrics.settled, task_id, settled_by, target))


def _won(step: Move, *, won: bool) -> Sequence[UUID]:
    """Return the task that moved; raises `LostMoveError`, for its row is locked."""
    if not won:
        message = f"{step.id}: {step.left} -> {step.target}"
        raise LostMoveError(message)
    return [step.id]
