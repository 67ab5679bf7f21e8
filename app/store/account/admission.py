"""Admission: which queued tasks may be sent now, and whose turn it is.

Each takes a slot (see `slots`) and a seat. Between clients start-time fair queueing (Goyal, Vin,
Cheng 1996): a client's next task has the tag max(pass, vtime), each further one 1/weight more, and
the lowest tag goes first. Within a client, priority orders.
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
    CLIENT_OPEN,
    CREATES,
    ELIGIBLE,
    FREE_SEATS,
    FREE_SLOTS,
    HAS_SEAT,
    HAS_SLOT,
    IS_HELD,
    NEXT_FREE,
    OPEN,
    OPENS_BY_ITSELF,
    PROBE_TURN,
    QUEUED,
    given_limits,
    start_tag,
    tag,
)
from app.store.slots import free_slots, kind
from app.store.sql import NOW, later, seconds, state_literal
from app.store.tables import CHANGED, Client, ClientQueue, KieAccount, KieSlot, Task
from app.store.tasks.events import MOVED, logged


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedTask:
    """A task in `submitting` with a slot in hand: only this process may send this attempt."""

    id: UUID
    attempt: int
    tries: int
    model: str
    input: dict[str, Any]
    slot: int
    submitted_at: datetime


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
    """Read the account where it may be sent to, with `n`, how many tasks may go now."""
    wanted = bindparam("limit", type_=Integer)
    at_once = case((IS_HELD, 1), else_=wanted)
    n = func.greatest(0, func.least(wanted, FREE_SLOTS, FREE_SEATS, at_once), type_=Integer)
    return select(KieAccount.vtime, n.label("n")).where(OPEN, PROBE_TURN).cte("account")


def _heads(account: CTE, n: ColumnElement[int]) -> CTE:
    """Find the clients with work, those whose turn it is first."""
    start = start_tag(account.c.vtime).label("start")
    waiting = select(Task.id).where(Task.client_id == ClientQueue.client_id, *ELIGIBLE)
    return (
        select(ClientQueue.client_id, Client.weight, start)
        .join(Client, Client.id == ClientQueue.client_id)
        .join(account, true())
        .where(n > 0, CLIENT_OPEN, waiting.exists())
        .order_by(start, ClientQueue.client_id)
        .limit(n)
        .cte("heads")
    )


def _candidates(heads: CTE, n: ColumnElement[int]) -> CTE:
    """Lock the first of each client's tasks and tag them."""
    order = (Task.priority.desc(), Task.id)
    first = (
        select(Task.id, Task.priority)
        .where(Task.client_id == heads.c.client_id, *ELIGIBLE)
        .order_by(*order)
        .limit(n)
        .with_for_update(skip_locked=True)
        .lateral("first")
    )
    place = func.row_number().over(
        partition_by=heads.c.client_id, order_by=(first.c.priority.desc(), first.c.id)
    )
    tagged = tag(heads.c.start, place - 1, heads.c.weight).label("tag")
    return (
        select(first.c.id, heads.c.client_id, heads.c.weight, tagged)
        .select_from(heads.join(first, true()))
        .cte("candidates")
    )


def _numbered(candidates: CTE, n: ColumnElement[int]) -> CTE:
    order = (candidates.c.tag, candidates.c.client_id)
    place = func.row_number().over(order_by=order).label("place")
    return select(candidates, place).order_by(*order).limit(n).cte("picked")


def _moved(picked: CTE) -> CTE:
    """Move what was picked to `submitting`, each with a free slot."""
    free = free_slots(Call.CREATE, CREATES)
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
            Task.input,
            Task.submitted_at,
            free.c.slot,
            picked.c.tag,
            picked.c.weight,
        )
        .cte("moved")
    )


def _admit() -> Select[Any]:
    account = _account()
    n = select(account.c.n).scalar_subquery()
    moved = _moved(_numbered(_candidates(_heads(account, n), n), n))
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
    they were never sent. An attempt's own outcome still counts (see `takes_outcome`).
    """
    rows = await connection.execute(_CLAIMED, {"claim": claim})
    return [ClaimedTask(**row) for row in rows.mappings()]


_NEXT_CHANCE = select(
    func.greatest(
        0.0,
        seconds(KieAccount.held_until - NOW),
        case((~HAS_SLOT, seconds(NEXT_FREE - NOW))),
        type_=Float,
    )
).where(select(literal(1)).where(QUEUED).exists(), OPENS_BY_ITSELF, PROBE_TURN, HAS_SEAT)


async def next_chance(connection: AsyncConnection, limits: Limits) -> float | None:
    """Return the seconds until something might be admitted, 0: now; None: time brings nothing.

    It takes no lock and looks at no task: after 0 it may turn out that none is eligible.
    """
    return await connection.scalar(_NEXT_CHANCE, given_limits(limits))
