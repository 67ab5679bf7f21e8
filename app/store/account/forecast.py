"""When a queued task will probably start, and what it waits for.

The tasks before it are counted as the admission will take them (by tags, see `admission`), the
slots and seats as they come free; how long creates and tasks take is what they took lately. Where
nobody can know, as in a pause, there is no estimate.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Float,
    Integer,
    ScalarSelect,
    Select,
    Uuid,
    bindparam,
    case,
    cast,
    func,
    literal,
    null,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.admission import Call, HoldReason, Limits
from app.domain.evidence import Verdict
from app.domain.task import State
from app.store.account.limits import (
    ALLOWED,
    CREATES,
    RUNNING,
    SEATS,
    WINDOW,
    given_limits,
    kind,
    numbers,
    seconds,
)
from app.store.sql import NOW
from app.store.tables import Callback, Client, ClientQueue, KieAccount, KieSlot, Task
from app.store.tasks.moves import state_literal

FIRST_CREATE = 0.5
"""Seconds that a create takes, as long as none was measured: the recorded median was 0.48."""

RECENT_ENDS = 50
"""Reports of kie.ai from whose tasks the running time is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a queued task waits for."""

    hold_reason: HoldReason | None
    estimated_start_at: datetime | None
    wait: float | None
    """Seconds until then."""


_QUEUED = Task.state == state_literal(State.QUEUED)
_CLIENT = bindparam("client_id", type_=Uuid)
_START = func.greatest(ClientQueue.pass_, KieAccount.vtime, type_=Float)


def _mine() -> CTE:
    """Find the tasks in question and tag them."""
    place = func.row_number().over(order_by=(Task.priority.desc(), Task.id))
    queue = (
        select(Task.id, Task.due_at, (place - 1).label("place"))
        .where(Task.client_id == _CLIENT, _QUEUED)
        .subquery("queue")
    )
    tag = _START + cast(queue.c.place, Float) / Client.weight
    return (
        select(queue.c.id, queue.c.due_at, queue.c.place, tag.label("tag"), ClientQueue.paused_at)
        .select_from(queue)
        .join(Client, Client.id == _CLIENT)
        .join(ClientQueue, ClientQueue.client_id == Client.id)
        .join(KieAccount, true())
        .where(queue.c.id == bindparam("ids", type_=ARRAY(Uuid)).any_())
        .cte("mine")
    )


def _others() -> CTE:
    waiting = (
        select(Task.client_id, func.count().label("tasks"))
        .where(_QUEUED, Task.client_id != _CLIENT)
        .group_by(Task.client_id)
        .subquery("waiting")
    )
    return (
        select(waiting.c.client_id, waiting.c.tasks, Client.weight, _START.label("start"))
        .select_from(waiting)
        .join(Client, Client.id == waiting.c.client_id)
        .join(ClientQueue, ClientQueue.client_id == Client.id)
        .join(KieAccount, true())
        .where(ClientQueue.paused_at.is_(None))
        .cte("others")
        .prefix_with("MATERIALIZED")
    )


def _before(mine: CTE, others: CTE) -> ColumnElement[int]:
    """Count the tasks of all clients that are admitted before this one."""
    turns = (mine.c.tag - others.c.start) * others.c.weight
    # Of equal tags the one of the lower client goes first.
    lower = case((others.c.client_id < _CLIENT, func.floor(turns) + 1), else_=func.ceil(turns))
    of_others = select(
        func.coalesce(func.sum(func.least(others.c.tasks, func.greatest(0, lower))), 0)
    ).scalar_subquery()
    return cast(mine.c.place + of_others, Integer)


_CREATED_IN = func.coalesce(
    select(func.avg(KieSlot.took)).where(KieSlot.kind == kind(Call.CREATE)).scalar_subquery(),
    FIRST_CREATE,
    type_=Float,
)


def _slots() -> CTE:
    """Order the slots by when they come free; `free_in` in seconds."""
    slot = numbers(CREATES)
    under_way = func.greatest(0.0, _CREATED_IN - seconds(NOW - KieSlot.taken_at)) + WINDOW
    free_in = case(
        (KieSlot.free_at.is_(None), 0.0),
        (KieSlot.free_at <= NOW, 0.0),
        (KieSlot.task_id.is_not(None), under_way),
        else_=seconds(KieSlot.free_at - NOW),
    )
    joined = (KieSlot.kind == kind(Call.CREATE)) & (KieSlot.slot == slot)
    found = select(free_in.label("free_in"), slot).outerjoin(KieSlot, joined).subquery("found")
    place = func.row_number().over(order_by=found.c.free_in) - 1
    return select(found.c.free_in, place.label("place")).cte("slots")


def _ran() -> ScalarSelect[float]:
    """Average the running time of the tasks that ended last, in seconds; NULL: none has."""
    last = (
        select(Callback.task_id)
        .where(Callback.verdict == Verdict.APPLIED.value)
        .order_by(Callback.id.desc())
        .limit(RECENT_ENDS)
        .subquery("last")
    )
    ran = func.avg(seconds(Task.finished_at - Task.submitted_at))
    return select(ran).join(last, last.c.task_id == Task.id).scalar_subquery()


def _account() -> CTE:
    return select(
        ALLOWED.label("allowed"),
        KieAccount.paused_at,
        KieAccount.hold_reason,
        func.greatest(0.0, func.coalesce(seconds(KieAccount.held_until - NOW), 0.0)).label("held"),
        (RUNNING - SEATS).label("seats"),
        (WINDOW + _CREATED_IN).label("cycle"),
        _ran().label("ran"),
    ).cte("account")


def _predict() -> Select[tuple[UUID, str | None, float | None]]:
    mine, others, slots, account = _mine(), _others(), _slots(), _account()
    before = (
        select(mine.c.id, mine.c.paused_at, mine.c.due_at, _before(mine, others).label("n"))
        .cte("before")
        .prefix_with("MATERIALIZED")
    )
    # Where others use the account, so many of the first slots to come free are theirs.
    theirs = CREATES - account.c.allowed
    slot = (
        select(slots.c.free_in)
        .where(slots.c.place == theirs + func.mod(before.c.n, account.c.allowed))
        .scalar_subquery()
    )
    by_slots = (
        func.greatest(slot, account.c.held)
        + func.floor(before.c.n / cast(account.c.allowed, Float)) * account.c.cycle
    )
    missing = before.c.n - account.c.seats + 1
    by_seats = case((missing <= 0, 0.0), else_=missing * account.c.ran / cast(RUNNING, Float))
    own = func.greatest(0.0, seconds(before.c.due_at - NOW))
    known = (
        account.c.paused_at.is_(None)
        & before.c.paused_at.is_(None)
        & func.coalesce(account.c.hold_reason == HoldReason.KIE_BUSY.value, true())
    )
    wait = case(
        (known & by_seats.is_not(None), func.greatest(by_slots, by_seats, own)),
        else_=null(),
    )
    reason = case(
        (account.c.paused_at.is_not(None), literal(HoldReason.ADMISSION_PAUSED.value)),
        (before.c.paused_at.is_not(None), literal(HoldReason.CLIENT_PAUSED.value)),
        (account.c.hold_reason.is_not(None), account.c.hold_reason),
        (
            (missing > 0) & func.coalesce(by_seats >= by_slots, true()),
            literal(HoldReason.RUNNING_LIMIT.value),
        ),
        (by_slots > 0, literal(HoldReason.CREATE_LIMIT.value)),
        else_=null(),
    )
    start = NOW + func.make_interval(0, 0, 0, 0, 0, 0, wait)
    return select(
        before.c.id,
        reason.label("hold_reason"),
        start.label("estimated_start_at"),
        wait.label("wait"),
    ).join(account, true())


_PREDICT = _predict()


async def forecast(
    connection: AsyncConnection, client_id: UUID, ids: Collection[UUID], limits: Limits
) -> dict[UUID, Forecast]:
    """Return the forecasts of those of the client's tasks that are queued."""
    parameters = {**given_limits(limits), "client_id": client_id, "ids": list(ids)}
    rows = await connection.execute(_PREDICT, parameters)
    return {
        row.id: Forecast(
            hold_reason=HoldReason(row.hold_reason) if row.hold_reason else None,
            estimated_start_at=row.estimated_start_at,
            wait=row.wait,
        )
        for row in rows
    }
