"""Booking what a task costs, in the statement that changes the task.

No settlement waits for another: each appends a row, and `folding` sums them up. A row says how the
task counted before and how it counts after, so it needs no look at what was booked earlier.
"""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    Boolean,
    ColumnElement,
    Date,
    Numeric,
    SQLColumnExpression,
    Uuid,
    any_,
    bindparam,
    case,
    cast,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.domain.spend import RELEASED
from app.domain.task import FINAL
from app.store.sql import NOW
from app.store.tables import Budget, Task, UsageEntry

BOOKED = (
    Task.model,
    Task.__table__.c.metadata,
    Task.created_at,
    Task.finished_at,
    Task.credits_consumed,
    Task.duration_seconds,
    Task.fail_class,
    Task.reserved,
)
"""What `booked` reads of each row that changed, beside `MOVED`."""

_FINAL = [state.value for state in FINAL]
_RELEASED = [state.value for state in RELEASED]
_NOUGHT = literal(0, Numeric)


def utc_day(instant: SQLColumnExpression[Any]) -> ColumnElement[Any]:
    """Return the day of an instant, whatever the session's time zone is."""
    return cast(func.timezone("UTC", instant), Date)


def held(task: Any) -> ColumnElement[Any]:  # noqa: ANN401  # a table or a part of a statement
    """Write `app.domain.spend.held` of a row."""
    free = or_(task.state.in_(_RELEASED), task.credits_consumed.is_not(None))
    return case((free, _NOUGHT), else_=func.coalesce(task.reserved, _NOUGHT))


def _side(task: Any) -> tuple[ColumnElement[Any], ...]:  # noqa: ANN401  # as above
    """Return how a final task counts: its state, its class, its credits, its seconds."""
    return (
        task.state,
        task.fail_class,
        func.coalesce(task.credits_consumed, _NOUGHT),
        func.coalesce(task.duration_seconds, _NOUGHT),
    )


_LEFT = ("left_state", "left_class", "left_credits", "left_seconds")
_COME = ("state", "fail_class", "credits", "seconds")


def booked(moved: CTE) -> CTE:
    """Book every row of `moved` that is final; it returns `MOVED` and `BOOKED`.

    The table is read beside it as it was before the statement: nobody else can have changed a row
    that the transaction had locked. What was final and not booked, counted for nothing so far.
    """
    before = aliased(Task, name="before")
    left = (case((before.booked.is_(True), value)) for value in _side(before)[:2])
    left_sums = (
        case((before.booked.is_(True), value), else_=_NOUGHT) for value in _side(before)[2:]
    )
    noted = case(
        (before.booked.is_(True), held(before)),
        else_=func.coalesce(before.reserved, _NOUGHT),
    )
    rows = (
        select(
            *(moved.c.client_id, moved.c.id, utc_day(NOW), utc_day(moved.c.created_at)),
            *(moved.c.model, moved.c.metadata),
            *left,
            *left_sums,
            *_side(moved.c),
            held(moved.c) - noted,
        )
        .select_from(moved)
        .join(before, before.id == moved.c.id)
        .where(moved.c.state.in_(_FINAL))
    )
    return _append(rows, "metadata", *_LEFT, *_COME)


def ended(moved: CTE) -> CTE:
    """Book every row of `moved`, which is final and was not before, as of the day it ended on."""
    rows = select(
        *(moved.c.client_id, moved.c.id, utc_day(moved.c.finished_at), utc_day(moved.c.created_at)),
        *(moved.c.model, moved.c.metadata),
        *_side(moved.c),
        held(moved.c) - func.coalesce(moved.c.reserved, _NOUGHT),
    )
    return _append(rows, "metadata", *_COME)


def reserving(stored: CTE) -> CTE:
    """Book what a task that was just stored may cost."""
    rows = select(
        *(stored.c.client_id, stored.c.id, utc_day(stored.c.created_at)),
        *(utc_day(stored.c.created_at), stored.c.model, stored.c.reserved),
    ).where(stored.c.reserved.is_not(None))
    return _append(rows)


def _append(rows: Any, *names: str) -> CTE:  # noqa: ANN401  # a select
    columns = ["client_id", "task_id", "day", "created_day", "model", *names, "reserved"]
    return insert(UsageEntry).from_select(columns, rows).cte("booked")


# -- what a create reserves

_PRICED = aliased(Task, name="priced")
HIGHEST_COST: ColumnElement[Any] = (
    select(_PRICED.credits_consumed)
    .where(_PRICED.model == bindparam("model"), _PRICED.credits_consumed.is_not(None))
    .order_by(_PRICED.credits_consumed.desc())
    .limit(1)
    .scalar_subquery()
)
"""The most that a task of the model has cost: the last entry of an index. A cost that kie.ai's
record corrects is gone from it, too."""

RESERVED = func.coalesce(HIGHEST_COST, bindparam("unknown_cost", type_=Numeric))
"""What a create reserves; NULL: nobody knows what it may cost."""


def has_budget(client_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return whether anything bounds what the client may spend."""
    return cast(exists(Budget.client_id).where(Budget.client_id == client_id), Boolean)


_IDS = bindparam("ids", type_=ARRAY(Uuid))
_LET_GO = insert(UsageEntry).from_select(
    ["client_id", "task_id", "day", "created_day", "model", "reserved"],
    select(
        *(Task.client_id, Task.id, utc_day(NOW), utc_day(Task.created_at), Task.model),
        -held(Task),
    ).where(Task.id == any_(_IDS), held(Task) > 0),
)


async def let_go(connection: AsyncConnection, ids: Collection[UUID]) -> None:
    """Give back the reserves of tasks that are about to be deleted: nothing settles them later."""
    await connection.execute(_LET_GO, {"ids": list(ids)})


_FORGET = (
    update(UsageEntry)
    .where(UsageEntry.task_id == any_(_IDS), UsageEntry.metadata_.is_not(None))
    .values(metadata_=null())
)


async def forget(connection: AsyncConnection, ids: Collection[UUID]) -> None:
    """Drop the metadata of tasks that are erased from what is not folded yet."""
    await connection.execute(_FORGET, {"ids": list(ids)})
