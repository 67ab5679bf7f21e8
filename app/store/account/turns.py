"""Whose turn it is: which of the queued tasks go next.

Between clients start-time fair queueing (Goyal, Vin, Cheng 1996): a client's next task has the tag
max(pass, vtime), each further one 1/weight more, and the lowest tag goes first. Within a client,
priority orders. What a pair holds back is passed over, and costs its client no turn. No client gets
more seats than `shares` leaves it.
"""

from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    CompoundSelect,
    FromClause,
    Integer,
    Select,
    and_,
    case,
    exists,
    func,
    literal_column,
    select,
    true,
    union_all,
)

from app.store.account.limits import CLIENT_OPEN, ELIGIBLE, IS_HELD, start_tag, tag
from app.store.account.pairs import has_task, held_pair_of, queues
from app.store.account.shares import rooms, waiting
from app.store.tables import Client, ClientQueue, KieAccount, KieBreaker, Task

IS_PLAIN: ColumnElement[bool] = ~IS_HELD & ~exists(KieBreaker.client_id)
"""Nothing is known against any pair and the account is not held: nearly always so. Whose turn it is
is a much shorter question then, and planning it is most of what it costs."""


def plain_account(n: ColumnElement[int], *conditions: ColumnElement[bool]) -> CTE:
    """Read the account with `n`, how many tasks may go now, where nothing is held."""
    return select(KieAccount.vtime, n.label("n")).where(*conditions).cte("account")


def account_with(n: ColumnElement[int], *conditions: ColumnElement[bool]) -> CTE:
    """Read the same, and whom a probe of the account goes to."""
    return (
        select(
            KieAccount.vtime,
            KieAccount.succeeded_client_id,
            KieAccount.succeeded_model,
            IS_HELD.label("is_held"),
            n.label("n"),
        )
        .where(*conditions)
        .cte("account")
    )


def next_tasks(account: CTE, seats: CTE, *, plain: bool, lock: bool = True) -> CTE:
    """Find the tasks whose turn it is, by their `place`; `plain` only where `IS_PLAIN`.

    `seats`: as `shares.seated` counts them.
    """
    n = select(account.c.n).scalar_subquery()
    first = _first_of_clients if plain else _first_of_queues
    return _numbered(_tagged(first(account, seats, n, lock=lock).cte("first_tasks")), n)


def _first(
    of: CTE, limit: ColumnElement[int], *conditions: ColumnElement[bool], lock: bool
) -> FromClause:
    first = (
        select(Task.id, Task.priority)
        .where(Task.client_id == of.c.client_id, *conditions, *ELIGIBLE)
        .order_by(Task.priority.desc(), Task.id)
        .limit(limit)
    )
    if lock:
        first = first.with_for_update(skip_locked=True)
    return first.lateral("first")


# -- where nothing is held


def _first_of_clients(
    account: CTE, seats: CTE, n: ColumnElement[int], *, lock: bool
) -> Select[Any]:
    """Find the first of the tasks of each client whose turn it is."""
    start = start_tag(account.c.vtime).label("start")
    room = rooms(waiting(), seats)
    heads = (
        select(ClientQueue.client_id, Client.weight, start, room.c.room)
        .join(Client, Client.id == ClientQueue.client_id)
        .join(room, room.c.client_id == ClientQueue.client_id)
        .join(account, true())
        .where(n > 0, room.c.room > 0)
        .order_by(start, ClientQueue.client_id)
        .limit(n)
        .cte("heads")
    )
    first = _first(heads, func.least(n, heads.c.room, type_=Integer), lock=lock)
    return _firsts_of(heads, first).select_from(heads.join(first, true()))


def _firsts_of(heads: CTE, first: FromClause) -> Select[Any]:
    return select(first, heads.c.client_id, heads.c.weight, heads.c.start, heads.c.room)


# -- where something is


def _first_of_queues(
    account: CTE, seats: CTE, n: ColumnElement[int], *, lock: bool
) -> CompoundSelect[Any]:
    """Find the first tasks of each queue of the clients whose turn it is: two indexes."""
    ready = _queues(account)
    heads = _heads(account, ready, seats, n)
    mine = and_(ready.c.client_id == heads.c.client_id, ready.c.rank == heads.c.rank)
    room = func.least(ready.c.room, n)
    kinds = (
        (ready.c.model.is_(None), _first(ready, room, lock=lock)),
        (ready.c.model.is_not(None), _first(ready, room, Task.model == ready.c.model, lock=lock)),
    )
    return union_all(
        *(
            _firsts_of(heads, first)
            .select_from(heads.join(ready, mine).join(first, true()))
            .where(kind)
            for kind, first in kinds
        )
    )


def _queues(account: CTE) -> CTE:
    """List the queues with tasks that may be sent now; `rank` orders them for a probe.

    A probe of the account goes to the pair that succeeded last: if that fails, the pair is not to
    blame. Without one to send, it goes rather to a pair that is not held itself.
    """
    found = queues().cte("queues")
    rank = case((~account.c.is_held, 0), (found.c.is_probe, 2), else_=1).label("rank")
    known = (
        select(found.c.client_id, found.c.model, found.c.room, rank)
        .select_from(found.join(account, true()))
        .where(found.c.opens_in <= 0)
    )
    every = union_all(known, _last_to_succeed(account)).cte("open_queues")
    return (
        select(every)
        .where(select(account.c.n).scalar_subquery() > 0, has_task(every, *ELIGIBLE))
        .cte("ready_queues")
    )


def _last_to_succeed(account: CTE) -> Select[Any]:
    """Find the pair that succeeded last, where a probe is due and nothing holds the pair."""
    held = held_pair_of(account.c.succeeded_client_id, account.c.succeeded_model)
    return select(
        account.c.succeeded_client_id.label("client_id"),
        account.c.succeeded_model.label("model"),
        literal_column("1", Integer).label("room"),
        literal_column("0", Integer).label("rank"),
    ).where(
        account.c.is_held,
        account.c.succeeded_model.is_not(None),
        ~exists(KieBreaker.client_id).where(held),
    )


def _heads(account: CTE, ready: CTE, seats: CTE, n: ColumnElement[int]) -> CTE:
    """Find the clients with work, those whose turn it is first."""
    start = start_tag(account.c.vtime).label("start")
    rank = func.min(ready.c.rank).label("rank")
    work = (
        select(ready.c.client_id, rank)
        .join(ClientQueue, ClientQueue.client_id == ready.c.client_id)
        .where(CLIENT_OPEN)
        .group_by(ready.c.client_id)
        .cte("work")
    )
    room = rooms(work, seats)
    return (
        select(work.c.client_id, work.c.rank, Client.weight, start, room.c.room)
        .join(ClientQueue, ClientQueue.client_id == work.c.client_id)
        .join(Client, Client.id == work.c.client_id)
        .join(room, room.c.client_id == work.c.client_id)
        .join(account, true())
        .where(room.c.room > 0)
        .order_by(work.c.rank, start, work.c.client_id)
        .limit(n)
        .cte("heads")
    )


# -- in which order


def _tagged(of: CTE) -> CTE:
    place = func.row_number().over(
        partition_by=of.c.client_id, order_by=(of.c.priority.desc(), of.c.id)
    )
    tagged = tag(of.c.start, place - 1, of.c.weight).label("tag")
    placed = select(
        of.c.id, of.c.client_id, of.c.weight, of.c.room, tagged, place.label("place")
    ).subquery("placed")
    names = ("id", "client_id", "weight", "tag")
    found = select(*(placed.c[name] for name in names)).where(placed.c.place <= placed.c.room)
    return found.cte("candidates")


def _numbered(candidates: CTE, n: ColumnElement[int]) -> CTE:
    order = (candidates.c.tag, candidates.c.client_id)
    place = func.row_number().over(order_by=order).label("place")
    return select(candidates, place).order_by(*order).limit(n).cte("picked")
