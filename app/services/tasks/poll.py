"""Asking kie.ai about tasks: when the callback is late, lost, doubted or to be confirmed."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import structlog

from app.domain.admission import Call
from app.domain.audit import Action
from app.domain.errors import DatabaseUnavailableError
from app.domain.holding import UNREACHED
from app.domain.pace import Paces
from app.domain.policy import Policy
from app.domain.polling import DuePoll, NextPoll, next_poll_of
from app.domain.report import Answer, Answered, NoAnswer, NotVisible
from app.domain.statement import Statement
from app.domain.task import Source
from app.kie.client import KieClient
from app.metrics import Metrics
from app.services.account.admission import CALL_MARGIN
from app.services.consequences import Consequences
from app.services.inflight import InFlight
from app.services.tasks.intake import Intake
from app.services.tasks.leases import Leases
from app.store import slots
from app.store.clients import audit
from app.store.connections.engine import Connection, Database
from app.store.signals import POLL
from app.store.slots import Held
from app.store.tasks import polls, rows
from app.traces import Step, Traces

ALLEGED_IDS = 3
"""How many ids that nobody vouched for are asked about, in turn."""

MAX_POLL_ERRORS = 5
"""Defects of ours in a row after which a task is parked for an operator."""

POLL_ERROR_WAIT = 30.0

log = structlog.get_logger(__name__)


LOCKED_WAIT = 0.25
"""Seconds until another look at what is due, and had its row locked by somebody just now."""


class Poller:
    """Asks recordInfo, and says when to ask again."""

    def __init__(
        self,
        database: Database,
        intake: Intake,
        kie: KieClient,
        leases: Leases,
        policy: Policy,
        new_id: Callable[[], UUID],
        chance: Callable[[], float],
        metrics: Metrics,
        paces: Paces,
        traces: Traces,
    ) -> None:
        self._traces = traces
        self._database = database
        self._intake = intake
        self._kie = kie
        self._leases = leases
        self._policy = policy
        self._new_id = new_id
        self._chance = chance
        self._metrics = metrics
        self._paces = paces
        self._in_flight = InFlight()

    async def poll_due(self) -> float | None:
        """Ask about the tasks that are due, as far as the account's query limit allows.

        Returns the seconds until there may be more to do: 0 at once, None: nobody knows.
        """
        queries = self._policy.limits.queries
        async with self._database.at_once() as connection:
            due_in = await polls.next_due(connection, queries=queries.calls)
            if due_in is None or due_in > 0:
                return due_in
            claimed = await polls.claim_due(
                connection,
                queries=queries.calls,
                lease=self._policy.lease,
                taken_for=queries.window + self._policy.call + CALL_MARGIN,
            )
        for claim in claimed:
            due = replace(claim, pace=self._paces.of(claim.model))
            self._in_flight.start(self._poll(due), f"poll {due.id}")
        return 0 if claimed else LOCKED_WAIT

    async def drain(self) -> None:
        """Wait until every query that was started has recorded its answer."""
        await self._in_flight.drain()

    async def _poll(self, due: DuePoll) -> None:
        """Query and record; a task that meets a defect of ours again and again is parked."""
        try:
            with self._leases.hold(due.id), self._traces.span(Step.QUERY, due.traceparent) as span:
                answer = await self._query_and_record(due)
                span.note(task_id=due.id, model=due.model, outcome=_said(answer))
        except DatabaseUnavailableError:
            log.warning("poll.database_away", task_id=str(due.id))  # its lease runs out
        except Exception as error:  # whatever it is, the row must not be lost
            log.exception("poll.broken", task_id=str(due.id))
            await self._record_error(due, type(error).__name__)

    async def _query_and_record(self, due: DuePoll) -> Statement | NotVisible | NoAnswer:
        asked = due.kie_task_id or await self._alleged_id(due)
        answer = await self._query(due, asked)
        answered = self._metrics.now()

        async def work(connection: Connection, consequences: Consequences) -> None:
            if isinstance(answer, Statement):
                await self._record(connection, consequences, due, answer)
            else:
                # Of an id that only a callback named nothing is known yet: it is asked about again.
                about = replace(due, kie_task_id=asked)
                await self._record_silence(connection, consequences, about, answer)
            await self._release(connection, consequences, due, self._metrics.now() - answered)

        await self._intake.run(work)
        return answer

    async def _record_error(self, due: DuePoll, name: str) -> None:
        async def work(connection: Connection, consequences: Consequences) -> None:
            parked = await polls.record_poll_error(
                connection, due.id, error=name, due_in=POLL_ERROR_WAIT, most=MAX_POLL_ERRORS
            )
            if parked:
                log.error("task.parked", task_id=str(due.id), error=name)
                await audit.note(
                    connection, Action.TASK_SET_ASIDE, task_id=due.id, detail={"error": name}
                )
            consequences.wake(POLL, after=POLL_ERROR_WAIT)
            await self._release(connection, consequences, due)

        await self._intake.run(work)

    async def _release(
        self,
        connection: Connection,
        consequences: Consequences,
        due: DuePoll,
        answered_ago: float = 0.0,
    ) -> None:
        """Free the query's slot, and wake whoever waits for its answer."""
        held = Held(call=Call.QUERY, slot=due.slot, task_id=due.id)
        window = self._policy.limits.queries.window
        await slots.release(connection, held, window=window, answered_ago=answered_ago)
        consequences.wake(due.id)
        consequences.wake(POLL, after=window - answered_ago)

    async def _query(
        self, due: DuePoll, kie_task_id: str | None
    ) -> Statement | NotVisible | NoAnswer:
        """Send one query; returns what kie.ai says, or how it says nothing of use."""
        if kie_task_id is None:
            return NotVisible()
        started = self._metrics.now()
        answer = await self._kie.record_info(kie_task_id)
        self._metrics.queried(_label(answer), self._metrics.now() - started)
        if not isinstance(answer, Answered):
            log.info("poll.unanswered", task_id=str(due.id), answer=repr(answer))
            return answer
        report = answer.report
        return Statement(
            id=self._new_id(),
            task_id=due.id,
            source=Source.QUERY,
            body=answer.body,
            content=replace(report, kie_task_ids=report.kie_task_ids or (kie_task_id,)),
            alleged=due.kie_task_id is None,
        )

    async def _alleged_id(self, due: DuePoll) -> str | None:
        """Return an id that a callback named and nobody vouched for; several take turns."""
        async with self._database.read() as connection:
            found = await polls.alleged_ids(connection, due.id, limit=ALLEGED_IDS)
        return found[due.tries % len(found)] if found else None

    async def _record(
        self,
        connection: Connection,
        consequences: Consequences,
        due: DuePoll,
        statement: Statement,
    ) -> None:
        """Apply what kie.ai says, and say when to ask again where that did not settle the task."""
        applied = await self._intake.apply(connection, consequences, statement)
        if applied.fresh and applied.standing is not None:
            following = next_poll_of(
                due,
                applied.standing,
                applied.judgement,
                applied.said.report,
                reached=True,
                policy=self._policy,
                share=self._chance(),
            )
            if following is not None:
                await _reschedule(connection, consequences, due.id, following)

    async def _record_silence(
        self,
        connection: Connection,
        consequences: Consequences,
        due: DuePoll,
        answer: NotVisible | NoAnswer,
    ) -> None:
        """Ask again later; an end that kie.ai cannot be asked about is believed one day."""
        standing = await rows.lock_task(connection, due.id)
        if standing is None:
            return
        reached = isinstance(answer, NotVisible) or answer.throttled
        if not reached and (standing.unreached_for or 0.0) >= UNREACHED:
            believe = self._intake.believe_held
            if await believe(connection, consequences, due.id, standing):
                return
        following = next_poll_of(
            due,
            standing,
            None,
            None,
            reached=reached,
            policy=self._policy,
            share=self._chance(),
        )
        if following is not None:
            await _reschedule(connection, consequences, due.id, following)


async def _reschedule(
    connection: Connection, consequences: Consequences, task_id: UUID, following: NextPoll
) -> None:
    await polls.reschedule(connection, task_id, following)
    if following.due_in is not None:
        consequences.wake(POLL, after=following.due_in)


def _label(answer: Answer) -> str:
    match answer:
        case Answered(report=report):
            return report.progress
        case NotVisible():
            return "not_visible"
        case NoAnswer(account=account):
            return "account" if account else "unanswered"


def _said(answer: Statement | NotVisible | NoAnswer) -> str:
    """Label what is kept of an answer, as it is counted."""
    if not isinstance(answer, Statement):
        return _label(answer)
    return "unreadable" if answer.report is None else answer.report.progress
