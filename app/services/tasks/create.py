"""Creating tasks: committed before the caller hears of it, and sent at once where admitted."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID

from app.domain.dialect import Dialect
from app.domain.draft import Draft, fingerprint
from app.domain.errors import (
    DatabaseUnavailableError,
    Flaw,
    IdempotencyKeyReusedError,
    InvalidRequestError,
    QueueFullError,
    QueueTooLongError,
    key_erased,
)
from app.domain.limits import Limited
from app.domain.policy import Policy
from app.domain.references import Path
from app.domain.task import State
from app.metrics import Metrics
from app.outbound.guard import Guard
from app.services.account.admission import Claim
from app.services.consequences import Consequences
from app.services.limits.refusals import LimitRefusals
from app.services.spend.spending import Spending
from app.services.tasks.crowd import Crowd, Joined
from app.services.tasks.inputs import Inputs
from app.services.tasks.lifecycle import Lifecycle
from app.services.tasks.line import Place
from app.services.tasks.submit import RECORD_PATIENCE, Sending, Submitter
from app.store.account import forecast, sizes
from app.store.account.admission import ClaimedTask
from app.store.account.forecast import Forecast
from app.store.account.sizes import Queued
from app.store.connections.engine import Columns, Connection
from app.store.signals import QUEUE
from app.store.tasks import rows, storing, tombstones
from app.store.tasks.storing import NewTask, StoredTask
from app.traces import Step, Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A task that is stored; `submission` is its sending where this call started it."""

    id: UUID
    snapshot: Mapping[str, Any]
    """The task's answered columns as committed: the answer if PostgreSQL goes away."""
    replayed: bool
    submission: Sending | None

    async def sent(self, *, within: float) -> Columns | None:
        """Wait at most `within` seconds for the outcome; returns the task as that left it.

        None: there is none yet, or the task waits in the queue again.
        """
        if self.submission is None:
            return None
        await self.submission.ended(within=within)
        changed = self.submission.result
        if changed is None or changed["state"] == State.QUEUED:
            return None
        return {**self.snapshot, **changed}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Left:
    """How an admission left a task, and whom it admitted."""

    claimed: Sequence[ClaimedTask] = ()
    its_turn: bool = False
    """It might be sent now, and was not admitted: somebody else was admitting."""
    held_back: bool
    """Nobody sends it before it is released."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Admitted:
    """What the transaction of a create left behind."""

    stored: StoredTask
    snapshot: Mapping[str, Any]
    left: _Left


class Creates:
    """Stores new tasks for their callers."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        submitter: Submitter,
        crowd: Crowd,
        inputs: Inputs,
        guard: Guard,
        policy: Policy,
        new_id: Callable[[], UUID],
        spending: Spending,
        metrics: Metrics,
        traces: Traces,
    ) -> None:
        self._traces = traces
        self._lifecycle = lifecycle
        self._submitter = submitter
        self._crowd = crowd
        self._inputs = inputs
        self._guard = guard
        self._spending = spending
        self._policy = policy
        self._new_id = new_id
        self._refusals = LimitRefusals(metrics)

    async def create(
        self, client_id: UUID, draft: Draft, key: str | None, traceparent: str | None = None
    ) -> Created:
        """Store the task, admit whoever's turn it is, and start their sending.

        Raises `IdempotencyKeyReusedError`, `TaskErasedError`, `InvalidRequestError` for a URL to
        which nothing would be delivered, `QueueFullError`, `QueueTooLongError`,
        `BudgetExceededError`, as `Inputs` for the files that it names, and
        `DatabaseUnavailableError` when PostgreSQL stays away. A commit whose answer was lost is
        found again by its ids; where the caller is told no before that, a task without a key is
        withdrawn, not sent. `traceparent`: the caller's span, validated.
        """
        with self._traces.span(Step.CREATE, traceparent) as span:
            span.note(client_id=client_id, model=draft.model)
            new = self._new_task(client_id, draft, key, span.traceparent)
            created = await self._create(new)
            outcome = "replayed" if created.replayed else "created"
            span.note(task_id=created.id, state=created.snapshot["state"], outcome=outcome)
        return created

    async def _create(self, new: NewTask) -> Created:
        client_id, draft, key = new.client_id, new.draft, new.idempotency_key
        files = await self._inputs.prepare(client_id, draft, new.submit_within)
        claim = Claim(self._new_id())
        try:
            unwanted = new.id if key is None else None
            async with (
                self._spending.turn(client_id),
                self._submitter.recovered(claim, unwanted=unwanted),
                self._submitter.line.place() as place,
            ):
                admitted = await self._lifecycle.run(
                    lambda connection, consequences: self._store(
                        connection, consequences, new, claim, files, place
                    )
                )
        except DatabaseUnavailableError as error:
            raise _unheard(new) from error
        except QueueFullError as error:
            self._refusals.note(Limited.QUEUE_FULL, client_id, **error.figures)
            raise
        if admitted.stored.fingerprint != new.fingerprint:
            detail = (
                "You used this Idempotency-Key for a task with another body; nothing was created. "
                "Use a new key for a new task, or the same body to get the existing one."
            )
            raise IdempotencyKeyReusedError(detail)
        # Others' too: they wait for nobody.
        sent = self._submitter.send(admitted.left.claimed, claim, awaited=[new.id])
        joined = Joined(admitted.left.held_back, sent.get(new.id))
        if admitted.left.its_turn:
            with suppress(DatabaseUnavailableError):  # the task exists: no error may deny it
                joined = await self._crowd.admit(new.id, is_held=admitted.left.held_back)
        if joined.is_held:
            await self._release(new)
        return Created(
            id=admitted.stored.id,
            snapshot=admitted.snapshot,
            replayed=admitted.stored.id != new.id,
            submission=joined.sending,
        )

    def _require_allowed(self, draft: Draft, hosts: Sequence[str] | None) -> None:
        """Refuse a URL to which nothing would be delivered; raises `InvalidRequestError`.

        Not by kie.ai's API, which takes any text: that its delivery cannot be made shows there.
        """
        if draft.webhook_url is None or draft.dialect is Dialect.KIE:
            return
        objection = self._guard.objection_to_url(draft.webhook_url, hosts)
        if objection is not None:
            flaw = Flaw(draft.url_pointer, objection)
            detail = f"{flaw.pointer} {flaw.detail}"
            raise InvalidRequestError(detail, [flaw])

    def _new_task(
        self, client_id: UUID, draft: Draft, key: str | None, traceparent: str | None
    ) -> NewTask:
        return NewTask(
            id=self._new_id(),
            client_id=client_id,
            draft=draft,
            idempotency_key=key,
            fingerprint=b"" if key is None else fingerprint(draft),
            submit_within=draft.submit_within or self._policy.submit_within,
            unknown_cost=self._policy.unknown_cost,
            traceparent=traceparent,
        )

    async def _release(self, new: NewTask) -> None:
        """Let any process send the task in its turn, before its caller is told that it exists.

        It is tried until it is known: what may be sent must not be denied. Raises
        `DatabaseUnavailableError` where the sweep has withdrawn it.
        """

        async def work(connection: Connection, consequences: Consequences) -> bool:
            consequences.wake(QUEUE)
            return await storing.release(connection, new.id)

        if not await self._lifecycle.run(work, patience=RECORD_PATIENCE, insist=True):
            raise _unheard(new)

    async def _store(
        self,
        connection: Connection,
        consequences: Consequences,
        new: NewTask,
        claim: Claim,
        files: Mapping[Path, UUID],
        place: Place,
    ) -> _Admitted:
        """Store and admit in one transaction.

        Raises `InvalidRequestError`, `QueueFullError`, `QueueTooLongError` and
        `BudgetExceededError`, and stores nothing.
        All are found out before the admission, since the account's lock is held for that and for
        nothing else. For a task that goes first nothing is counted, unless it was not admitted.
        """
        held = new.idempotency_key is None and place.is_crowded
        stored = await self._insert(connection, new, held=held)
        if stored.row is not None:
            self._require_allowed(new.draft, stored.row.webhook_hosts)
            await _require_unused(connection, new)
            if files:
                await self._inputs.require(connection, new.client_id, files)
        left = _Left(held_back=held)
        if stored.id == new.id:
            left = await self._admit(connection, consequences, new, claim, place, stored)
            consequences.wake(new.id)
        return _Admitted(
            stored=stored,
            snapshot=await _snapshot(connection, new, stored, left.claimed),
            left=left,
        )

    async def _admit(
        self,
        connection: Connection,
        consequences: Consequences,
        new: NewTask,
        claim: Claim,
        place: Place,
        stored: StoredTask,
    ) -> _Left:
        """Admit the tasks whose turn it is, unless so many wait that others will; or refuse it."""
        joins_a_crowd = place.is_crowded and stored.inserted
        goes_first = stored.goes_first and not joins_a_crowd
        look_ahead = partial(self._look_ahead, connection, new, refuse=stored.inserted)
        wait = None if goes_first else await look_ahead()
        if stored.reserve is not None:
            await self._spending.require(connection, new.client_id, new.id, stored.reserve)
        left = _Left(held_back=new.idempotency_key is None)
        if not joins_a_crowd:
            await place.come()
            left = await self._claim(connection, new, claim)
        if _is_among(left.claimed, new.id):
            return left
        consequences.wake(QUEUE)
        its_turn = (await look_ahead() if goes_first else wait) == 0
        return replace(left, its_turn=its_turn)

    async def _insert(self, connection: Connection, new: NewTask, *, held: bool) -> StoredTask:
        policy = self._policy
        return await storing.insert_task(
            *(connection, new),
            held=held,
            creates=policy.limits.creates.calls,
            queued_bytes=policy.queue.bytes,
        )

    async def _claim(self, connection: Connection, new: NewTask, claim: Claim) -> _Left:
        """Admit within this transaction; where the task is not among them, hold it back."""
        claimed = await self._submitter.claim(connection, claim)
        held_back = new.idempotency_key is None and not _is_among(claimed, new.id)
        if held_back:
            await storing.hold_back(connection, new.id)
        return _Left(claimed=claimed, held_back=held_back)

    async def _look_ahead(
        self, connection: Connection, new: NewTask, *, refuse: bool
    ) -> float | None:
        """Return the seconds until the task can start, as far as can be seen; None: nobody knows.

        With `refuse`, raises `QueueFullError` and `QueueTooLongError`.
        """
        limits = self._policy.limits
        queued = await sizes.queued(connection, new.client_id, limits, self._policy.queue)
        if refuse and queued.is_over:
            raise _queue_full(queued, retry_after=limits.creates.window)
        if queued.may_send:
            return 0
        found = await forecast.forecast(connection, new.client_id, [new.id], limits)
        ahead = found.get(new.id)
        if refuse and ahead is not None:
            _require_in_time(ahead, new.submit_within)
        return None if ahead is None else ahead.wait


async def _snapshot(
    connection: Connection, new: NewTask, stored: StoredTask, claimed: Sequence[ClaimedTask]
) -> Columns:
    """Return the task as it is about to be committed; what was not just inserted is read."""
    if stored.row is None:
        row = await rows.read_task(connection, client_id=new.client_id, task_id=stored.id)
        return dict(row or {})
    found = storing.as_stored(new, stored.row)
    for task in claimed:
        if task.id == new.id:
            found |= {name: getattr(task, name) for name in _CLAIMED}
            found["state"] = State.SUBMITTING.value
    return found


_CLAIMED = ("submitted_at", "updated_at", "version")
"""What a claim changes of what a client sees, beside the state."""


async def _require_unused(connection: Connection, new: NewTask) -> None:
    """Raise `TaskErasedError` where the key was an erased task's.

    After the insert: that waited for an erasure under way, and this sees what it left.
    """
    key = new.idempotency_key
    if key is not None and await tombstones.key_is_erased(connection, new.client_id, key):
        raise key_erased()


def _is_among(claimed: Sequence[ClaimedTask], task_id: UUID) -> bool:
    return any(task.id == task_id for task in claimed)


def _unheard(new: NewTask) -> DatabaseUnavailableError:
    """Say what a caller can rely on whose task may have been stored."""
    if new.idempotency_key is None:
        detail = (
            "PostgreSQL did not confirm in time that the task was stored. If it was, it is "
            "withdrawn: it will not be sent. Repeat the request."
        )
    else:
        detail = (
            "PostgreSQL did not confirm in time that the task was stored. Repeat the request with "
            "the same Idempotency-Key: nothing is created or paid twice."
        )
    return DatabaseUnavailableError(detail, task_id=new.id)


def _require_in_time(found: Forecast, submit_within: float) -> None:
    if found.wait is not None and found.wait > submit_within:
        detail = (
            f"The task would start in about {found.wait:.0f} s, and may wait {submit_within:g} s "
            "(submit_within). Nothing was stored; repeat the request later."
        )
        raise QueueTooLongError(detail, retry_after=found.wait - submit_within)


def _queue_full(queued: Queued, *, retry_after: float) -> QueueFullError:
    detail = (
        f"With this task {queued.tasks} of your tasks would wait, of at most "
        f"{queued.tasks_allowed}, with {queued.bytes} bytes of inputs, of at most "
        f"{queued.bytes_allowed}. Nothing was stored; repeat the request later."
    )
    figures = {
        "queued_tasks": queued.tasks - 1,
        "queued_tasks_allowed": queued.tasks_allowed,
        "queued_bytes": queued.bytes,
        "queued_bytes_allowed": queued.bytes_allowed,
    }
    return QueueFullError(detail, retry_after=retry_after, figures=figures)
