"""Sending queued tasks to kie.ai: claimed, sent once, recorded whatever happens."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TypeAlias
from uuid import UUID

import structlog

from app.domain.callback_url import CallbackUrls
from app.domain.errors import DatabaseUnavailableError
from app.domain.exact_json import Verbatim
from app.domain.move import Move
from app.domain.statement import CreateAnswer
from app.domain.submission import Accepted, Outcome, label, named_id
from app.domain.task import Standing, State
from app.kie.client import KieClient
from app.metrics import Metrics
from app.services.account.admission import Admission, Claim
from app.services.consequences import Consequences
from app.services.inflight import InFlight, InFlightWork
from app.services.tasks.inputs import Inputs
from app.services.tasks.intake import Intake
from app.services.tasks.leases import Leases
from app.services.tasks.line import Line
from app.store.account.admission import ClaimedTask
from app.store.connections.engine import Columns, Connection
from app.store.signals import ROOM
from app.store.tasks import rows
from app.traces import Step, Traces

AT_ONCE = 50
"""Sendings that one process has under way at most."""

RECORD_PATIENCE = 600.0
"""Seconds for which an outcome is kept in hand while PostgreSQL is away: it is paid for."""

ADMIT_PATIENCE = 3.0
"""Seconds that a create waits for its turn to admit, once its task is stored."""

LOCKED_WAIT = 1.0
"""Seconds until another look at what might be admitted, and was locked, or barred in its turn."""

BUSY_ADMITTING = "Other admissions of this process have waited too long for PostgreSQL."

Sending: TypeAlias = InFlightWork[Columns | None]

log = structlog.get_logger(__name__)


class Submitter:
    """Sends the tasks that were claimed, and records how each create ended."""

    def __init__(
        self,
        intake: Intake,
        kie: KieClient,
        leases: Leases,
        urls: CallbackUrls,
        inputs: Inputs,
        admission: Admission,
        new_id: Callable[[], UUID],
        metrics: Metrics,
        traces: Traces,
    ) -> None:
        self._traces = traces
        self._intake = intake
        self._kie = kie
        self._leases = leases
        self._urls = urls
        self._inputs = inputs
        self._admission = admission
        self._new_id = new_id
        self._metrics = metrics
        self._in_flight = InFlight()
        self._sending: dict[UUID, Sending] = {}
        self.line = Line()
        self._stopped = False
        self.is_waiting = False
        """Tasks waited for room when we looked last."""
        self._had_no_hands = False
        """We did not look at all, since as much was under way as may be."""

    def stop(self) -> None:
        """Admit nothing more: what is created from now on is left to other processes."""
        self._stopped = True

    async def submit_due(self, limit: int) -> float | None:
        """Send queued tasks whose turn it is, with at most `limit` under way.

        Returns the seconds until there may be more to do: 0 at once, None: nobody knows.
        """
        self._had_no_hands = self.is_waiting = self._free(limit) == 0
        if self._had_no_hands:
            return None
        chance = await self._admission.next_chance()
        self.is_waiting = chance.waits
        if chance.seconds is None or chance.seconds > 0:
            return chance.seconds
        return 0 if await self.admit(limit, patience=RECORD_PATIENCE) else LOCKED_WAIT

    async def admit(
        self,
        limit: int = AT_ONCE,
        *,
        patience: float = ADMIT_PATIENCE,
    ) -> dict[UUID, Sending]:
        """Claim the tasks whose turn it is and start their sending; returns it by task.

        Raises `DatabaseUnavailableError`.
        """
        await self.turn_to_admit(patience)
        try:
            async with self.recovered(claim := Claim(self._new_id())):
                claimed = await self._intake.run(
                    lambda connection, _: self.claim(connection, claim, limit=limit, wait=True),
                    patience=patience,
                )
        finally:
            self.line.end()
        return self.send(claimed, claim)

    async def turn_to_admit(self, patience: float) -> None:
        """Wait here, not with a connection in hand: a hundred creates at once would take them all.

        Who has the turn ends it (see `Line.end`). Raises `DatabaseUnavailableError` after
        `patience` seconds.
        """
        try:
            await self.line.begin(patience)
        except TimeoutError:
            raise DatabaseUnavailableError(BUSY_ADMITTING) from None

    async def claim(
        self, connection: Connection, claim: Claim, *, limit: int = AT_ONCE, wait: bool = False
    ) -> Sequence[ClaimedTask]:
        """Claim what this process has hands for; the caller sends it after the commit."""
        return await self._admission.admit(connection, claim, limit=self._free(limit), wait=wait)

    @asynccontextmanager
    async def recovered(self, claim: Claim, *, unwanted: UUID | None = None) -> AsyncIterator[None]:
        """Look later for what the claim took, where the caller gives up waiting for its commit.

        `unwanted`: a task of which its caller is told then that nothing will happen.
        """
        try:
            yield
        except DatabaseUnavailableError:
            self._in_flight.start(self._recover(claim, unwanted), f"recover {claim.id}")
            raise

    async def _recover(self, claim: Claim, unwanted: UUID | None) -> None:
        """Send what was claimed by a commit that went through unheard: nobody else may."""
        claimed = await self._intake.run(
            lambda connection, _: self._admission.settled_claim(connection, claim),
            patience=RECORD_PATIENCE,
            insist=True,
        )
        self.send([task for task in claimed if task.id != unwanted], claim)
        if unwanted is not None:
            await self._withdraw(unwanted, {task.id: task for task in claimed}.get(unwanted))

    async def _withdraw(self, task_id: UUID, claimed: ClaimedTask | None) -> None:
        """Take out a task that only this process may send, and will not."""

        async def work(connection: Connection, consequences: Consequences) -> None:
            standing = await rows.lock_task(connection, task_id)
            if standing is None or not _is_ours(standing, claimed):
                return  # it was not stored, or the sweep was first
            step = Move(id=task_id, left=standing.state, target=State.CANCELED)
            await self._intake.withdraw(connection, consequences, step)
            if claimed is not None:
                await self._admission.give_back(connection, claimed)

        await self._intake.run(work, patience=RECORD_PATIENCE, insist=True)

    def _free(self, limit: int) -> int:
        """How many more sendings may be under way."""
        return 0 if self._stopped else max(0, limit - len(self._in_flight))

    def send(
        self, claimed: Sequence[ClaimedTask], claim: Claim, *, awaited: Collection[UUID] = ()
    ) -> dict[UUID, Sending]:
        """Start the sending of tasks whose claim is committed; returns it by task.

        `awaited`: somebody waits for what becomes of these.
        """
        if claimed:
            self._admission.committed(claim)
        started: dict[UUID, Sending] = {
            task.id: self._in_flight.start(
                self._send(task, claim, awaited=task.id in awaited), f"submit {task.id}"
            )
            for task in claimed
        }
        self._sending |= started
        return started

    def sending(self, task_id: UUID) -> Sending | None:
        """Return the sending of a task that is under way."""
        return self._sending.get(task_id)

    async def drain(self) -> None:
        """Wait until every sending that was started has recorded its outcome."""
        await self._in_flight.drain()

    async def _send(self, claimed: ClaimedTask, claim: Claim, *, awaited: bool) -> Columns | None:
        """Send it and record the outcome; returns the task as that left it, where it is awaited."""
        with (
            self._leases.hold(claimed.id),
            self._under_way(claimed.id),
            self._traces.span(Step.SUBMIT, claimed.traceparent) as span,
        ):
            started = self._metrics.now()
            url = self._urls.url(claimed.id)
            outcome = await self._create(claimed, claim, url)
            answered = self._metrics.now()
            self._metrics.submitted(label(outcome), answered - started)
            span.note(
                task_id=claimed.id,
                client_id=claimed.client_id,
                model=claimed.model,
                attempt=claimed.attempt,
                outcome=label(outcome),
            )
            log.info(
                "task.sent",
                task_id=str(claimed.id),
                outcome=type(outcome).__name__,
                # Whatever happens to the record, this line has what was paid for.
                kie_task_id=named_id(outcome),
            )
            answer = CreateAnswer(
                task_id=claimed.id, attempt=claimed.attempt, tries=claimed.tries, outcome=outcome
            )

            try:
                return await self._recorded(claimed, answer, answered, awaited=awaited)
            except Exception:
                self._metrics.outcome_dropped()
                named = {"task_id": str(claimed.id), "kie_task_id": named_id(outcome)}
                log.exception("outcome.dropped", **named)
                return None

    async def _recorded(
        self, claimed: ClaimedTask, answer: CreateAnswer, answered: float, *, awaited: bool
    ) -> Columns | None:
        """Record the outcome; returns what changed of a task that is awaited, or all of it."""
        run = partial(self._intake.run, patience=RECORD_PATIENCE, insist=True)
        if isinstance(answer.outcome, Accepted):
            accept = partial(self._accept, claimed, answer.outcome, answered)
            changed = await run(accept, at_once=True)
            if changed is not None:
                return changed
        return await run(partial(self._record, claimed, answer, answered, awaited=awaited))

    @contextmanager
    def _under_way(self, task_id: UUID) -> Iterator[None]:
        try:
            yield
        finally:
            self._sending.pop(task_id, None)

    async def _create(self, claimed: ClaimedTask, claim: Claim, url: str | None) -> Outcome:
        """Send a create, unless a file that it names is gone."""
        document = await self._inputs.resolved(claimed)
        if not isinstance(document, Verbatim):
            return document
        in_time = partial(self._admission.is_in_time, claim)
        return await self._kie.create_task(claimed.model, document, url, in_time=in_time)

    async def _accept(
        self,
        claimed: ClaimedTask,
        outcome: Accepted,
        answered: float,
        connection: Connection,
        consequences: Consequences,
    ) -> Columns | None:
        """Record that kie.ai took it, where there is nothing else to that; else returns None."""
        self._wake_idle_hands(consequences)
        ago = self._metrics.now() - answered
        named = (claimed, outcome.kie_task_id)
        return await self._intake.accept(connection, consequences, *named, answered_ago=ago)

    async def _record(
        self,
        claimed: ClaimedTask,
        answer: CreateAnswer,
        answered: float,
        connection: Connection,
        consequences: Consequences,
        *,
        awaited: bool,
    ) -> Columns | None:
        """Record the outcome: of the task, of the account, and of the slot that it used."""
        applied = await self._intake.apply(connection, consequences, answer)
        if applied.standing is None:
            log.error("submission.task_gone", task_id=str(claimed.id))
        room_in = await self._admission.record_outcome(
            connection, claimed, applied.said.outcome, answered_ago=self._metrics.now() - answered
        )
        consequences.wake(ROOM, after=room_in)
        self._wake_idle_hands(consequences)
        if not awaited:
            return None
        row = await rows.read_task(connection, client_id=claimed.client_id, task_id=claimed.id)
        return None if row is None else dict(row)

    def _wake_idle_hands(self, consequences: Consequences) -> None:
        """Have this process look again, where it did not, since as much was under way as may be."""
        if self._had_no_hands:
            consequences.wake(ROOM)


def _is_ours(standing: Standing, claimed: ClaimedTask | None) -> bool:
    """Tell whether the task stands as this process left it: not released, or under its claim."""
    if claimed is None:
        return standing.state is State.QUEUED
    under_way = standing.state in (State.SUBMITTING, State.UNCONFIRMED)
    return under_way and standing.attempt == claimed.attempt
