"""Which due deliveries are attempted next: in turns between clients, hosts and URLs.

One statement, by bounded probes of indexes. What is under way is counted by its leases, so that
all processes see the same. Each step lines up what the one before it left, and passes on those
whose turn comes within a bound.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Float,
    FromClause,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
)

from app.domain.delivery import AGAIN_COUNTS, SLOW_AFTER, SLOW_PLACES, TROUBLED_AFTER
from app.store.deliveries.lanes import AGAIN, FIRST, LANE, PENDING, Kind, pending_lanes
from app.store.sql import NOW, ONCE, lease_is_free
from app.store.tables import Client, Delivery, DeliveryUrl

FREE = lease_is_free(Delivery)

_PER_HOST = bindparam("per_host", type_=Integer)
_OF_ONE = bindparam("of_one", type_=Integer)
_ROOM = bindparam("room", type_=Integer)

_WAITING = ("id", "client_id", "lane", "host", "again", "due_at", "places")


def _under_way() -> CTE:
    return (
        select(
            Delivery.client_id,
            Delivery.host,
            LANE.label("lane"),
            case((AGAIN.which, 1), else_=0).label("again"),
        )
        .where(PENDING, Delivery.leased_until > NOW)
        .cte("under_way")
    )


def _waiting_of(kind: Kind) -> Select[Any]:
    """Select the oldest due ones of each lane that is not held, and how many places it has."""
    lanes = pending_lanes(kind)
    of_lane = (Delivery.client_id == lanes.c.client_id, lanes.c.lane == LANE)
    due = (
        select(Delivery.id, Delivery.host, Delivery.due_at)
        .where(PENDING, kind.which, *of_lane, Delivery.due_at <= ONCE, FREE)
        .order_by(Delivery.due_at)
        .limit(_PER_HOST)
        .lateral("due")
    )
    known = and_(
        DeliveryUrl.client_id == lanes.c.client_id,
        DeliveryUrl.lane == lanes.c.lane,
    )
    failures = func.coalesce(DeliveryUrl.failures, 0)
    places = case(
        (failures >= TROUBLED_AFTER, 1),
        (DeliveryUrl.seconds > SLOW_AFTER, SLOW_PLACES),
        else_=_OF_ONE,
    )
    columns = {
        "id": due.c.id,
        "client_id": lanes.c.client_id,
        "lane": lanes.c.lane,
        "host": due.c.host,
        "again": literal(kind.again),
        "due_at": due.c.due_at,
        "places": places,
    }
    return (
        select(*(columns[name].label(name) for name in _WAITING))
        .select_from(lanes.outerjoin(DeliveryUrl, known).join(due, true()))
        .where(or_(failures < TROUBLED_AFTER, DeliveryUrl.held_until <= NOW))
    )


def _lined_up(name: str, waiting: FromClause, under_way: CTE, *by: str) -> CTE:
    """Count them off within each group: `turn`, and among those of AGAIN `again_turn`.

    Both count what is under way already. One of AGAIN comes after `AGAIN_COUNTS` others.
    """
    ours = case((under_way.c.again == 1, 1))
    counts = (
        select(
            *(under_way.c[column] for column in by),
            func.count().label("all"),
            func.count(ours).label("again"),
        )
        .group_by(*(under_way.c[column] for column in by))
        .subquery(f"{name}_under_way")
    )
    columns = [waiting.c[column] for column in _WAITING]
    group = [waiting.c[column] for column in by]
    age = (waiting.c.due_at, waiting.c.id)
    before = func.coalesce(counts.c.all, 0)
    again_before = func.coalesce(counts.c.again, 0)
    number = func.row_number().over(partition_by=[*group, waiting.c.again], order_by=age)
    is_again = waiting.c.again == 1
    place = case(
        (is_again, AGAIN_COUNTS * (again_before + number)), else_=before - again_before + number
    )
    same = and_(*(counts.c[column] == waiting.c[column] for column in by))
    lined = (
        select(
            *columns,
            before.label("before"),
            place.label("place"),
            case((is_again, again_before + number), else_=0).label("again_turn"),
        )
        .select_from(waiting.outerjoin(counts, same))
        .cte(f"{name}_line")
    )
    turn = lined.c.before + func.row_number().over(
        partition_by=[lined.c[column] for column in by],
        order_by=(lined.c.place, lined.c.due_at, lined.c.id),
    )
    return select(
        *(lined.c[column] for column in _WAITING), lined.c.again_turn, turn.label("turn")
    ).cte(name)


def _within(line: CTE, places: ColumnElement[Any]) -> list[ColumnElement[bool]]:
    """Leave some of several places to first attempts."""
    most_again = func.greatest(1, places - func.greatest(1, places / 4, type_=Integer))
    return [line.c.turn <= places, line.c.again_turn <= most_again]


def _of_hosts(waiting: CTE, under_way: CTE) -> CTE:
    """Bound them by host, the clients of a host in turn."""
    counts = select(under_way.c.host, func.count().label("all")).group_by(under_way.c.host)
    of_host = counts.subquery("hosts_under_way")
    turn = func.coalesce(of_host.c.all, 0) + func.row_number().over(
        partition_by=waiting.c.host,
        order_by=(waiting.c.turn, waiting.c.due_at, waiting.c.id),
    )
    lined = (
        select(*(waiting.c[name] for name in _WAITING), turn.label("turn"))
        .select_from(waiting.outerjoin(of_host, of_host.c.host == waiting.c.host))
        .cte("host_line")
    )
    return (
        select(*(lined.c[name] for name in _WAITING))
        .where(lined.c.turn <= _PER_HOST)
        .cte("by_host")
    )


def _passed(line: CTE, *conditions: ColumnElement[bool], more: Sequence[str] = ()) -> CTE:
    return (
        select(*(line.c[name] for name in (*_WAITING, *more)))
        .where(*conditions)
        .cte(f"{line.name}_passed")
    )


def _of_clients(waiting: CTE, under_way: CTE) -> CTE:
    """Choose within the room, in turns between clients, by weight.

    A client gets no more than it leaves free: so there is room for who comes next, at any time.
    """
    line = _lined_up("by_client", waiting, under_way, "client_id")
    order = (cast(line.c.turn, Float) / Client.weight, line.c.due_at, line.c.id)
    ranked = (
        select(
            line.c.id,
            line.c.turn,
            line.c.again_turn,
            func.row_number().over(order_by=order).label("rank"),
        )
        .select_from(line.join(Client, Client.id == line.c.client_id))
        .cte("ranked")
    )
    left = _ROOM - ranked.c.rank + 1
    return (
        select(ranked.c.id)
        .where(
            ranked.c.rank <= _ROOM,
            or_(ranked.c.turn <= left, ranked.c.turn == 1),
            or_(2 * ranked.c.again_turn <= left, ranked.c.turn == 1),
        )
        .cte("chosen")
    )


def choose() -> tuple[CTE, CTE]:
    """Build what waits for a place, by its ids, and which of it is given one.

    Parameters: `start` of `pending_lanes`; `room`, places of this process that are free;
    `per_host` under way to a host at most, and `of_one` of these for one client.
    """
    waiting = union_all(_waiting_of(FIRST), _waiting_of(AGAIN)).cte("waiting")
    under_way = _under_way()
    lanes = _lined_up("by_lane", waiting, under_way, "client_id", "lane")
    pairs = _lined_up(
        "by_pair",
        _passed(lanes, *_within(lanes, lanes.c.places)),
        under_way,
        *("client_id", "host"),
    )
    passed = _passed(pairs, *_within(pairs, _OF_ONE), more=["turn"])
    return waiting, _of_clients(_of_hosts(passed, under_way), under_way)
