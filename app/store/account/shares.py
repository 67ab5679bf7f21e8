"""How many seats each client may still take, as SQL: one client's hanging tasks leave others some.

While several clients have keys, one has at most its share of all seats. And above what its
weight gives it among those that run or wait, it takes no new one while another below that waits.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Float,
    Integer,
    RowMapping,
    Select,
    bindparam,
    case,
    cast,
    exists,
    func,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.domain.admission import Limits
from app.domain.task import State
from app.store.account.limits import CLIENT_OPEN, ELIGIBLE, RUNNING, given_limits
from app.store.account.pairs import has_first
from app.store.sql import ONCE, interval, state_literal
from app.store.tables import ApiKey, Client, ClientQueue, Task

_SEATED = aliased(Task)
_SHARE = func.coalesce(Client.running_share, bindparam("running_share", type_=Float))
_NEARLY = 1e-9
"""Added before a float is rounded down: 0.57 of 100 is 57."""


def seated() -> CTE:
    """Count the seats of each client that has one."""
    since = ONCE - interval("unconfirmed_seat")
    states = (State.SUBMITTING, State.RUNNING, State.UNCONFIRMED)
    return (
        select(_SEATED.client_id, func.count().label("seats"))
        .where(
            _SEATED.state.in_([state_literal(state) for state in states]),
            or_(_SEATED.state != state_literal(State.UNCONFIRMED), _SEATED.submitted_at > since),
        )
        .group_by(_SEATED.client_id)
        .cte("seated")
        .prefix_with("MATERIALIZED")
    )


_ENABLED = aliased(Client)
_ANY_KEY = exists(ApiKey.id).where(ApiKey.client_id == _ENABLED.id, ApiKey.revoked_at.is_(None))
"""An expired key counts: it costs others a tenth of the seats at most, and asking for it a scan."""
_SEVERAL_ENABLED = (
    select(_ENABLED.id).where(_ANY_KEY).offset(1).limit(1).scalar_subquery().is_not(None)
)
CEILING: ColumnElement[int] = case(
    (
        _SEVERAL_ENABLED,
        func.greatest(1, cast(func.floor(RUNNING * _SHARE + _NEARLY), Integer)),
    ),
    else_=RUNNING,
)
"""The seats that a client may have at all."""


def waiting() -> CTE:
    """List the clients with a task that may be sent."""
    found = select(ClientQueue.client_id).where(
        CLIENT_OPEN, has_first(ClientQueue.client_id, *ELIGIBLE)
    )
    return found.cte("waiting").prefix_with("MATERIALIZED")


def rooms(work: CTE, seats: CTE, *, only_waiting: bool = True) -> CTE:
    """Return for each client in `work` how many seats it may take now: `room`, 0 or more.

    `work` lists the clients with a task that may be sent. `ceiling`: what it may have at all.
    """
    competing = _competing(work, seats)
    below = competing.c.waits & (competing.c.taken < competing.c.entitled)
    hungry = func.count().filter(below).over() - cast(below, Integer)
    bound = case((hungry > 0, competing.c.entitled), else_=competing.c.ceiling)
    room = func.greatest(0, bound - competing.c.taken, type_=Integer).label("room")
    found = select(
        competing.c.client_id, competing.c.waits, competing.c.taken, competing.c.ceiling, room
    ).cte("found_rooms")
    shown = select(found).where(found.c.waits) if only_waiting else select(found)
    return shown.cte("rooms")


def _competing(work: CTE, seats: CTE) -> CTE:
    """List those that run or wait, with what each is entitled to while others want seats too."""
    waits = work.c.client_id.is_not(None)
    share = cast(RUNNING, Float) * Client.weight / func.sum(Client.weight).over()
    # Who is not above its share may take one more: rounded down, shares would leave seats over.
    entitled = func.least(CEILING, cast(func.floor(share + _NEARLY), Integer) + 1, type_=Integer)
    return (
        select(
            Client.id.label("client_id"),
            waits.label("waits"),
            func.coalesce(seats.c.seats, 0, type_=Integer).label("taken"),
            CEILING.label("ceiling"),
            entitled.label("entitled"),
        )
        .outerjoin(seats, seats.c.client_id == Client.id)
        .outerjoin(work, work.c.client_id == Client.id)
        .where(or_(waits, seats.c.client_id.is_not(None)))
        .cte("competing")
    )


def _seats() -> Select[Any]:
    rooms_now = rooms(waiting(), seated(), only_waiting=False)
    return (
        select(
            Client.name.label("client"),
            rooms_now.c.taken.label("running"),
            rooms_now.c.ceiling.label("running_limit"),
            rooms_now.c.waits.label("waits"),
            rooms_now.c.room.label("may_take"),
        )
        .join(Client, Client.id == rooms_now.c.client_id)
        .order_by(rooms_now.c.taken.desc(), Client.name)
    )


_SEATS = _seats()


async def seats(connection: AsyncConnection, limits: Limits) -> Sequence[RowMapping]:
    """Return who has the seats, who waits for one, and how many each may take now."""
    rows: Sequence[RowMapping] = (
        (await connection.execute(_SEATS, given_limits(limits))).mappings().all()
    )
    return rows
