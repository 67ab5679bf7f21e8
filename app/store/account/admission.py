"""Admission: which queued tasks may be sent now, and whose turn it is.

Each takes a slot (see `slots`) and a seat; `turns` says which they are.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    Float,
    Integer,
    Select,
    Uuid,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.admission import Call, Limits, Pair
from app.domain.exact_json import Verbatim
from app.domain.task import State
from app.store.account.limits import (
    CREATES,
    FREE_SLOTS,
    HAS_SEAT,
    HAS_SLOT,
    HELD_UNTIL,
    IS_ALL_OURS,
    IS_HELD,
    NEXT_FREE,
    OPEN,
    OPENS_BY_ITSELF,
    PROBE_TURN,
    QUEUED,
    RUNNING,
    given_limits,
)
from app.store.account.pairs import has_task, queues
from app.store.account.shares import seated
from app.store.account.turns import IS_PLAIN, account_with, next_tasks, plain_account
from app.store.account.witness import IS_KNOWN
from app.store.connections.prepared import Prepared
from app.store.slots import Held, kind, some_free_slots
from app.store.sql import NOW, later, seconds, state_literal, unseen, verbatim
from app.store.tables import CHANGED, ClientQueue, KieAccount, KieBreaker, KieSlot, Task
from app.store.tasks.events import MOVED, logged


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedTask:
    """A task in `submitting` with a slot in hand: only this process may send this attempt."""

    id: UUID
    client_id: UUID
    attempt: int
    tries: int
    model: str
    input: Verbatim
    slot: int
    submitted_at: datetime
    updated_at: datetime
    version: int
    traceparent: str | None

    @property
    def pair(self) -> Pair:
        return Pair(client_id=self.client_id, model=self.model)

    @property
    def held(self) -> Held:
        return Held(call=Call.CREATE, slot=self.slot, task_id=self.id, attempt=self.attempt)


_IDLE_AT_MOST = "10s"
"""A process that hangs, or is cut off, with the lock in hand must not keep all others out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """The account's row in hand."""

    counter: int
    """As committed: what this transaction adds comes on top."""
    is_known: bool
    """The database is the one that was accepted last, on a server that has not restarted since."""
    is_plain: bool
    """Nothing is held, as of just before the lock."""


def _lock(*, skip_locked: bool) -> Select[Any]:
    bounded = func.set_config("idle_in_transaction_session_timeout", _IDLE_AT_MOST, true())
    found = select(
        KieAccount.counter, IS_KNOWN.label("is_known"), IS_PLAIN.label("is_plain"), bounded
    )
    return found.with_for_update(skip_locked=skip_locked)


_LOCKS = {wait: Prepared(partial(_lock, skip_locked=not wait)) for wait in (False, True)}


async def lock_account(connection: AsyncConnection, *, wait: bool) -> Locked | None:
    """Become the one admitter until the transaction ends; None: somebody else is, just now.

    Counting comes after it in a statement of its own: one statement for both counts by a snapshot
    from before the lock (measured: 280 running under a cap of 60).
    """
    row = await _LOCKS[wait].one_or_none(connection)
    if row is None:
        return None
    return Locked(counter=row.counter, is_known=row.is_known, is_plain=row.is_plain)


def _moved(picked: CTE, free: CTE) -> CTE:
    """Move what was picked to `submitting`, each with a free slot."""
    return (
        update(Task)
        .where(Task.id == picked.c.id, picked.c.place == free.c.place)
        .values(
            state=State.SUBMITTING,
            attempt=Task.attempt + 1,
            claim=bindparam("new_claim", type_=Uuid),
            due_at=None,
            leased_until=later("lease"),
            submitted_at=NOW,
            **CHANGED,
        )
        .returning(
            *MOVED,
            Task.tries,
            Task.model,
            verbatim(Task.input).label("input"),
            Task.submitted_at,
            Task.updated_at,
            Task.version,
            Task.traceparent,
            free.c.slot,
            picked.c.tag,
            picked.c.weight,
        )
        .cte("moved")
    )


def _admit(*, plain: bool) -> Select[Any]:
    seats = seated()
    wanted = unseen(bindparam("limit", type_=Integer))
    at_once = wanted if plain else case((IS_HELD, 1), else_=wanted)
    free = some_free_slots(Call.CREATE, CREATES, wanted)
    slots = case(
        (IS_ALL_OURS, select(func.count()).select_from(free).scalar_subquery()), else_=FREE_SLOTS
    )
    free_seats = RUNNING - func.coalesce(select(func.sum(seats.c.seats)).scalar_subquery(), 0)
    n = func.greatest(0, func.least(slots, free_seats, at_once), type_=Integer)
    account = (
        plain_account(n, OPENS_BY_ITSELF, IS_PLAIN) if plain else account_with(n, OPEN, PROBE_TURN)
    )
    moved = _moved(next_tasks(account, seats, plain=plain), free)
    return (
        select(*(moved.c[name] for name in ClaimedTask.__slots__))
        .order_by(moved.c.tag)
        .add_cte(
            _taken(moved),
            _passed(moved),
            _ticked(moved),
            logged(moved, left=state_literal(State.QUEUED)),
        )
    )


def _taken(moved: CTE) -> CTE:
    """Until its answer is known a create's slot is taken for as long as it may be under way."""
    rows = select(
        kind(Call.CREATE),
        moved.c.slot,
        later("taken_for"),
        moved.c.id,
        moved.c.attempt,
        NOW.label("taken_at"),
    )
    changing = ["free_at", "task_id", "attempt", "taken_at"]
    taken = insert(KieSlot).from_select(["kind", "slot", *changing], rows)
    new = {name: taken.excluded[name] for name in changing}
    return taken.on_conflict_do_update(index_elements=["kind", "slot"], set_=new).cte("taken")


def _passed(moved: CTE) -> CTE:
    """Move each client's place on."""
    after = func.max(moved.c.tag + 1.0 / moved.c.weight).label("after")
    passed = select(moved.c.client_id, after).group_by(moved.c.client_id).subquery("passed")
    return (
        update(ClientQueue)
        .where(ClientQueue.client_id == passed.c.client_id)
        .values({ClientQueue.pass_: passed.c.after})
        .cte("passes")
    )


def _ticked(moved: CTE) -> CTE:
    newest = select(func.max(moved.c.tag)).scalar_subquery()
    return (
        update(KieAccount)
        .where(select(moved.c.id).exists())
        .values(
            vtime=func.greatest(KieAccount.vtime, newest),
            counter=KieAccount.counter + 1,  # so that an admission that is lost is missed
        )
        .cte("ticked")
    )


_ADMIT = {plain: Prepared(partial(_admit, plain=plain)) for plain in (False, True)}


async def admit(
    connection: AsyncConnection,
    *,
    limits: Limits,
    limit: int,
    lease: float,
    taken_for: float,
    claim: UUID,
    plain: bool,
) -> list[ClaimedTask]:
    """Take up to `limit` tasks out of the queue, as far as slots, seats and pauses allow.

    The caller holds the account's lock. `plain`: it is `Locked.is_plain`; where something came to
    be held just before the lock was had, nothing is taken. `taken_for`: seconds after which a
    create whose answer nobody recorded frees its slot all the same.
    """
    parameters = {
        **given_limits(limits),
        "limit": limit,
        "lease": lease,
        "taken_for": taken_for,
        "new_claim": claim,
    }
    return [ClaimedTask(**row) for row in await _ADMIT[plain].mappings(connection, parameters)]


_OWN = [name for name in ClaimedTask.__slots__ if name not in ("input", "slot")]
_CLAIMED = (
    select(
        *(getattr(Task, name) for name in _OWN),
        verbatim(Task.input).label("input"),
        KieSlot.slot,
    )
    .join(
        KieSlot,
        (KieSlot.kind == kind(Call.CREATE))
        & (KieSlot.task_id == Task.id)
        & (KieSlot.attempt == Task.attempt),
    )
    .where(
        or_(
            Task.state == state_literal(State.SUBMITTING),
            Task.state == state_literal(State.UNCONFIRMED),
        ),
        Task.claim == bindparam("claim", type_=Uuid),
    )
)


async def claimed_by(connection: AsyncConnection, claim: UUID) -> list[ClaimedTask]:
    """Return what an admission took whose commit was not answered, and which is not sent yet.

    Its lease may be over meanwhile: the tasks are unconfirmed then, and only the caller knows that
    they were never sent. An attempt's own outcome still counts (see `takes_outcome`).
    """
    rows = await connection.execute(_CLAIMED, {"claim": claim})
    return [ClaimedTask(**row) for row in rows.mappings()]


_PROBED = next_tasks(account_with(literal(1)), seated(), plain=False, lock=False)
_PROBED_MODEL = select(Task.model).join(_PROBED, _PROBED.c.id == Task.id)
_HIGHEST_COST = (
    select(Task.credits_consumed)
    .where(Task.model == _PROBED_MODEL.scalar_subquery(), Task.credits_consumed.is_not(None))
    .order_by(Task.credits_consumed.desc())
    .limit(1)
)


async def highest_cost(connection: AsyncConnection, limits: Limits) -> Decimal | None:
    """Return the most that a task of the model cost that a probe would send now.

    None: it sends none, or kie.ai has stated no cost of that model yet. The maximum is the last
    entry of an index, however many tasks there are.
    """
    return await connection.scalar(_HIGHEST_COST, given_limits(limits))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """When something might be admitted."""

    waits: bool
    """Tasks are queued: room that comes free is of use."""
    seconds: float | None
    """0: now; None: time brings nothing."""


_IS_QUEUED = select(Task.id).where(QUEUED).exists()
_NEXT_CHANCE = Prepared(
    lambda: select(
        _IS_QUEUED.label("waits"),
        case(
            (
                and_(_IS_QUEUED, OPENS_BY_ITSELF, PROBE_TURN, HAS_SEAT),
                func.greatest(
                    0.0,
                    seconds(HELD_UNTIL - NOW),
                    case((~HAS_SLOT, seconds(NEXT_FREE - NOW))),
                    type_=Float,
                ),
            )
        ).label("seconds"),
        exists(KieBreaker.client_id).label("has_breakers"),
    ).select_from(KieAccount)
)

_QUEUES = queues().cte("queues")
_QUEUE_OPENS_IN = select(func.min(_QUEUES.c.opens_in)).where(has_task(_QUEUES, QUEUED))


async def next_chance(connection: AsyncConnection, limits: Limits) -> Chance:
    """Return when something might be admitted.

    It takes no lock and reads no task: after 0 it may turn out that none is eligible. Where only
    pairs that are held wait, it is the time until the first of them is probed.
    """
    found = await _NEXT_CHANCE.one(connection, given_limits(limits))
    if found.seconds is None or not found.has_breakers:
        return Chance(waits=found.waits, seconds=found.seconds)
    opens_in: float | None = await connection.scalar(_QUEUE_OPENS_IN)
    return Chance(
        waits=found.waits, seconds=None if opens_in is None else max(found.seconds, opens_in)
    )
