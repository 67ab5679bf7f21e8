"""Creating tasks and sending them to kie.ai: stored first, sent once, recorded whatever happens."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from uuid import UUID

import structlog

from app.domain.callback_url import CallbackUrls
from app.domain.document import canonical
from app.domain.errors import IdempotencyKeyReusedError
from app.domain.redact import redacted_text
from app.domain.retry import backoff
from app.domain.submission import Accepted, Outcome, Refused, Unknown, Unsent
from app.domain.task import FailSource, Sequel, Standing, State, move, sequel, takes_outcome
from app.domain.terms import Terms
from app.kie.client import KieClient
from app.metrics import Metrics
from app.services.errands import Errand, Errands
from app.services.leases import Leases
from app.services.settle import Settling
from app.store import moves, questions, tasks
from app.store.engine import Connection, Database
from app.store.moves import Move
from app.store.signals import ASK, QUEUE, Signals
from app.store.tasks import ClaimedTask, NewTask, StoredTask

RECORD_PATIENCE = 600.0
"""Seconds for which an outcome is kept in hand while PostgreSQL is away: it is paid for."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a caller asks for."""

    model: str
    input: dict[str, Any]
    metadata: dict[str, str]
    webhook_url: str | None
    priority: int
    submit_within: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A task that is stored; `submission` is its sending where this call started it."""

    id: UUID
    snapshot: Mapping[str, Any]
    """The task's answered columns as committed: what there is to tell if PostgreSQL goes away."""
    replayed: bool
    submission: Errand | None


class _Recorded(Enum):
    """What the record of an outcome is counted as, beside the outcome itself."""

    REFUSED = auto()
    PAID_TWICE = auto()


def fingerprint(draft: Draft) -> bytes:
    """SHA-256 over the canonical body: what makes two creates the same under one key."""
    body = {name: getattr(draft, name) for name in draft.__slots__}
    return hashlib.sha256(canonical(body)).digest()


class Submissions:
    """Stores new tasks and sends queued ones."""

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

    async def create(self, client_id: UUID, draft: Draft, key: str | None) -> Created:
        """Store the task and start its sending.

        Raises `IdempotencyKeyReusedError`, and `DatabaseUnavailableError` when PostgreSQL stays
        away. A commit whose answer was lost is found again by the task's id.
        """
        new = NewTask(
            id=self._new_id(),
            client_id=client_id,
            model=draft.model,
            input=draft.input,
            metadata=draft.metadata,
            webhook_url=draft.webhook_url,
            priority=draft.priority,
            idempotency_key=key,
            fingerprint=fingerprint(draft),
            submit_within=draft.submit_within or self._terms.submit_within,
        )
        stored, snapshot = await self._database.run(lambda connection: self._store(connection, new))
        if stored.fingerprint != new.fingerprint:
            detail = "This Idempotency-Key belongs to a task with another body. Use a new key."
            raise IdempotencyKeyReusedError(detail)
        if stored.id != new.id:
            return Created(id=stored.id, snapshot=snapshot, replayed=True, submission=None)
        claimed = ClaimedTask(id=new.id, attempt=1, tries=0, model=new.model, input=new.input)
        self._signals.announce(new.id.hex)
        submission = self._send_aside(claimed)
        return Created(id=new.id, snapshot=snapshot, replayed=False, submission=submission)

    async def _store(
        self, connection: Connection, new: NewTask
    ) -> tuple[StoredTask, Mapping[str, Any]]:
        """Store and claim in one transaction: attempt 1 can be nobody's but ours."""
        stored = await tasks.insert_task(connection, new)
        if stored.id == new.id:
            await tasks.claim_task(connection, new.id, lease=self._terms.lease)
        row = await tasks.read_task(connection, client_id=new.client_id, task_id=stored.id)
        return stored, dict(row or {})

    async def submit_due(self, limit: int) -> int:
        """Send up to `limit` queued tasks that are due; return how many were taken."""
        room = max(0, limit - len(self._errands))
        if room == 0:
            return 0
        async with self._database.begin() as connection:
            claimed = await tasks.claim_queued(connection, limit=room, lease=self._terms.lease)
        for task in claimed:
            self._send_aside(task)
        return len(claimed)

    async def drain(self) -> None:
        """Wait until every sending that was started has recorded its outcome."""
        await self._errands.drain()

    def _send_aside(self, claimed: ClaimedTask) -> Errand:
        return self._errands.start(self._send(claimed), f"submit {claimed.id}")

    async def _send(self, claimed: ClaimedTask) -> None:
        with self._leases.hold(claimed.id):
            url = self._urls.url(claimed.id)
            started = self._metrics.now()
            outcome = await self._kie.create_task(claimed.model, claimed.input, url)
            self._metrics.sent(_word(outcome), self._metrics.now() - started)
            log.info("task.sent", task_id=str(claimed.id), outcome=type(outcome).__name__)
            recorded = await self._database.run(
                lambda connection: self._record(connection, claimed, outcome),
                patience=RECORD_PATIENCE,
            )
            self._count(claimed.id, recorded)
        self._signals.announce(claimed.id.hex, QUEUE, ASK)

    def _count(self, task_id: UUID, recorded: _Recorded | None) -> None:
        """Count after the commit."""
        match recorded:
            case _Recorded.PAID_TWICE:
                self._metrics.paid_twice()
            case _Recorded.REFUSED:
                self._metrics.settled(task_id, "create", State.FAILED)
            case None:
                pass

    async def _record(
        self, connection: Connection, claimed: ClaimedTask, outcome: Outcome
    ) -> _Recorded | None:
        """Record the outcome; returns what is to be counted, if anything."""
        standing = await tasks.lock_task(connection, claimed.id)
        if standing is None:
            log.error("submission.task_gone", task_id=str(claimed.id))
            return None
        if not takes_outcome(standing, claimed.attempt):
            return await self._compare(connection, claimed, standing, outcome)
        return await self._follow(connection, claimed, standing, outcome)

    async def _compare(
        self, connection: Connection, claimed: ClaimedTask, standing: Standing, outcome: Outcome
    ) -> _Recorded | None:
        """Look at the ids alone: the callback beat the answer, and nothing is left to move."""
        if not isinstance(outcome, Accepted):
            return None
        if standing.kie_task_id is None:
            await questions.bind(connection, claimed.id, outcome.kie_task_id)
        elif standing.kie_task_id != outcome.kie_task_id:
            log.error("task.paid_twice", task_id=str(claimed.id), attempt=claimed.attempt)
            return _Recorded.PAID_TWICE
        return None

    async def _follow(
        self, connection: Connection, claimed: ClaimedTask, standing: Standing, outcome: Outcome
    ) -> _Recorded | None:
        after = sequel(outcome)
        if after.state is standing.state:
            return None  # unconfirmed already: the lease was over before the answer was given up
        move(standing, after.state)
        match outcome:
            case Accepted():
                doubted = await questions.claimed_ids(connection, claimed.id, limit=1)
                step = self._settling.running(claimed.id, standing.state, ask=bool(doubted))
                await moves.start(connection, step, kie_task_id=outcome.kie_task_id, kie_state=None)
            case Unknown():
                await self._lose(connection, claimed, standing, outcome)
            case Refused() | Unsent():
                await self._give_back(connection, claimed, standing, outcome, after)
        return _Recorded.REFUSED if after.state is State.FAILED else None

    async def _lose(
        self, connection: Connection, claimed: ClaimedTask, standing: Standing, outcome: Unknown
    ) -> None:
        lost = Move(
            id=claimed.id,
            left=standing.state,
            target=State.UNCONFIRMED,
            due_in=0,
            lapses_in=self._terms.unconfirmed_expires_after,
            reason=redacted_text(outcome.reason, self._urls.tokens(claimed.id)),
        )
        await moves.lose(connection, lost)

    async def _give_back(
        self,
        connection: Connection,
        claimed: ClaimedTask,
        standing: Standing,
        outcome: Refused | Unsent,
        after: Sequel,
    ) -> None:
        said = outcome.message if isinstance(outcome, Refused) else outcome.reason
        said = redacted_text(said, self._urls.tokens(claimed.id))
        if after.state is State.FAILED and isinstance(outcome, Refused):
            end = Move(id=claimed.id, left=standing.state, target=after.state, reason=said)
            await moves.fail(
                connection, end, code=outcome.code, message=said, source=FailSource.KIE
            )
            return
        tries = claimed.tries + 1
        back = Move(
            id=claimed.id,
            left=standing.state,
            target=after.state,
            due_in=backoff(tries, first=1, ceiling=60, share=self._chance()),
            hold_reason=after.hold_reason,
            tries=tries,
            reason=said,
        )
        await moves.requeue(connection, back)


def _word(outcome: Outcome) -> str:
    match outcome:
        case Accepted():
            return "accepted"
        case Refused(fault=fault):
            return f"refused_{fault}"
        case Unsent():
            return "unsent"
        case Unknown():
            return "unknown"
