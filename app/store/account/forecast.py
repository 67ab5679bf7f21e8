"""When a queued task will probably start, and what it waits for.

The tasks before it are counted as the admission will take them (by tags, see `admission`), the
slots and seats as they come free; how long creates and tasks take is what they took lately. Where
nobody can know, as in a pause or while the task's own pair is held, there is no estimate.
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
    exists,
    false,
    func,
    literal,
    null,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.admission import BRAKES, Call, HoldReason, Limits
from app.domain.evidence import Verdict
from app.store.account.limits import (
    ALLOWED,
    CLIENT_OPEN,
    CREATES,
    FREE_SEATS,
    HELD_UNTIL,
    IS_HELD,
    RUNNING,
    WINDOW,
    brake,
    given_limits,
    start_tag,
    tag,
)
from app.store.account.pairs import HELD_PAIR
from app.store.account.shares import rooms, seated, waiting
from app.store.account.sizes import COUNTED, asked, kept_open, open_now
from app.store.connections.prepared import Prepared
from app.store.slots import kind, numbers
from app.store.sql import NOW, later, seconds, seconds_since, unseen
from app.store.tables import (
    Callback,
    Client,
    ClientQueue,
    KieAccount,
    KieBreaker,
    KieSlot,
    Task,
)

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


_CLIENT = unseen(bindparam("client_id", type_=Uuid))
_START = start_tag(KieAccount.vtime)


def _mine(room: CTE) -> CTE:
    """Find the tasks in question and tag them."""
    found = asked(bindparam("ids", type_=ARRAY(Uuid)))
    own = room.c.client_id == _CLIENT
    tagged = tag(_START, found.c.place, Client.weight).label("tag")
    return (
        select(
            found.c.id,
            found.c.due_at,
            found.c.place,
            found.c.pair_held,
            tagged,
            ClientQueue.paused_at,
            ClientQueue.disabled_at,
            (found.c.place + 1 - room.c.room).label("missing_own"),
            room.c.ceiling,
        )
        .select_from(found)
        .join(Client, Client.id == _CLIENT)
        .outerjoin(room, own)
        .join(ClientQueue, ClientQueue.client_id == Client.id)
        .join(KieAccount, true())
        .cte("mine")
    )


def _others(mine: CTE, room: CTE) -> CTE:
    """Count what others have queued, as far as it may be before the last of these tasks."""
    last = select(func.max(mine.c.tag)).scalar_subquery()
    other = (
        select(Client.id.label("client_id"), Client.weight, _START.label("start"))
        .join(ClientQueue, ClientQueue.client_id == Client.id)
        .join(KieAccount, true())
        .outerjoin(room, room.c.client_id == Client.id)
        # Who may have no further seat now lets the others pass.
        .where(Client.id != _CLIENT, CLIENT_OPEN, func.coalesce(room.c.room > 0, true()))
        .cte("other")
    )
    turns = func.ceil((last - other.c.start) * other.c.weight) + 1
    # Of a client with a held pair more are read: what is held is not counted.
    most = case(
        (
            exists(KieBreaker.client_id)
            .where(HELD_PAIR, KieBreaker.client_id == other.c.client_id)
            .correlate(other),
            COUNTED,
        ),
        else_=cast(func.least(COUNTED, func.greatest(0, turns)), Integer),
    )
    tasks = func.coalesce(
        kept_open(other.c.client_id), open_now(other.c.client_id, of=other, limit=most)
    )
    return select(other, tasks.label("tasks")).cte("others").prefix_with("MATERIALIZED")


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
    slot = numbers(unseen(CREATES))
    under_way = func.greatest(0.0, _CREATED_IN - seconds_since(KieSlot.taken_at)) + WINDOW
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
        brake(*BRAKES).label("brake"),
        case((IS_HELD, KieAccount.hold_reason)).label("hold_reason"),
        func.greatest(0.0, func.coalesce(seconds(HELD_UNTIL - NOW), 0.0)).label("held"),
        FREE_SEATS.label("seats"),
        (WINDOW + _CREATED_IN).label("cycle"),
        _ran().label("ran"),
    ).cte("account")


def _by_slots(before: CTE, account: CTE) -> ColumnElement[float]:
    """Build the seconds until the task has a slot: those that come free first go to others."""
    slots = _slots()
    # Where others use the account, so many of the first slots to come free are theirs.
    theirs = CREATES - account.c.allowed
    slot = (
        select(slots.c.free_in)
        .where(slots.c.place == theirs + func.mod(before.c.n, account.c.allowed))
        .scalar_subquery()
    )
    rounds = func.floor(before.c.n / cast(account.c.allowed, Float))
    return func.greatest(slot, account.c.held) + rounds * account.c.cycle


def _wait(
    before: CTE, account: CTE, by_slots: ColumnElement[float], by_seats: ColumnElement[float]
) -> ColumnElement[float | None]:
    """Build the seconds until the task starts; NULL where nobody can know."""
    own = func.greatest(0.0, seconds(before.c.due_at - NOW))
    known = (
        account.c.brake.is_(None)
        & before.c.paused_at.is_(None)
        & before.c.disabled_at.is_(None)
        & before.c.pair_held.is_(None)
        & func.coalesce(account.c.hold_reason == HoldReason.KIE_BUSY.value, true())
    )
    return case(
        (known & by_seats.is_not(None), func.greatest(by_slots, by_seats, own)), else_=null()
    )


def _reason(
    before: CTE,
    account: CTE,
    by_slots: ColumnElement[float],
    seats_decide: ColumnElement[str | None],
) -> ColumnElement[str | None]:
    return case(
        (account.c.brake.is_not(None), account.c.brake),
        (before.c.paused_at.is_not(None), literal(HoldReason.CLIENT_PAUSED.value)),
        (before.c.disabled_at.is_not(None), literal(HoldReason.CLIENT_PAUSED.value)),
        (account.c.hold_reason.is_not(None), account.c.hold_reason),
        (before.c.pair_held.is_not(None), before.c.pair_held),
        (seats_decide.is_not(None), seats_decide),
        (by_slots > 0, literal(HoldReason.CREATE_LIMIT.value)),
        else_=null(),
    )


def _predict() -> Select[UUID, str | None, datetime, float | None]:
    room = rooms(waiting(), seated())
    mine, account = _mine(room), _account()
    others = _others(mine, room)
    before = (
        select(
            mine.c.id,
            mine.c.paused_at,
            mine.c.disabled_at,
            mine.c.due_at,
            mine.c.pair_held,
            mine.c.missing_own,
            mine.c.ceiling,
            _before(mine, others).label("n"),
        )
        .cte("before")
        .prefix_with("MATERIALIZED")
    )
    by_slots = _by_slots(before, account)
    missing = before.c.n - account.c.seats + 1
    by_any = case((missing <= 0, 0.0), else_=missing * account.c.ran / cast(RUNNING, Float))
    own = before.c.missing_own
    # Where both bind alike the client's own is told: the account's may be others' doing.
    binds = (own > missing) | ((own == missing) & (before.c.ceiling < RUNNING))
    is_own = func.coalesce(binds & (own > 0), false())
    by_seats = case((is_own, own * account.c.ran / cast(before.c.ceiling, Float)), else_=by_any)
    slower = func.coalesce(by_seats >= by_slots, true())
    seats_decide = case(
        (is_own & slower, literal(HoldReason.CLIENT_RUNNING_LIMIT.value)),
        ((missing > 0) & slower, literal(HoldReason.RUNNING_LIMIT.value)),
        else_=null(),
    )
    wait = _wait(before, account, by_slots, by_seats)
    return select(
        before.c.id,
        _reason(before, account, by_slots, seats_decide).label("hold_reason"),
        later(wait).label("estimated_start_at"),
        wait.label("wait"),
    ).join(account, true())


_PREDICT = Prepared(_predict)


async def forecast(
    connection: AsyncConnection, client_id: UUID, ids: Collection[UUID], limits: Limits
) -> dict[UUID, Forecast]:
    """Return the forecasts of those of the client's tasks that are queued."""
    parameters = {**given_limits(limits), "client_id": client_id, "ids": list(ids)}
    return {
        row.id: Forecast(
            hold_reason=HoldReason(row.hold_reason) if row.hold_reason else None,
            estimated_start_at=row.estimated_start_at,
            wait=row.wait,
        )
        for row in await _PREDICT.all(connection, parameters)
    }
