"""Admission: which queued tasks may be sent now, and whose turn it is.

Slots: as many as kie.ai's limit, each free again one window after the *answer* of the create that
used it, so that no window can see more, however long creates are under way. Between clients
start-time fair queueing (Goyal, Vin, Cheng 1996): a client's next task has the tag
max(pass, vtime), each further one 1/weight more, and the lowest tag goes first. Within a client,
priority orders.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Float,
    Integer,
    Select,
    Uuid,
    bindparam,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.admission import Call, Limits
from app.domain.task import State
from app.store.account.limits import (
    ALLOWED,
    BUSY,
    CREATES,
    NEXT_FREE,
    RUNNING,
    SEATS,
    SENDING,
    UNPROVED,
    free_slots,
    given_limits,
    kind,
    seconds,
)
from app.store.sql import NOW, later
from app.store.tables import Client, ClientQueue, KieAccount, KieSlot, Task
from app.store.tasks.moves import MOVED, logged, state_literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedTask:
    """A task in `submitting` with a slot in hand: this process alone may send this attempt."""

    id: UUID
    attempt: int
    tries: int
    model: str
    input: dict[str, Any]
    slot: int
    submitted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A slot that a call is using."""

    call: Call
    slot: int
    task_id: UUID
    attempt: int = 0
    """Which of the task's creates; a query is none."""


_IDLE_AT_MOST = "10s"
"""A process that hangs, or is cut off, with the lock in hand must not keep all others out."""


def _lock(*, skip_locked: bool) -> Select[Any]:
    bounded = func.set_config("idle_in_transaction_session_timeout", _IDLE_AT_MOST, true())
    return select(KieAccount.id, bounded).with_for_update(skip_locked=skip_locked)


_LOCKS = {wait: _lock(skip_locked=not wait) for wait in (False, True)}


async def lock_account(connection: AsyncConnection, *, wait: bool) -> bool:
    """Become the one admitter until the transaction ends; False: somebody else is, just now.

    Counting comes after it in a statement of its own: one statement for both counts by a snapshot
    from before the lock (measured: 280 running under a cap of 60).
    """
    return (await connection.execute(_LOCKS[wait])).one_or_none() is not None


def _account() -> CTE:
    """Read the account where it may be sent to; `half_open`: one task alone, as a probe."""
    return (
        select(
            KieAccount.vtime,
            ALLOWED.label("allowed"),
            KieAccount.hold_reason.is_not(None).label("half_open"),
        )
        .where(
            KieAccount.paused_at.is_(None),
            or_(KieAccount.held_until.is_(None), KieAccount.held_until <= NOW),
            func.coalesce(~UNPROVED, true()),
        )
        .cte("account")
    )


def _room(account: CTE) -> CTE:
    wanted = bindparam("limit", type_=Integer)
    probe = case((account.c.half_open, 1 - SENDING), else_=wanted)
    room = func.least(wanted, account.c.allowed - BUSY, RUNNING - SEATS, probe)
    return select(func.greatest(0, room, type_=Integer).label("n")).select_from(account).cte("room")


def _waiting(client_id: Any) -> tuple[ColumnElement[bool], ...]:  # noqa: ANN401  # a column
    return (
        Task.client_id == client_id,
        Task.state == state_literal(State.QUEUED),
        Task.submit_by > NOW,
        Task.due_at <= NOW,
    )


def _heads(account: CTE, n: ColumnElement[int]) -> CTE:
    """Find the clients with work, those whose turn it is first."""
    start = func.greatest(ClientQueue.pass_, account.c.vtime, type_=Float).label("start")
    return (
        select(ClientQueue.client_id, Client.weight, start)
        .join(Client, Client.id == ClientQueue.client_id)
        .join(account, true())
        .where(
            n > 0,
            ClientQueue.paused_at.is_(None),
            select(Task.id).where(*_waiting(ClientQueue.client_id)).exists(),
        )
        .order_by(start, ClientQueue.client_id)
        .limit(n)
        .cte("heads")
    )


def _candidates(heads: CTE, n: ColumnElement[int]) -> CTE:
    """Lock the first of each client's tasks and tag them."""
    order = (Task.priority.desc(), Task.id)
    first = (
        select(Task.id, Task.priority)
        .where(*_waiting(heads.c.client_id))
        .order_by(*order)
        .limit(n)
        .with_for_update(skip_locked=True)
        .lateral("first")
    )
    place = func.row_number().over(
        partition_by=heads.c.client_id, order_by=(first.c.priority.desc(), first.c.id)
    )
    tag = heads.c.start + cast(place - 1, Float) / heads.c.weight
    return (
        select(first.c.id, heads.c.client_id, heads.c.weight, tag.label("tag"))
        .select_from(heads.join(first, true()))
        .cte("candidates")
    )


def _numbered(candidates: CTE, n: ColumnElement[int]) -> CTE:
    order = (candidates.c.tag, candidates.c.client_id)
    place = func.row_number().over(order_by=order).label("place")
    return select(candidates, place).order_by(*order).limit(n).cte("picked")


def _admit() -> Select[Any]:
    account = _account()
    room = _room(account)
    n = select(room.c.n).scalar_subquery()
    picked = _numbered(_candidates(_heads(account, n), n), n)
    free = free_slots(Call.CREATE, CREATES)
    moved = (
        update(Task)
        .where(Task.id == picked.c.id, picked.c.place == free.c.place)
        .values(
            state=State.SUBMITTING,
            attempt=Task.attempt + 1,
            claim=bindparam("new_claim", type_=Uuid),
            due_at=None,
            leased_until=later("lease"),
            submitted_at=NOW,
            updated_at=NOW,
        )
        .returning(
            *MOVED,
            Task.tries,
            Task.model,
            Task.input,
            Task.submitted_at,
            free.c.slot,
            picked.c.tag,
            picked.c.weight,
        )
        .cte("moved")
    )
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
        .values(vtime=func.greatest(KieAccount.vtime, newest))
        .cte("ticked")
    )


_ADMIT = _admit()


async def admit(
    connection: AsyncConnection,
    *,
    limits: Limits,
    limit: int,
    lease: float,
    taken_for: float,
    claim: UUID,
) -> list[ClaimedTask]:
    """Take up to `limit` tasks out of the queue, as far as slots, seats and pauses allow.

    The caller holds the account's lock. `taken_for`: seconds after which a create whose answer
    nobody recorded frees its slot all the same.
    """
    parameters = {
        **given_limits(limits),
        "limit": limit,
        "lease": lease,
        "taken_for": taken_for,
        "new_claim": claim,
    }
    rows = await connection.execute(_ADMIT, parameters)
    return [ClaimedTask(**row) for row in rows.mappings()]


_CLAIMED = (
    select(
        Task.id, Task.attempt, Task.tries, Task.model, Task.input, Task.submitted_at, KieSlot.slot
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
    they were never sent. An attempt's own word still counts (see `takes_outcome`).
    """
    rows = await connection.execute(_CLAIMED, {"claim": claim})
    return [ClaimedTask(**row) for row in rows.mappings()]


_IN_ORDER = or_(KieAccount.hold_reason.is_(None), SENDING == 0)
"""A hold lets one task through at a time."""

_NEXT_CHANCE = select(
    func.greatest(
        0.0,
        seconds(KieAccount.held_until - NOW),
        case((ALLOWED <= BUSY, seconds(NEXT_FREE - NOW))),
        type_=Float,
    )
).where(
    select(literal(1)).where(Task.state == state_literal(State.QUEUED)).exists(),
    KieAccount.paused_at.is_(None),
    func.coalesce(~UNPROVED, true()),
    _IN_ORDER,
    RUNNING > SEATS,
)


async def next_chance(connection: AsyncConnection, limits: Limits) -> float | None:
    """Return the seconds until something might be admitted, 0: now; None: time brings nothing.

    It takes no lock and looks at no task: who is told 0 may find that none is eligible.
    """
    return await connection.scalar(_NEXT_CHANCE, given_limits(limits))


_RELEASE = (
    update(KieSlot)
    .where(
        KieSlot.kind == bindparam("held_kind"),
        KieSlot.slot == bindparam("held_slot"),
        KieSlot.task_id == bindparam("held_for"),
        KieSlot.attempt == bindparam("held_attempt"),
    )
    .values(
        free_at=later("still"),
        task_id=None,
        took=seconds(NOW - KieSlot.taken_at) - bindparam("ago", type_=Float),
    )
    .returning(KieSlot.slot)
)


async def release(
    connection: AsyncConnection, held: Held, *, window: float, answered_ago: float
) -> bool:
    """Free the slot one window after the answer, which came `answered_ago` seconds before.

    False: it was freed before, by an earlier try of the same record or by time.
    """
    parameters = {
        "held_kind": held.call,
        "held_slot": held.slot,
        "held_for": held.task_id,
        "held_attempt": held.attempt,
        "still": window - answered_ago,
        "ago": answered_ago,
    }
    return await connection.scalar(_RELEASE, parameters) is not None
