"""The one intake of kie.ai's word: a callback, the answer to a query, or to a create.

It is judged by the rules of `app/domain/evidence.py`, kept, and followed through the lifecycle.
"""

from dataclasses import dataclass
from functools import partial
from typing import Generic
from uuid import UUID

import structlog

from app.domain.callback_url import CallbackUrls
from app.domain.evidence import Judgement, Verdict, is_asked_about, is_refuted
from app.domain.holding import wait_of
from app.domain.keeping import Keep, Raw, changes, keep, waited_for
from app.domain.keeping import raw as raw_of
from app.domain.move import Move
from app.domain.policy import Confirm, Policy
from app.domain.report import Facts, Report
from app.domain.statement import (
    CreateAnswer,
    OneSaid,
    Said,
    Statement,
    brought_id,
    disowned,
    is_kept,
    judged,
    redacted,
)
from app.domain.task import FINAL, SETTLED_AS, Source, Standing, move, yields
from app.kie.reading import apart
from app.metrics import Metrics
from app.services.consequences import Consequences
from app.services.tasks import kept
from app.services.tasks.lifecycle import Lifecycle
from app.store.clients import audit
from app.store.connections.engine import Connection
from app.store.signals import DELIVER, POLL, QUEUE
from app.store.tasks import callbacks, doubts, facts, polls, rows, tombstones

_WITH_A_ROW = {Keep.WHOLE, Keep.HEAD}

log = structlog.get_logger(__name__)


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


class Intake:
    """Takes in what kie.ai says, in a transaction of the lifecycle's."""

    def __init__(
        self, lifecycle: Lifecycle, urls: CallbackUrls, policy: Policy, metrics: Metrics
    ) -> None:
        self.run = lifecycle.run
        """Who hears kie.ai's word has something of its own to record beside it."""
        self.withdraw = lifecycle.withdraw
        self.accept = lifecycle.accept
        self._lifecycle = lifecycle
        self._urls = urls
        self._policy = policy
        self._metrics = metrics

    async def apply(
        self,
        connection: Connection,
        consequences: Consequences,
        said: OneSaid,
    ) -> Applied[OneSaid]:
        """Take in what kie.ai says, whichever way it came: judge it, keep it, and follow it."""
        raw = await self._raw(said)  # before anything is locked
        said = redacted(said, self._urls)
        standing, anothers = await _locked(connection, said)
        if anothers:
            said = disowned(said)
        judgement = judged(
            said,
            standing,
            await _known(connection, said, standing),
            self._urls,
            confirm_first=self._policy.confirm is Confirm.BEFORE,
            anothers=anothers,
        )
        consequences.wake(said.task_id)
        found = await self._keep(connection, consequences, said, standing, judgement, raw)
        if found is None:
            consequences.wake(QUEUE, POLL, DELIVER)  # what that try has left to do
        elif standing is not None:
            self._count_disagreement(consequences, said, judgement, found)
            if anothers or judgement.foreign:
                await audit.note_foreign_id(connection, said.task_id)
            if judgement.second_id is not None and found in _WITH_A_ROW:
                await self._lifecycle.note_second_id(
                    *(connection, consequences, said.task_id),
                    known=standing.kie_task_id,
                    second=judgement.second_id,
                )
            await self._follow(connection, consequences, said, standing, judgement)
        return Applied(said=said, standing=standing, judgement=judgement, fresh=found is not None)

    async def _raw(self, said: Said) -> Raw | None:
        """Return a body as it is kept; None: there is none."""
        if isinstance(said, CreateAnswer):
            return None
        tokens = self._urls.tokens(said.task_id)
        return await apart(lambda body: raw_of(body, tokens), said.body)

    async def _keep(
        self,
        connection: Connection,
        consequences: Consequences,
        said: Said,
        standing: Standing | None,
        judgement: Judgement,
        raw: Raw | None,
    ) -> Keep | None:
        """Keep a statement as far as there is room; None: an earlier try has done it."""
        if not isinstance(said, Statement) or raw is None or not is_kept(said, judgement):
            return Keep.WHOLE
        if standing is None and await tombstones.is_erased(connection, said.task_id):
            consequences.count(partial(self._metrics.not_kept, Keep.ERASED))
            return Keep.ERASED
        verdict = judgement.verdict
        changing = changes(standing, judgement)
        if changing and await callbacks.insert_first(connection, said, verdict, raw):
            return Keep.WHOLE
        tally = await callbacks.tally(connection, said, verdict, raw.sha256)
        if tally.stored:
            return None
        found = keep(
            tally,
            raw.size,
            changes=changing,
            waited_for=waited_for(standing, said),
        )
        match found:
            case Keep.WHOLE:
                stored = await callbacks.insert_callback(connection, said, verdict, raw)
                return found if stored else None
            case Keep.HEAD:
                await callbacks.insert_head(connection, said, verdict, raw)
            case Keep.REPEATED if tally.same is not None:
                await callbacks.count_repeat(connection, tally.same)
            case _:
                await callbacks.count_more(connection, said.task_id)
        consequences.count(partial(self._metrics.not_kept, found))
        return found

    def _count_disagreement(
        self, consequences: Consequences, said: Said, judgement: Judgement, found: Keep
    ) -> None:
        if judgement.verdict is not Verdict.DISAGREED or not isinstance(said, Statement):
            return
        if found in _WITH_A_ROW:
            self._alarm(consequences, said.task_id, said.source, callback=said.id)
        elif found is Keep.COUNTED:
            consequences.count(partial(self._metrics.disagreed, said.source))

    def _alarm(
        self, consequences: Consequences, task_id: UUID, source: Source, *, callback: UUID
    ) -> None:
        consequences.count(partial(self._metrics.disagreed, source))
        consequences.count(
            partial(
                log.error,
                "task.disagreement",
                task_id=str(task_id),
                source=source,
                callback_id=str(callback),
            )
        )

    async def _follow(
        self,
        connection: Connection,
        consequences: Consequences,
        said: Said,
        standing: Standing,
        judgement: Judgement,
    ) -> None:
        """Carry out a judgement: move or bind, amend, poll."""
        if judgement.target is not None:
            left, model = standing.state, standing.model
            step = Move(id=said.task_id, left=left, target=judgement.target, model=model)
            await self._move(connection, consequences, said, step)
        elif judgement.kie_task_id is not None:
            await polls.bind(connection, said.task_id, judgement.kie_task_id)
        if judgement.alleged_id is not None:
            await polls.allege(connection, said.task_id, judgement.alleged_id)
        if judgement.amendment is not None:
            await self._lifecycle.amend(
                connection, consequences, said.task_id, standing.state, judgement.amendment
            )
        if isinstance(said, Statement):
            await self._ask_or_compare(connection, consequences, said, standing, judgement)

    async def _move(
        self, connection: Connection, consequences: Consequences, said: Said, step: Move
    ) -> None:
        match said:
            case CreateAnswer():
                await self._lifecycle.record_create(connection, consequences, said, step)
            case Statement(content=Report() as report, source=source):
                await self._lifecycle.record_report(connection, consequences, report, source, step)
            case Statement():
                pass  # what cannot be read moves nothing

    async def _ask_or_compare(
        self,
        connection: Connection,
        consequences: Consequences,
        said: Statement,
        standing: Standing,
        judgement: Judgement,
    ) -> None:
        """Have kie.ai asked about a callback, and compare its record with what callbacks said."""
        if said.source is Source.CALLBACK:
            if is_asked_about(standing, judgement):
                await self._ask(connection, said.task_id, standing, judgement)
                consequences.wake(POLL)
        elif said.report and (judgement.releases or judgement.target in FINAL):
            for claim_id, claim in await kept.claims(connection, said.task_id):
                if is_refuted(claim, said.report):
                    self._alarm(consequences, said.task_id, Source.CALLBACK, callback=claim_id)
                    return  # one alarm for one record

    async def _ask(
        self, connection: Connection, task_id: UUID, standing: Standing, judgement: Judgement
    ) -> None:
        """Ask at once about the first end that is reported; about all else, within bounds."""
        if judgement.holds and standing.held_for is None:
            await polls.poll_at_once(connection, task_id, holds=True)
            return
        queries = self._policy.limits.queries
        every = queries.window / queries.calls / doubts.DOUBT_SHARE
        await doubts.ask_in_doubt(connection, task_id, every=every)

    async def believe_held(
        self, connection: Connection, consequences: Consequences, task_id: UUID, standing: Standing
    ) -> bool:
        """Settle a locked task by the end that was reported, since kie.ai cannot be asked.

        False: there is nothing that could be believed yet.
        """
        statement = await kept.held(connection, task_id)
        if statement is None or statement.report is None or not statement.ends:
            return False
        report = redacted(statement, self._urls).report or statement.report
        own = standing.kie_task_id in report.kie_task_ids
        if not own or (standing.held_for or 0.0) < wait_of(report):
            return False
        target = SETTLED_AS[report.progress]
        step = Move(id=task_id, left=standing.state, target=move(standing, target))
        await self._lifecycle.record_report(
            connection, consequences, report, statement.source, step
        )
        return True


async def _locked(connection: Connection, said: Said) -> tuple[Standing | None, bool]:
    """Lock the task; True: what was said would bind an id that another task has."""
    brought = brought_id(said)
    if brought is None:
        return await rows.lock_task(connection, said.task_id), False
    return await rows.lock_and_compare(connection, said.task_id, brought)


async def _known(connection: Connection, said: Said, standing: Standing | None) -> Facts:
    """Read what is kept of an end that kie.ai vouched for, where another is reported."""
    again = standing is not None and not yields(standing)
    if again and isinstance(said, Statement) and said.ends:
        return await facts.read_facts(connection, said.task_id)
    return Facts()
