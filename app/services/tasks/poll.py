"""Asking kie.ai about tasks: when the callback is late, lost, doubted or to be confirmed."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import structlog

from app.domain.admission import Call
from app.domain.audit import Action
from app.domain.errors import DatabaseUnavailableError
from app.domain.evidence import Verdict
from app.domain.policy import Policy
from app.domain.polling import next_after_expiry, next_poll, schedule_of
from app.domain.report import Answer, Answered, NoAnswer, NotVisible
from app.domain.retry import backoff
from app.domain.statement import Statement
from app.domain.task import FINAL, Source, Standing, State, yields
from app.kie.client import KieClient
from app.metrics import Metrics
from app.services.account.admission import CALL_MARGIN
from app.services.consequences import Consequences
from app.services.inflight import InFlight
from app.services.tasks.leases import Leases
from app.services.tasks.lifecycle import Applied, Lifecycle
from app.store import slots
from app.store.clients import audit
from app.store.engine import Connection, Database
from app.store.signals import POLL
from app.store.slots import Held
from app.store.tasks import polls, rows
from app.store.tasks.polls import DuePoll

ALLEGED_IDS = 3
"""How many ids that nobody vouched for are asked about, in turn."""

MAX_POLL_ERRORS = 5
"""Defects of ours in a row after which a task is parked for an operator."""

POLL_ERROR_WAIT = 30.0

CONFIRMATIONS = 8
"""Fruitless tries after which a settled task stays unconfirmed by query: over half an hour."""

log = structlog.get_logger(__name__)


class Poller:
    """Asks recordInfo, and says when to ask again."""

    def __init__(
        self,
        database: Database,
        lifecycle: Lifecycle,
        kie: KieClient,
        leases: Leases,
        policy: Policy,
        new_id: Callable[[], UUID],
        chance: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._lifecycle = lifecycle
        self._kie = kie
        self._leases = leases
        self._policy = policy
        self._schedule = schedule_of(callbacks_expected=policy.callbacks_expected)
        self._new_id = new_id
        self._chance = chance
        self._metrics = metrics
        self._in_flight = InFlight()

    async def poll_due(self) -> float | None:
        """Ask about the tasks that are due, as far as the account's query limit allows.

        Returns the seconds until there may be more to do: 0 at once, None: nobody knows.
        """
        queries = self._policy.limits.queries
        async with self._database.begin() as connection:
            claimed = await polls.claim_due(
                connection,
                queries=queries.calls,
                lease=self._policy.lease,
                taken_for=queries.window + self._policy.call + CALL_MARGIN,
            )
            if not claimed:
                return await polls.next_due(connection, queries=queries.calls)
        for due in claimed:
            self._in_flight.start(self._poll(due), f"poll {due.id}")
        return 0

    async def drain(self) -> None:
        """Wait until every query that was started has recorded its answer."""
        await self._in_flight.drain()

    async def _poll(self, due: DuePoll) -> None:
        """Query and record; a task that meets a defect of ours again and again is parked."""
        try:
            with self._leases.hold(due.id):
                await self._query_and_record(due)
        except DatabaseUnavailableError:
            log.warning("poll.database_away", task_id=str(due.id))  # its lease runs out
        except Exception as error:  # whatever it is, the row must not be lost
            log.exception("poll.broken", task_id=str(due.id))
            await self._record_error(due, type(error).__name__)

    async def _query_and_record(self, due: DuePoll) -> None:
        statement = await self._query(due)
        answered = self._metrics.now()

        async def work(connection: Connection, consequences: Consequences) -> None:
            await self._release(connection, due, self._metrics.now() - answered)
            consequences.wake(due.id, POLL)
            await self._record(connection, consequences, due, statement)

        await self._lifecycle.run(work)

    async def _record_error(self, due: DuePoll, name: str) -> None:
        async def work(connection: Connection, consequences: Consequences) -> None:
            await self._release(connection, due)
            consequences.wake(due.id, POLL)
            parked = await polls.record_poll_error(
                connection, due.id, error=name, due_in=POLL_ERROR_WAIT, most=MAX_POLL_ERRORS
            )
            if parked:
                log.error("task.parked", task_id=str(due.id), error=name)
                await audit.note(
                    connection, Action.TASK_SET_ASIDE, task_id=due.id, detail={"error": name}
                )

        await self._lifecycle.run(work)

    async def _release(
        self, connection: Connection, due: DuePoll, answered_ago: float = 0.0
    ) -> None:
        held = Held(call=Call.QUERY, slot=due.slot, task_id=due.id)
        window = self._policy.limits.queries.window
        await slots.release(connection, held, window=window, answered_ago=answered_ago)

    async def _query(self, due: DuePoll) -> Statement | None:
        """Send one query; returns what kie.ai says, None where it says nothing of use."""
        kie_task_id = due.kie_task_id or await self._alleged_id(due)
        if kie_task_id is None:
            return None
        started = self._metrics.now()
        answer = await self._kie.record_info(kie_task_id)
        self._metrics.queried(_label(answer), self._metrics.now() - started)
        if not isinstance(answer, Answered):
            log.info("poll.unanswered", task_id=str(due.id), answer=repr(answer))
            return None
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
        statement: Statement | None,
    ) -> None:
        if statement is not None:
            applied = await self._lifecycle.apply(connection, consequences, statement)
            if applied.fresh and applied.standing is not None:
                await self._plan_next(connection, due, applied.standing, applied)
        elif (standing := await rows.lock_task(connection, due.id)) is not None:
            await self._poll_again(connection, due, standing, fruitless=True)

    async def _plan_next(
        self,
        connection: Connection,
        due: DuePoll,
        standing: Standing,
        applied: Applied[Statement],
    ) -> None:
        """Say when to ask again, as far as the task was not settled just now."""
        verdict, target = applied.judgement.verdict, applied.judgement.target
        if verdict in {Verdict.DISAGREED, Verdict.UNVERIFIED}:
            await self._poll_again(connection, due, standing, fruitless=True)
        elif not applied.said.ends:
            after = replace(standing, state=target or standing.state)
            kie_state = applied.said.report.kie_state if applied.said.report else None
            await self._poll_again(connection, due, after, kie_state=kie_state)
        elif target is None:
            await polls.confirm(connection, due.id)

    async def _poll_again(
        self,
        connection: Connection,
        due: DuePoll,
        standing: Standing,
        *,
        fruitless: bool = False,
        kie_state: str | None = None,
    ) -> None:
        """Come back later: soon at first, then ever more slowly, and never without an end."""
        tries = due.tries + 1 if fruitless else 0
        await polls.reschedule(
            connection,
            due.id,
            due_in=self._wait(due, standing, tries, fruitless=fruitless),
            tries=tries,
            kie_state=kie_state,
        )

    def _wait(
        self, due: DuePoll, standing: Standing, tries: int, *, fruitless: bool
    ) -> float | None:
        """Seconds until the next query; None: it is not worth one."""
        if standing.state is State.EXPIRED:
            return next_after_expiry(due.final_for or 0)
        if not self._is_worth_polling(standing, tries):
            return None
        queries = self._policy.limits.queries
        turn = due.sharing * queries.window / queries.calls
        wait = max(next_poll(self._schedule, due.age), turn)
        if fruitless:
            wait = max(wait, backoff(tries, first=2, ceiling=300, share=self._chance()))
        return wait

    def _is_worth_polling(self, standing: Standing, tries: int) -> bool:
        if standing.state in FINAL:
            # A settled task is asked about a few times, one that the gateway ended but once.
            return not yields(standing) and tries < CONFIRMATIONS
        # Without an id there is nothing to ask about until a callback names one.
        return standing.kie_task_id is not None or standing.state is State.RUNNING


def _label(answer: Answer) -> str:
    match answer:
        case Answered(report=report):
            return report.progress
        case NotVisible():
            return "not_visible"
        case NoAnswer(account=account):
            return "account" if account else "unanswered"
