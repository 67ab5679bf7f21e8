"""Asking kie.ai about tasks: when the callback is late, lost, doubted or to be confirmed."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import structlog

from app.domain.admission import Call
from app.domain.audit import Action
from app.domain.callback_url import CallbackUrls
from app.domain.errors import DatabaseUnavailableError
from app.domain.evidence import Judgement, Signature, Verdict, judge
from app.domain.policy import Policy
from app.domain.polling import next_after_expiry, next_poll
from app.domain.redact import redacted_report
from app.domain.report import Answer, Answered, NoAnswer, NotVisible, Progress, Report
from app.domain.retry import backoff
from app.domain.task import FINAL, Source, Standing, State, yields
from app.kie.client import KieClient
from app.metrics import Metrics
from app.services.account.admission import CALL_MARGIN
from app.services.inflight import InFlight
from app.services.tasks.leases import Leases
from app.services.tasks.lifecycle import Settling
from app.store import slots
from app.store.clients import audit
from app.store.engine import Connection, Database
from app.store.signals import ASK, DELIVER, QUEUE, Signals
from app.store.slots import Held
from app.store.tasks import callbacks, polls, rows
from app.store.tasks.callbacks import NewCallback
from app.store.tasks.polls import DuePoll

DOUBTED_IDS = 3
"""How many ids that nobody vouched for are asked about, in turn."""

MAX_POLL_ERRORS = 5
"""Defects of ours in a row after which a task is set aside for an operator."""

POLL_ERROR_WAIT = 30.0

CONFIRMATIONS = 8
"""Fruitless tries after which a settled task stays unconfirmed by query: over half an hour."""

log = structlog.get_logger(__name__)


class Poller:
    """Asks recordInfo and applies what it says."""

    def __init__(
        self,
        database: Database,
        kie: KieClient,
        signals: Signals,
        leases: Leases,
        urls: CallbackUrls,
        settling: Settling,
        policy: Policy,
        new_id: Callable[[], UUID],
        chance: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._kie = kie
        self._signals = signals
        self._leases = leases
        self._urls = urls
        self._settling = settling
        self._policy = policy
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
            self._in_flight.start(self._ask(due), f"ask {due.id}")
        return 0

    async def drain(self) -> None:
        """Wait until every question that was started has recorded its answer."""
        await self._in_flight.drain()

    async def _ask(self, due: DuePoll) -> None:
        """Ask and record; a task that meets a defect of ours again and again is set aside."""
        try:
            with self._leases.hold(due.id):
                await self._ask_and_record(due)
        except DatabaseUnavailableError:
            log.warning("question.database_away", task_id=str(due.id))  # its lease runs out
        except Exception as error:  # whatever it is, the row must not be lost
            log.exception("question.broken", task_id=str(due.id))
            name = type(error).__name__
            await self._database.run(
                lambda connection: self._record_poll_error(connection, due, name)
            )
        # A slot and perhaps a seat came free, and perhaps a delivery was put out.
        self._signals.announce(due.id.hex, QUEUE, ASK, DELIVER)

    async def _ask_and_record(self, due: DuePoll) -> None:
        told = await self._kie_says_of(due)
        answered, answer_id = self._metrics.now(), self._new_id()

        async def work(connection: Connection) -> Judgement | None:
            await self._release(connection, due, self._metrics.now() - answered)
            return await self._record(connection, due, told, answer_id)

        judgement = await self._database.run(work)
        self._count(due.id, judgement)

    async def _release(
        self, connection: Connection, due: DuePoll, answered_ago: float = 0.0
    ) -> None:
        held = Held(call=Call.QUERY, slot=due.slot, task_id=due.id)
        window = self._policy.limits.queries.window
        await slots.release(connection, held, window=window, answered_ago=answered_ago)

    async def _record_poll_error(self, connection: Connection, due: DuePoll, name: str) -> None:
        await self._release(connection, due)
        aside = await polls.record_poll_error(
            connection, due.id, error=name, due_in=POLL_ERROR_WAIT, most=MAX_POLL_ERRORS
        )
        if aside:
            log.error("task.set_aside", task_id=str(due.id), error=name)
            await audit.note(
                connection, Action.TASK_SET_ASIDE, task_id=due.id, detail={"error": name}
            )

    async def _kie_says_of(self, due: DuePoll) -> Answered | None:
        """Send one query: about the task's own id, or about one that nobody vouched for."""
        if due.kie_task_id is not None:
            return await self._kie_says(due, due.kie_task_id)
        return await self._kie_says_of_doubted(due)

    async def _kie_says(self, due: DuePoll, kie_task_id: str) -> Answered | None:
        started = self._metrics.now()
        answer = await self._kie.record_info(kie_task_id)
        self._metrics.asked(_label(answer), self._metrics.now() - started)
        if not isinstance(answer, Answered):
            log.info("question.unanswered", task_id=str(due.id), answer=repr(answer))
            return None
        report = answer.report
        if not report.kie_task_ids:
            report = replace(report, kie_task_ids=(kie_task_id,))
        return Answered(report=report, body=answer.body)

    async def _kie_says_of_doubted(self, due: DuePoll) -> Answered | None:
        """Ask about an id that a callback named; only an echo of this task's own URL proves it.

        Of several ids each has its turn.
        """
        async with self._database.read() as connection:
            doubted = await polls.alleged_ids(connection, due.id, limit=DOUBTED_IDS)
        if not doubted:
            return None
        told = await self._kie_says(due, doubted[due.tries % len(doubted)])
        if told and self._urls.is_own(due.id, told.report.callback_url):
            return told
        return None

    async def _record(
        self, connection: Connection, due: DuePoll, told: Answered | None, answer_id: UUID
    ) -> Judgement | None:
        """Record the answer; returns what was made of it, None where there is nothing new."""
        standing = await rows.lock_task(connection, due.id)
        if standing is None:
            return None
        if told is None:
            await self._ask_again(connection, due, standing, fruitless=True)
            return None
        report = redacted_report(told.report, self._urls.tokens(due.id))
        foreign = self._urls.is_foreign(due.id, report.callback_url)
        judgement = judge(standing, report, Source.QUERY, foreign=foreign)
        if report.progress is not Progress.RUNNING:
            answer = NewCallback(
                id=answer_id,
                task_id=due.id,
                source=Source.QUERY,
                body=told.body,
                headers={},
                signature=Signature.UNCHECKED,
            )
            if not await callbacks.insert_callback(
                connection, answer, judgement.verdict, report=report
            ):
                return None  # the first try's commit went through after all
        await self._follow(connection, due, standing, judgement, report)
        return judgement

    def _count(self, task_id: UUID, judgement: Judgement | None) -> None:
        """Count after the commit."""
        if judgement is None:
            return
        if judgement.verdict is Verdict.DISAGREED:
            self._metrics.disagreed(Source.QUERY)
        elif judgement.target in FINAL:
            self._metrics.settled(task_id, Source.QUERY, judgement.target)

    async def _follow(
        self,
        connection: Connection,
        due: DuePoll,
        standing: Standing,
        judgement: Judgement,
        report: Report,
    ) -> None:
        if judgement.verdict is Verdict.DISAGREED:
            log.error("task.disagreement", task_id=str(due.id))
            await self._ask_again(connection, due, standing, fruitless=True)
        elif report.progress is Progress.RUNNING:
            bare = replace(judgement, ask=False)
            await self._settling.apply(connection, due.id, standing, bare, report, Source.QUERY)
            after = replace(standing, state=judgement.target or standing.state)
            await self._ask_again(connection, due, after, kie_state=report.kie_state)
        elif judgement.target is None:
            await polls.confirm(connection, due.id)
        else:
            await self._settling.apply(
                connection, due.id, standing, judgement, report, Source.QUERY
            )

    async def _ask_again(
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
        """Seconds until the next question; None: it is not worth one."""
        if standing.state is State.EXPIRED:
            return next_after_expiry(due.final_for or 0)
        if not self._is_worth_asking(standing, tries):
            return None
        queries = self._policy.limits.queries
        turn = due.sharing * queries.window / queries.calls
        wait = max(next_poll(self._settling.schedule, due.age), turn)
        if fruitless:
            wait = max(wait, backoff(tries, first=2, ceiling=300, share=self._chance()))
        return wait

    def _is_worth_asking(self, standing: Standing, tries: int) -> bool:
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
