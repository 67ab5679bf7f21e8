"""The one door for a task's changes: every move, and all that follows from it.

A move has four consequences: an event in the task's history, a delivery in the outbox, a wake-up,
and a count. The first two are written in the move's own transaction; the others are collected
there and published after its commit, and only of the try that committed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeVar
from uuid import UUID

import structlog

from app.domain.admission import STEP_ASIDE_AFTER
from app.domain.callback_url import CallbackUrls
from app.domain.delivery import EVENTS
from app.domain.evidence import Judgement, Verdict
from app.domain.policy import Confirm, Policy
from app.domain.polling import AFTER_EXPIRY, PollSchedule, next_poll, schedule_of
from app.domain.report import Report
from app.domain.retry import backoff
from app.domain.statement import (
    CreateAnswer,
    OneSaid,
    Said,
    Statement,
    is_kept,
    judged,
    redacted,
)
from app.domain.submission import Accepted, Refused, Unknown, message_of
from app.domain.task import DEADLINES, FINAL, FailSource, Source, Standing, State
from app.metrics import Metrics
from app.services.consequences import Consequences, Work
from app.services.deliveries.outbox import Outbox
from app.store.clients import audit
from app.store.engine import Connection, Database
from app.store.signals import DELIVER, POLL, QUEUE, Signals
from app.store.tasks import callbacks, moves, polls, rows, sweep
from app.store.tasks.moves import Move

Result = TypeVar("Result")

WAKES: Mapping[State, Sequence[str]] = {
    State.QUEUED: (QUEUE,),
    State.UNCONFIRMED: (QUEUE, POLL),
    State.RUNNING: (POLL, DELIVER),
    # A seat came free, the end may have to be confirmed, and its caller is to be notified.
    **dict.fromkeys(FINAL, (QUEUE, POLL, DELIVER)),
}
"""Which loops have something to do once a task has come to a state."""

log = structlog.get_logger(__name__)


class LostMoveError(Exception):
    """A row that is locked was not in the state that was read of it: a defect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied(Generic[OneSaid]):
    """What was made of something that kie.ai said."""

    said: OneSaid
    """The same without the callback tokens that it echoed."""
    standing: Standing | None
    """The task as it was before; None: no such task is kept."""
    judgement: Judgement
    fresh: bool = True
    """False: an earlier try of the same transaction was committed after all, and nothing is left
    to do."""


class Lifecycle:
    """Moves tasks, and publishes what follows once it is committed."""

    def __init__(
        self,
        database: Database,
        signals: Signals,
        outbox: Outbox,
        urls: CallbackUrls,
        policy: Policy,
        chance: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._signals = signals
        self._outbox = outbox
        self._urls = urls
        self._policy = policy
        self._chance = chance
        self._metrics = metrics

    @property
    def _schedule(self) -> PollSchedule:
        return schedule_of(callbacks_expected=self._policy.callbacks_expected)

    async def run(self, work: Work[Result], *, patience: float = 10.0) -> Result:
        """Run `work` in a transaction, then wake and count what it left.

        `work` must be idempotent: it runs again while the database is away, for `patience` seconds.
        Raises `DatabaseUnavailableError` after that, and whatever `work` raises.
        """
        collected = Consequences()

        async def one_try(connection: Connection) -> Result:
            nonlocal collected
            collected = Consequences()
            return await work(connection, collected)

        result = await self._database.run(one_try, patience=patience)
        self._signals.announce(*collected.topics)
        for counting in collected.counts:
            counting()
        return result

    # -- what kie.ai says

    async def apply(
        self,
        connection: Connection,
        consequences: Consequences,
        said: OneSaid,
    ) -> Applied[OneSaid]:
        """Take in what kie.ai says, whichever way it came: judge it, keep it, and follow it."""
        said = redacted(said, self._urls)  # before anything is locked
        standing = await rows.lock_task(connection, said.task_id)
        confirm_first = self._policy.confirm is Confirm.BEFORE
        judgement = judged(said, standing, self._urls, confirm_first=confirm_first)
        consequences.wake(said.task_id)
        fresh = True
        either: Said = said
        if isinstance(either, Statement) and is_kept(either, judgement):
            fresh = await callbacks.insert_callback(connection, either, judgement.verdict)
        if not fresh:
            consequences.wake(QUEUE, POLL, DELIVER)  # what that try has left to do
        elif standing is not None:
            self._count_disagreement(consequences, said, judgement)
            await self._note_second_id(connection, consequences, said, standing, judgement)
            await self._follow(connection, consequences, said, standing, judgement)
        return Applied(said=said, standing=standing, judgement=judgement, fresh=fresh)

    def _count_disagreement(
        self, consequences: Consequences, said: Said, judgement: Judgement
    ) -> None:
        if judgement.verdict is Verdict.DISAGREED and isinstance(said, Statement):
            consequences.count(partial(self._metrics.disagreed, said.source))
            consequences.count(
                partial(
                    log.error, "task.disagreement", task_id=str(said.task_id), source=said.source
                )
            )

    async def _note_second_id(
        self,
        connection: Connection,
        consequences: Consequences,
        said: Said,
        standing: Standing,
        judgement: Judgement,
    ) -> None:
        """Keep another id than the one that is bound: kie.ai took a second create for the task."""
        second = judgement.second_id
        if second is None:
            return
        known = standing.kie_task_id
        await audit.note_paid_twice(connection, said.task_id, known=known, second=second)
        consequences.count(self._metrics.paid_twice)
        consequences.count(partial(log.error, "task.paid_twice", task_id=str(said.task_id)))

    async def _follow(
        self,
        connection: Connection,
        consequences: Consequences,
        said: Said,
        standing: Standing,
        judgement: Judgement,
    ) -> None:
        """Carry out a judgement: move, bind, poll."""
        if judgement.target is not None:
            step = Move(id=said.task_id, left=standing.state, target=judgement.target)
            match said:
                case CreateAnswer():
                    await self._record_create(connection, consequences, said, step)
                case Statement(content=Report() as report, source=source):
                    await self._record_report(connection, consequences, report, source, step)
                case Statement():
                    pass  # what cannot be read moves nothing
        elif judgement.kie_task_id is not None:
            await polls.bind(connection, said.task_id, judgement.kie_task_id)
        if judgement.poll and isinstance(said, Statement) and said.source is Source.CALLBACK:
            await polls.poll_at_once(connection, said.task_id)
            consequences.wake(POLL)

    async def _record_report(
        self,
        connection: Connection,
        consequences: Consequences,
        report: Report,
        source: Source,
        step: Move,
    ) -> None:
        """Move a task by what kie.ai reports of it."""
        if step.target is State.RUNNING:
            kie_task_id = report.kie_task_ids[0] if report.kie_task_ids else None
            step = self._running(step)
            won = await moves.start(
                connection, step, kie_task_id=kie_task_id, kie_state=report.kie_state
            )
        else:
            step = replace(step, due_in=self._confirm_in(source), reason=f"reported by {source}")
            won = await moves.settle(connection, step, report, source)
        await self._moved(connection, consequences, _won(step, won=won), step.target, source)

    def _confirm_in(self, source: Source) -> float | None:
        """Seconds until kie.ai is asked whether it is so; None: it said so when it was asked."""
        confirms = source is Source.CALLBACK and self._policy.confirm is not Confirm.OFF
        return self._policy.confirm_after if confirms else None

    async def _record_create(
        self, connection: Connection, consequences: Consequences, said: CreateAnswer, step: Move
    ) -> None:
        """Move a task by how its create ended."""
        message = message_of(said.outcome)
        step = replace(step, reason=message)
        match said.outcome:
            case Accepted(kie_task_id=kie_task_id):
                alleged = await polls.alleged_ids(connection, said.task_id, limit=1)
                step = self._running(step, poll=bool(alleged))
                won = await moves.start(connection, step, kie_task_id=kie_task_id, kie_state=None)
            case Unknown():
                expires_in = self._policy.unconfirmed_expires_after
                won = await moves.lose(connection, replace(step, due_in=0, expires_in=expires_in))
            case Refused(code=code) if step.target is State.FAILED:
                won = await moves.fail(
                    connection, step, code=code, message=message or "", source=FailSource.KIE
                )
            case _:  # refused for now, or proved not sent
                won = await moves.requeue(connection, self._back(step, said.tries + 1))
        await self._moved(connection, consequences, _won(step, won=won), step.target, "create")

    def _running(self, step: Move, *, poll: bool = False) -> Move:
        """Add the first poll and the bound of a task that kie.ai has."""
        due_in = 0 if poll else next_poll(self._schedule, 0)
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
        self, connection: Connection, consequences: Consequences, task_id: UUID
    ) -> None:
        """Take a queued task, whose row the caller has locked, out of the queue for good."""
        step = Move(
            id=task_id, left=State.QUEUED, target=State.CANCELED, reason="canceled by its client"
        )
        won = await moves.cancel(connection, step)
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
        expires_in = self._policy.unconfirmed_expires_after
        ids = await sweep.free_lost(connection, limit=limit, expires_in=expires_in)
        await self._swept(connection, consequences, ids, State.UNCONFIRMED)
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
            await self._outbox.notify(connection, ids)
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
