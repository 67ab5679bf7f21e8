"""Whose turn it is: which of the queued tasks go next.

Between clients start-time fair queueing (Goyal, Vin, Cheng 1996): a client's next task has the tag
max(pass, vtime), each further one 1/weight more, and the lowest tag goes first. Within a client,
priority orders. What a pair holds back is passed over, and costs its client no turn.
"""

from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
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
from app.store.tables import Client, ClientQueue, KieAccount, KieBreaker, Task


def account_with(n: ColumnElement[int], *conditions: ColumnElement[bool]) -> CTE:
    """Read the account with `n`, how many tasks may go now, and whom a probe of it goes to."""
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


def next_tasks(account: CTE, *, lock: bool) -> CTE:
    """Find the tasks whose turn it is, by their `place`; locked unless it is only a look."""
    n = select(account.c.n).scalar_subquery()
    ready = _queues(account)
    heads = _heads(account, ready, n)
    return _numbered(_candidates(heads, ready, n, lock=lock), n)


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


def _heads(account: CTE, ready: CTE, n: ColumnElement[int]) -> CTE:
    """Find the clients with work, those whose turn it is first."""
    start = start_tag(account.c.vtime).label("start")
    rank = func.min(ready.c.rank).label("rank")
    work = select(ready.c.client_id, rank).group_by(ready.c.client_id).subquery("work")
    return (
        select(work.c.client_id, work.c.rank, Client.weight, start)
        .join(ClientQueue, ClientQueue.client_id == work.c.client_id)
        .join(Client, Client.id == work.c.client_id)
        .join(account, true())
        .where(CLIENT_OPEN)
        .order_by(work.c.rank, start, work.c.client_id)
        .limit(n)
        .cte("heads")
    )


def _first(
    heads: CTE, ready: CTE, n: ColumnElement[int], *, of_model: bool, lock: bool
) -> Select[Any]:
    """Find the first tasks of each queue, of all the client's models or of one: two indexes."""
    model = (Task.model == ready.c.model,) if of_model else ()
    first = (
        select(Task.id, Task.priority)
        .where(Task.client_id == ready.c.client_id, *model, *ELIGIBLE)
        .order_by(Task.priority.desc(), Task.id)
        .limit(func.least(ready.c.room, n))
    )
    if lock:
        first = first.with_for_update(skip_locked=True)
    tasks = first.lateral("first")
    mine = and_(ready.c.client_id == heads.c.client_id, ready.c.rank == heads.c.rank)
    kind_of_queue = ready.c.model.is_not(None) if of_model else ready.c.model.is_(None)
    return (
        select(tasks.c.id, tasks.c.priority, heads.c.client_id, heads.c.weight, heads.c.start)
        .select_from(heads.join(ready, mine).join(tasks, true()))
        .where(kind_of_queue)
    )


def _candidates(heads: CTE, ready: CTE, n: ColumnElement[int], *, lock: bool) -> CTE:
    """Take the first of each client's tasks and tag them."""
    of = union_all(
        *(_first(heads, ready, n, of_model=each, lock=lock) for each in (False, True))
    ).cte("first_tasks")
    place = func.row_number().over(
        partition_by=of.c.client_id, order_by=(of.c.priority.desc(), of.c.id)
    )
    tagged = tag(of.c.start, place - 1, of.c.weight).label("tag")
    return select(of.c.id, of.c.client_id, of.c.weight, tagged).cte("candidates")


def _numbered(candidates: CTE, n: ColumnElement[int]) -> CTE:
    order = (candidates.c.tag, candidates.c.client_id)
    place = func.row_number().over(order_by=order).label("place")
    return select(candidates, place).order_by(*order).limit(n).cte("picked")
