"""Asking kie.ai about tasks: when the callback is late, lost, doubted or to be confirmed."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import structlog

from app.domain.asking import next_ask
from app.domain.callback_url import CallbackUrls
from app.domain.evidence import Judgement, Signature, Verdict, judge
from app.domain.redact import redacted_report
from app.domain.report import Answer, NotVisible, Progress, Report, Told, Unanswered
from app.domain.retry import backoff
from app.domain.task import AT_REST, Source, Standing, State, yields
from app.domain.terms import Terms
from app.kie.client import KieClient
from app.metrics import Metrics
from app.services.errands import Errands
from app.services.leases import Leases
from app.services.settle import Settling
from app.store import callbacks, questions, tasks
from app.store.callbacks import NewCallback
from app.store.engine import Connection, Database
from app.store.questions import Question
from app.store.signals import Signals

DOUBTED_IDS = 3
"""How many ids that nobody vouched for are asked about in one turn."""

CONFIRMATIONS = 8
"""Fruitless tries after which a settled task stays unconfirmed by query: over half an hour."""

log = structlog.get_logger(__name__)


class Asker:
    """Asks recordInfo and applies what it says."""

    def __init__(
        self,
        database: Database,
        kie: KieClient,
        signals: Signals,
        leases: Leases,
        urls: CallbackUrls,
        settling: Settling,
        terms: Terms,
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
        self._terms = terms
        self._new_id = new_id
        self._chance = chance
        self._metrics = metrics
        self._errands = Errands()

    async def ask_due(self, limit: int) -> int:
        """Ask about up to `limit` tasks that are due; return how many were taken."""
        room = max(0, limit - len(self._errands))
        if room == 0:
            return 0
        async with self._database.begin() as connection:
            claimed = await questions.claim_questions(
                connection, limit=room, lease=self._terms.lease
            )
        for question in claimed:
            self._errands.start(self._ask(question), f"ask {question.id}")
        return len(claimed)

    async def drain(self) -> None:
        """Wait until every question that was started has recorded its answer."""
        await self._errands.drain()

    async def _ask(self, question: Question) -> None:
        with self._leases.hold(question.id):
            if question.kie_task_id is not None:
                told = await self._kie_says(question, question.kie_task_id)
            else:
                told = await self._kie_says_of_doubted(question)
            answer_id = self._new_id()
            judgement = await self._database.run(
                lambda connection: self._record(connection, question, told, answer_id)
            )
            self._count(question.id, judgement)
        self._signals.announce(question.id.hex)

    async def _kie_says(self, question: Question, kie_task_id: str) -> Told | None:
        started = self._metrics.now()
        answer = await self._kie.record_info(kie_task_id)
        self._metrics.asked(_word(answer), self._metrics.now() - started)
        if not isinstance(answer, Told):
            log.info("question.unanswered", task_id=str(question.id), answer=repr(answer))
            return None
        report = answer.report
        if not report.kie_task_ids:
            report = replace(report, kie_task_ids=(kie_task_id,))
        return Told(report=report, body=answer.body)

    async def _kie_says_of_doubted(self, question: Question) -> Told | None:
        """Ask about ids that callbacks named; only an echo of this task's own URL proves one."""
        async with self._database.read() as connection:
            doubted = await questions.claimed_ids(connection, question.id, limit=DOUBTED_IDS)
        for kie_task_id in doubted:
            told = await self._kie_says(question, kie_task_id)
            if told and self._urls.is_own(question.id, told.report.callback_url):
                return told
        return None

    async def _record(
        self, connection: Connection, question: Question, told: Told | None, answer_id: UUID
    ) -> Judgement | None:
        """Record the answer; returns what was made of it, None where there is nothing new."""
        standing = await tasks.lock_task(connection, question.id)
        if standing is None:
            return None
        if told is None:
            await self._ask_again(connection, question, standing, fruitless=True)
            return None
        report = redacted_report(told.report, self._urls.tokens(question.id))
        foreign = self._urls.is_foreign(question.id, report.callback_url)
        judgement = judge(standing, report, Source.QUERY, foreign=foreign)
        if report.progress is not Progress.RUNNING:
            answer = NewCallback(
                id=answer_id,
                task_id=question.id,
                source=Source.QUERY,
                body=told.body,
                headers={},
                signature=Signature.UNCHECKED,
            )
            if not await callbacks.insert_callback(
                connection, answer, judgement.verdict, report=report
            ):
                return None  # the first try's commit went through after all
        await self._follow(connection, question, standing, judgement, report)
        return judgement

    def _count(self, task_id: UUID, judgement: Judgement | None) -> None:
        """Count after the commit."""
        if judgement is None:
            return
        if judgement.verdict is Verdict.DISAGREED:
            self._metrics.disagreed(Source.QUERY)
        elif judgement.target in AT_REST:
            self._metrics.settled(task_id, Source.QUERY, judgement.target)

    async def _follow(
        self,
        connection: Connection,
        question: Question,
        standing: Standing,
        judgement: Judgement,
        report: Report,
    ) -> None:
        if judgement.verdict is Verdict.DISAGREED:
            log.error("task.disagreement", task_id=str(question.id))
            await self._ask_again(connection, question, standing, fruitless=True)
        elif report.progress is Progress.RUNNING:
            bare = replace(judgement, ask=False)
            await self._settling.apply(
                connection, question.id, standing, bare, report, Source.QUERY
            )
            after = replace(standing, state=judgement.target or standing.state)
            await self._ask_again(connection, question, after, kie_state=report.kie_state)
        elif judgement.target is None:
            await questions.confirm(connection, question.id)
        else:
            await self._settling.apply(
                connection, question.id, standing, judgement, report, Source.QUERY
            )

    async def _ask_again(
        self,
        connection: Connection,
        question: Question,
        standing: Standing,
        *,
        fruitless: bool = False,
        kie_state: str | None = None,
    ) -> None:
        """Come back later: soon at first, then ever more slowly, and never without an end."""
        tries = question.tries + 1 if fruitless else 0
        wait = next_ask(self._settling.clock, question.age)
        if fruitless:
            wait = max(wait, backoff(tries, first=2, ceiling=300, share=self._chance()))
        await questions.reschedule(
            connection,
            question.id,
            due_in=wait if self._is_worth_asking(standing, tries) else None,
            tries=tries,
            kie_state=kie_state,
        )

    def _is_worth_asking(self, standing: Standing, tries: int) -> bool:
        if standing.state in AT_REST:
            # A settled task is asked about a few times, one that the gateway ended but once.
            return not yields(standing) and tries < CONFIRMATIONS
        # Without an id there is nothing to ask about until a callback names one.
        return standing.kie_task_id is not None or standing.state is State.RUNNING


def _word(answer: Answer) -> str:
    match answer:
        case Told(report=report):
            return report.progress
        case NotVisible():
            return "not_visible"
        case Unanswered(account=account):
            return "account" if account else "unanswered"
