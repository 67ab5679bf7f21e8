"""The one door for a task's changes: every move, and all that follows from it.

A move has five consequences: an event in the task's history, what it costs in the books, a delivery
in the outbox, a wake-up, and a count. The first three are written in the move's own transaction;
the others are collected there and published after its commit, and only of the try that committed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from uuid import UUID

import structlog

from app.domain.amendment import Amendment
from app.domain.delivery import EVENTS, EventType
from app.domain.failure import classify
from app.domain.move import LostMoveError, Move
from app.domain.pace import Paces
from app.domain.policy import Policy
from app.domain.polling import AFTER_EXPIRY
from app.domain.report import Facts, Report
from app.domain.statement import CreateAnswer
from app.domain.submission import Accepted, Fault, Refused, Unknown, message_of, words_of
from app.domain.task import DEADLINES, FINAL, FailCode, FailSource, Source, State
from app.metrics import Metrics
from app.services.consequences import Consequences, Transactions
from app.services.deliveries.outbox import Outbox
from app.services.tasks.files import TaskFiles
from app.services.tasks.owed import LEAVES_ROOM, WAKES, Owed
from app.store.account import accepted
from app.store.account.admission import ClaimedTask
from app.store.clients import audit
from app.store.connections.engine import Columns, Connection
from app.store.signals import POLL, ROOM
from app.store.tasks import facts, moves, polls, sweep

NEVER_SENT = "its create was never sent"
WITHDRAWN = "withdrawn: its caller was told that nothing would happen"
TAKEN_AFTER_ALL = "a callback says that kie.ai has it"
FOUND_SENT = "an operator found it at kie.ai"
FAILED_BY_OPERATOR = "failed by an operator"
OTHERWISE = "kie.ai's record says otherwise"

log = structlog.get_logger(__name__)


class Lifecycle:
    """Moves tasks, in transactions of `run`, which publishes what follows once it is committed."""

    def __init__(
        self,
        transactions: Transactions,
        outbox: Outbox,
        policy: Policy,
        chance: Callable[[], float],
        metrics: Metrics,
        paces: Paces,
    ) -> None:
        self.run = transactions.run
        self._outbox = outbox
        self._policy = policy
        self._owed = Owed(policy, chance, paces)
        self._metrics = metrics
        self.files = TaskFiles(outbox, archives=policy.archives)

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
        if state is State.SUCCEEDED and amendment.retold:
            await self.files.owe(connection, consequences, task_id, amendment.facts)
        event = None if amendment.retold else EventType.UPDATED
        await self._outbox.notify(connection, consequences, [task_id], event=event)
        consequences.wake(task_id)
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
            await self._start(
                *(connection, consequences, self._owed.running(step)),
                kie_task_id=kie_task_id,
                kie_state=report.kie_state,
            )
            return
        if step.target is State.UNCONFIRMED:
            step = self._owed.unconfirmed(replace(step, reason=TAKEN_AFTER_ALL))
            won = await moves.lose(connection, step, kie_message=None)
        else:
            otherwise = step.left in (State.SUCCEEDED, State.FAILED)
            reason = OTHERWISE if otherwise else f"reported by {source}"
            step = replace(step, due_in=self._owed.confirm_in(report, source), reason=reason)
            won = await moves.settle(connection, step, report, source)
            if won and step.target is State.SUCCEEDED:
                await self.files.owe(connection, consequences, step.id, report)
            self._count_failure(consequences, step.target, report)
        await self._moved(connection, consequences, step, won=won, by=source)

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
                step = self._owed.running(step)
                found = await self._start(connection, consequences, step, kie_task_id=kie_task_id)
                if found.alleged is not None:
                    await self._ask_about(
                        *(connection, consequences, said.task_id),
                        known=kie_task_id,
                        alleged=found.alleged,
                    )
                return
            case Unknown(message=words):
                step = self._owed.unconfirmed(step, words)
                won = await moves.lose(connection, step, kie_message=words)
            case Refused(fault=Fault.FILE):
                won = await moves.give_up(
                    connection, step, code=FailCode.FILE_EXPIRED, message=message or ""
                )
            case Refused(code=code) if step.target is State.FAILED:
                words = words_of(said.outcome)
                won = await moves.fail(
                    connection, step, code=code, message=message or "", kie_message=words
                )
                said_of_it = Facts(fail_code=code, fail_message=message)
                self._count_failure(consequences, step.target, said_of_it)
            case _:  # refused for now, or proved not sent
                step = self._owed.back(step, said.tries + 1)
                words = words_of(said.outcome)
                won = await moves.requeue(connection, step, kie_message=words)
        await self._moved(connection, consequences, step, won=won, by="create")

    async def accept(
        self,
        connection: Connection,
        consequences: Consequences,
        claimed: ClaimedTask,
        kie_task_id: str,
        *,
        answered_ago: float,
    ) -> Columns | None:
        """Have a task run that kie.ai took, in one statement; returns what changed of it.

        None: nothing is done, since there is more to it: `record_create` knows the rest.
        """
        step = Move(id=claimed.id, left=State.SUBMITTING, target=State.RUNNING, model=claimed.model)
        step = self._owed.running(step)
        window = self._policy.limits.creates.window
        found = await accepted.accept(
            *(connection, step, claimed, kie_task_id), window=window, answered_ago=answered_ago
        )
        if found is not None:
            ids, target = [step.id], step.target
            await self._came_to(
                *(connection, consequences, ids, target), due_in=step.due_in, heard=False
            )
            consequences.wake(ROOM, after=window - answered_ago)
        return found

    async def _start(
        self,
        connection: Connection,
        consequences: Consequences,
        step: Move,
        *,
        kie_task_id: str | None,
        kie_state: str | None = None,
    ) -> moves.Started:
        """Have a task run; raises `LostMoveError`."""
        found = await moves.start(connection, step, kie_task_id=kie_task_id, kie_state=kie_state)
        if found is None:
            raise LostMoveError(step)
        await self._came_to(
            *(connection, consequences, [step.id], step.target),
            due_in=step.due_in,
            heard=found.is_chosen,
        )
        return found

    async def _ask_about(
        self,
        connection: Connection,
        consequences: Consequences,
        task_id: UUID,
        *,
        known: str,
        alleged: str,
    ) -> None:
        """Ask kie.ai at once about a task that a callback named an id of, before the answer did."""
        await polls.poll_at_once(connection, task_id)
        consequences.wake(POLL)
        if alleged != known:
            await self.note_second_id(
                connection, consequences, task_id, known=known, second=alleged
            )

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
        await self._moved(connection, consequences, step, won=won)

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
        await self._moved(connection, consequences, step, won=won)

    async def withdraw(
        self, connection: Connection, consequences: Consequences, step: Move
    ) -> None:
        """Take a task out for good that was never sent, and whose caller knows of none.

        `step` names the state that it leaves; the caller has locked its row. Nobody is notified.
        """
        if step.left is not State.QUEUED:
            back = replace(step, target=State.QUEUED, reason=NEVER_SENT)
            back.require(won=await moves.requeue(connection, back))
        step = replace(step, left=State.QUEUED, target=State.CANCELED, reason=WITHDRAWN)
        step.require(won=await moves.cancel(connection, step))
        consequences.wake(step.id, ROOM)

    async def found_sent(
        self, connection: Connection, consequences: Consequences, task_id: UUID, kie_task_id: str
    ) -> None:
        """Have a queued task, whose row the caller has locked, run: a person found it at kie.ai."""
        step = Move(id=task_id, left=State.QUEUED, target=State.RUNNING, reason=FOUND_SENT)
        await self._start(
            connection, consequences, self._owed.running(step), kie_task_id=kie_task_id
        )

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
        await self._moved(connection, consequences, step, won=won)

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
        await self._swept(connection, consequences, ids, State.UNCONFIRMED, due_in=0)
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
        await self._swept(connection, consequences, ids, target, due_in=poll_in)
        return ids

    async def _swept(
        self,
        connection: Connection,
        consequences: Consequences,
        ids: Sequence[UUID],
        target: State,
        *,
        due_in: float | None,
    ) -> None:
        consequences.count(partial(self._metrics.swept, target, len(ids)))
        await self._came_to(connection, consequences, ids, target, due_in=due_in, by="gateway")

    async def _moved(
        self,
        connection: Connection,
        consequences: Consequences,
        step: Move,
        *,
        won: bool,
        by: str | None = None,
    ) -> None:
        """Add what follows from a move; raises `LostMoveError` where it was lost."""
        step.require(won=won)
        ids, target = [step.id], step.target
        await self._came_to(connection, consequences, ids, target, due_in=step.due_in, by=by)

    async def _came_to(
        self,
        connection: Connection,
        consequences: Consequences,
        ids: Sequence[UUID],
        target: State,
        *,
        due_in: float | None,
        by: str | None = None,
        heard: bool = True,
    ) -> None:
        """Add what follows from tasks having come to a state, in which they are due in `due_in` s.

        None: they owe nothing any more. `by`: who ended them, for the metrics; None: nobody is
        counted. Unless `heard`, nobody has chosen to hear of it.
        """
        if not ids:
            return
        if heard and target in EVENTS:
            await self._outbox.notify(connection, consequences, ids)
        consequences.wake(*ids)
        if due_in is not None:
            consequences.wake(WAKES[target], after=due_in)
        if target in LEAVES_ROOM:
            consequences.wake(ROOM)
        if target in FINAL and by is not None:
            for task_id in ids:
                consequences.count(partial(self._metrics.settled, task_id, by, target))
