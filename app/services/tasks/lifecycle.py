"""Applies what was made of a report: the one place where kie.ai's word moves a task."""

from uuid import UUID

from app.domain.evidence import Judgement
from app.domain.policy import Confirm, Policy
from app.domain.polling import EXPECTING_CALLBACK, POLLING, PollSchedule, next_poll
from app.domain.report import Report
from app.domain.task import Source, Standing, State, move
from app.services.deliveries.outbox import Outbox
from app.store.engine import Connection
from app.store.tasks import moves, polls
from app.store.tasks.moves import Move


class Settling:
    """Moves tasks under a lock that the caller holds, in the caller's transaction."""

    def __init__(self, policy: Policy, outbox: Outbox) -> None:
        self._policy = policy
        self._outbox = outbox

    @property
    def schedule(self) -> PollSchedule:
        """How often to ask about tasks that run."""
        return EXPECTING_CALLBACK if self._policy.callbacks_expected else POLLING

    def running(self, task_id: UUID, left: State, *, ask: bool = False) -> Move:
        """Build the move into `running`, with its first question and its bound."""
        return Move(
            id=task_id,
            left=left,
            target=State.RUNNING,
            due_in=0 if ask else next_poll(self.schedule, 0),
            expires_in=self._policy.task_expires_after,
        )

    async def apply(
        self,
        connection: Connection,
        task_id: UUID,
        standing: Standing,
        judgement: Judgement,
        report: Report | None,
        source: Source,
    ) -> None:
        """Carry out a judgement: move, bind, ask."""
        if judgement.target is not None and report is not None:
            target = move(standing, judgement.target)
            await self._move(connection, task_id, standing, target, report, source)
        elif judgement.kie_task_id is not None:
            await polls.bind(connection, task_id, judgement.kie_task_id)
        if judgement.ask:
            await polls.poll_at_once(connection, task_id)

    async def _move(
        self,
        connection: Connection,
        task_id: UUID,
        standing: Standing,
        target: State,
        report: Report,
        source: Source,
    ) -> None:
        if target is State.RUNNING:
            await moves.start(
                connection,
                self.running(task_id, standing.state),
                kie_task_id=report.kie_task_ids[0] if report.kie_task_ids else None,
                kie_state=report.kie_state,
            )
            await self._outbox.notify(connection, [task_id])
            return
        confirms = source is Source.CALLBACK and self._policy.confirm is not Confirm.OFF
        end = Move(
            id=task_id,
            left=standing.state,
            target=target,
            due_in=self._policy.confirm_after if confirms else None,
            reason=f"reported by {source}",
        )
        await moves.settle(connection, end, report, source)
        await self._outbox.notify(connection, [task_id])
