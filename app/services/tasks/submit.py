"""Creating tasks and sending them to kie.ai: stored first, sent once, recorded whatever happens."""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any
from uuid import UUID

import structlog

from app.domain.admission import STEP_ASIDE_AFTER
from app.domain.callback_url import CallbackUrls
from app.domain.dialect import Dialect
from app.domain.errors import (
    DatabaseUnavailableError,
    Flaw,
    IdempotencyKeyReusedError,
    InvalidRequestError,
    QueueTooLongError,
)
from app.domain.exact_json import canonical
from app.domain.policy import Policy
from app.domain.redact import redacted_text
from app.domain.retry import backoff
from app.domain.submission import (
    Accepted,
    Outcome,
    Refused,
    Unknown,
    Unsent,
    label,
    message_of,
    with_code,
)
from app.domain.task import FailSource, Standing, State, move, state_after, takes_outcome
from app.kie.client import KieClient
from app.metrics import Metrics
from app.outbound.guard import Guard
from app.services.account.admission import Admission, Claim
from app.services.deliveries.outbox import Outbox
from app.services.inflight import InFlight, InFlightWork
from app.services.tasks.leases import Leases
from app.services.tasks.lifecycle import Settling
from app.store.account import forecast
from app.store.account.admission import ClaimedTask
from app.store.account.forecast import Forecast
from app.store.clients import audit, clients
from app.store.engine import Connection, Database
from app.store.signals import DELIVER, POLL, QUEUE, Signals
from app.store.tasks import moves, polls, rows
from app.store.tasks.moves import Move
from app.store.tasks.rows import NewTask, StoredTask

AT_ONCE = 50
"""Sendings that one process has under way at most."""

RECORD_PATIENCE = 600.0
"""Seconds for which an outcome is kept in hand while PostgreSQL is away: it is paid for."""

ADMIT_PATIENCE = 3.0
"""Seconds that a create waits for its turn to admit, once its task is stored."""

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
    dialect: Dialect = Dialect.NATIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A task that is stored; `submission` is its sending where this call started it."""

    id: UUID
    snapshot: Mapping[str, Any]
    """The task's answered columns as committed: what there is to tell if PostgreSQL goes away."""
    replayed: bool
    submission: InFlightWork | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Admitted:
    """What the transaction of a create left behind."""

    stored: StoredTask
    snapshot: Mapping[str, Any]
    claimed: Sequence[ClaimedTask]
    forecast: Forecast | None


class _Recorded(Enum):
    """What the record of an outcome is counted as, beside the outcome itself."""

    REFUSED = auto()
    PAID_TWICE = auto()


URL_MEMBERS: Mapping[Dialect, str] = {
    Dialect.NATIVE: "/webhook_url",
    Dialect.KIE: "/callBackUrl",
}
"""Where each API's body has the URL."""


def fingerprint(draft: Draft) -> bytes:
    """SHA-256 over the canonical body: what makes two creates the same under one key."""
    body = {name: getattr(draft, name) for name in draft.__slots__}
    if draft.dialect is Dialect.NATIVE:
        del body["dialect"]  # so were those hashed that are stored since before there were two
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
        admission: Admission,
        outbox: Outbox,
        guard: Guard,
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
        self._admission = admission
        self._outbox = outbox
        self._guard = guard
        self._policy = policy
        self._new_id = new_id
        self._chance = chance
        self._metrics = metrics
        self._in_flight = InFlight()

    async def create(self, client_id: UUID, draft: Draft, key: str | None) -> Created:
        """Store the task, admit whoever's turn it is, and start their sending.

        Raises `IdempotencyKeyReusedError`, `QueueTooLongError`, and `DatabaseUnavailableError`
        when PostgreSQL stays away. A commit whose answer was lost is found again by its ids.
        """
        if draft.webhook_url is not None:
            await self._require_allowed(client_id, draft.webhook_url, URL_MEMBERS[draft.dialect])
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
            submit_within=draft.submit_within or self._policy.submit_within,
            dialect=draft.dialect,
        )
        claim = Claim(self._new_id())
        async with self._recovered(claim):
            admitted = await self._database.run(
                lambda connection: self._store(connection, new, claim)
            )
        if admitted.stored.fingerprint != new.fingerprint:
            detail = "This Idempotency-Key belongs to a task with another body. Use a new key."
            raise IdempotencyKeyReusedError(detail)
        sent = self._send_all(admitted.claimed)
        if admitted.stored.id != new.id:
            snapshot = admitted.snapshot
            return Created(id=admitted.stored.id, snapshot=snapshot, replayed=True, submission=None)
        if admitted.forecast is not None and admitted.forecast.wait == 0:
            with suppress(DatabaseUnavailableError):  # the task exists: no error may deny it
                sent |= await self._admit()  # its turn, and somebody else was admitting
        self._signals.announce(new.id.hex, QUEUE)
        submission = sent.get(new.id)
        return Created(id=new.id, snapshot=admitted.snapshot, replayed=False, submission=submission)

    async def _require_allowed(self, client_id: UUID, url: str, member: str) -> None:
        """Refuse what no delivery would be let to; raises `InvalidRequestError`."""
        async with self._database.read() as connection:
            hosts = await clients.webhook_hosts(connection, client_id)
        objection = self._guard.objection_to_url(url, hosts)
        if objection is not None:
            flaw = Flaw(member, objection)
            detail = f"{flaw.pointer} {flaw.detail}"
            raise InvalidRequestError(detail, [flaw])

    async def _store(self, connection: Connection, new: NewTask, claim: Claim) -> _Admitted:
        """Store and admit in one transaction; raises `QueueTooLongError` and stores nothing."""
        stored = await rows.insert_task(connection, new)
        claimed: list[ClaimedTask] = []
        found: Forecast | None = None
        if stored.id == new.id:
            room = self._room(AT_ONCE)
            claimed = await self._admission.admit(connection, claim, limit=room, wait=False)
            found = await self._forecast(connection, new, claimed)
            if stored.inserted and found is not None:
                _require_in_time(found, new.submit_within)
        row = await rows.read_task(connection, client_id=new.client_id, task_id=stored.id)
        return _Admitted(stored=stored, snapshot=dict(row or {}), claimed=claimed, forecast=found)

    async def _forecast(
        self, connection: Connection, new: NewTask, claimed: Sequence[ClaimedTask]
    ) -> Forecast | None:
        """Look ahead for a task that was not admitted at once."""
        if any(task.id == new.id for task in claimed):
            return None
        limits = self._policy.limits
        found = await forecast.forecast(connection, new.client_id, [new.id], limits)
        return found.get(new.id)

    async def submit_due(self, limit: int) -> float | None:
        """Send queued tasks whose turn it is, with at most `limit` under way.

        Returns the seconds until there may be more to do: 0 at once, None: nobody knows.
        """
        if self._room(limit) == 0:
            return None
        async with self._database.read() as connection:
            chance = await self._admission.next_chance(connection)
        if chance is None or chance > 0:
            return chance
        return 0 if await self._admit(limit, patience=RECORD_PATIENCE) else None

    async def _admit(
        self, limit: int = AT_ONCE, *, patience: float = ADMIT_PATIENCE
    ) -> dict[UUID, InFlightWork]:
        """Admit and start the sendings; returns them by task."""
        room = self._room(limit)
        claim = Claim(self._new_id())
        async with self._recovered(claim):
            claimed = await self._database.run(
                lambda connection: self._admission.admit(connection, claim, limit=room, wait=True),
                patience=patience,
            )
        return self._send_all(claimed)

    @asynccontextmanager
    async def _recovered(self, claim: Claim) -> AsyncIterator[None]:
        """Look later for what the claim took, where the caller gives up waiting for its commit."""
        try:
            yield
        except DatabaseUnavailableError:
            self._in_flight.start(self._recover(claim), f"recover {claim.id}")
            raise

    async def _recover(self, claim: Claim) -> None:
        """Send what a create admitted whose commit went through unheard: nobody else may."""
        claimed = await self._database.run(
            lambda connection: self._admission.claimed(connection, claim),
            patience=RECORD_PATIENCE,
        )
        self._send_all(claimed)

    def _room(self, limit: int) -> int:
        return max(0, limit - len(self._in_flight))

    def _send_all(self, claimed: Sequence[ClaimedTask]) -> dict[UUID, InFlightWork]:
        return {
            task.id: self._in_flight.start(self._send(task), f"submit {task.id}")
            for task in claimed
        }

    async def drain(self) -> None:
        """Wait until every sending that was started has recorded its outcome."""
        await self._in_flight.drain()

    async def _send(self, claimed: ClaimedTask) -> None:
        with self._leases.hold(claimed.id):
            url = self._urls.url(claimed.id)
            started = self._metrics.now()
            outcome = await self._kie.create_task(claimed.model, claimed.input, url)
            answered = self._metrics.now()
            self._metrics.submitted(label(outcome), answered - started)
            log.info("task.sent", task_id=str(claimed.id), outcome=type(outcome).__name__)
            recorded = await self._database.run(
                lambda connection: self._record(connection, claimed, outcome, answered),
                patience=RECORD_PATIENCE,
            )
            self._count(claimed.id, recorded)
        self._signals.announce(claimed.id.hex, QUEUE, POLL, DELIVER)

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
        self, connection: Connection, claimed: ClaimedTask, outcome: Outcome, answered: float
    ) -> _Recorded | None:
        """Record the outcome; returns what is to be counted, if anything."""
        said = message_of(outcome)
        if said is not None:
            said = redacted_text(said, self._urls.tokens(claimed.id))
        standing = await rows.lock_task(connection, claimed.id)
        recorded = None
        if standing is None:
            log.error("submission.task_gone", task_id=str(claimed.id))
        elif takes_outcome(standing, claimed.attempt):
            recorded = await self._follow(connection, claimed, standing, outcome, said)
        else:
            recorded = await self._compare(connection, claimed, standing, outcome)
        await self._admission.record_outcome(
            connection,
            claimed,
            outcome,
            answered_ago=self._metrics.now() - answered,
            said=with_code(outcome, said),
        )
        return recorded

    async def _compare(
        self, connection: Connection, claimed: ClaimedTask, standing: Standing, outcome: Outcome
    ) -> _Recorded | None:
        """Look at the ids alone: the callback beat the answer, and nothing is left to move."""
        if not isinstance(outcome, Accepted):
            return None
        if standing.kie_task_id is None:
            await polls.bind(connection, claimed.id, outcome.kie_task_id)
        elif standing.kie_task_id != outcome.kie_task_id:
            log.error("task.paid_twice", task_id=str(claimed.id), attempt=claimed.attempt)
            await audit.note_paid_twice(
                connection, claimed.id, known=standing.kie_task_id, second=outcome.kie_task_id
            )
            return _Recorded.PAID_TWICE
        return None

    async def _follow(
        self,
        connection: Connection,
        claimed: ClaimedTask,
        standing: Standing,
        outcome: Outcome,
        said: str | None,
    ) -> _Recorded | None:
        target = state_after(outcome)
        if target is standing.state:
            return None  # unconfirmed already: the lease was over before the answer was given up
        step = Move(id=claimed.id, left=standing.state, target=move(standing, target), reason=said)
        match outcome:
            case Accepted():
                doubted = await polls.alleged_ids(connection, claimed.id, limit=1)
                started = self._settling.running(claimed.id, standing.state, ask=bool(doubted))
                await moves.start(
                    connection, started, kie_task_id=outcome.kie_task_id, kie_state=None
                )
                await self._outbox.notify(connection, [claimed.id])
            case Unknown():
                expires_in = self._policy.unconfirmed_expires_after
                await moves.lose(connection, replace(step, due_in=0, expires_in=expires_in))
            case Refused(code=code) if target is State.FAILED:
                await moves.fail(
                    connection, step, code=code, message=said or "", source=FailSource.KIE
                )
                await self._outbox.notify(connection, [claimed.id])
                return _Recorded.REFUSED
            case Refused() | Unsent():
                await moves.requeue(connection, self._back(step, claimed.tries + 1))
        return None

    def _back(self, step: Move, tries: int) -> Move:
        """Put a task back in its place; one that is refused again and again lets others pass."""
        aside = tries - STEP_ASIDE_AFTER
        wait = 0.0
        if aside >= 0:
            wait = backoff(aside + 1, first=5, ceiling=60, share=self._chance())
        return replace(step, due_in=wait, tries=tries)


def _require_in_time(found: Forecast, submit_within: float) -> None:
    if found.wait is not None and found.wait > submit_within:
        detail = (
            f"The task would start in about {found.wait:.0f} s, and may wait {submit_within:g} s "
            "(submit_within). Nothing was stored; repeat the request later."
        )
        raise QueueTooLongError(detail, retry_after=found.wait - submit_within)
