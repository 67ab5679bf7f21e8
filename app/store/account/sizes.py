"""How long the clients' queues are: counted now and then where they are long, else as asked.

A count in each move would make all creates of a client wait for one row, so there is none. The
sweep counts the queues of more than `SHORT` tasks into `queue_sizes`, with a mark at every
`STRIDE`-th task; what came since is counted by index. A queue without such a row is short, and
counted when somebody asks. So nobody reads over a whole queue, and no figure can drift.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Float,
    FromClause,
    Integer,
    Select,
    SQLColumnExpression,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.domain.admission import Limits, QueueBounds
from app.store.account.limits import CLIENT_OPEN, QUEUED, given_limits, may_send
from app.store.account.pairs import held_pair_of
from app.store.connections.prepared import Prepared
from app.store.sql import NOW, interval, seconds, unseen
from app.store.tables import Client, ClientQueue, KieAccount, KieBreaker, QueueSize, Task

SHORT = 500
"""Tasks of a client that are counted whenever somebody asks."""
STRIDE = 50
"""Tasks between two marks: so many are counted at most to find a task's place."""
COUNTED = 2000
"""Tasks that a look counts at most: more than come between two turns of the sweep."""
UNCOUNTED = 20_000
"""Tasks that a create counts at most before the sweep has: more than the usual bound."""
EVERY = 1.0
"""Seconds between two counts of a queue at least."""
SHARE = 20.0
"""So many times the seconds that a count took pass before the next: a twentieth of the time."""


# -- counting what is long

_CLIENT = unseen(bindparam("client_id", type_=Uuid))
_OPEN = KieBreaker.client_id.is_(None)
_STATEMENT_BEGAN = func.statement_timestamp(type_=NOW.type)


def _is_long(client_id: SQLColumnExpression[UUID]) -> ColumnElement[bool]:
    nth = select(Task.id).where(Task.client_id == client_id, QUEUED)
    nth = nth.order_by(Task.priority.desc(), Task.id).offset(SHORT).limit(1)
    return nth.scalar_subquery().is_not(None)


_SIZE = aliased(QueueSize)
_PAUSE = interval(func.greatest(EVERY, SHARE * _SIZE.took, type_=Float))
_FRESH = (_SIZE.client_id == ClientQueue.client_id, _SIZE.counted_at + _PAUSE > NOW)
UNCOUNTED_CLIENTS = (
    select(ClientQueue.client_id)
    .where(
        ~exists(_SIZE.client_id).where(*_FRESH),
        or_(
            exists(QueueSize.client_id).where(QueueSize.client_id == ClientQueue.client_id),
            _is_long(ClientQueue.client_id),
        ),
    )
    .order_by(ClientQueue.client_id)
)
"""The clients whose long queues were not counted lately, or are short again."""


def _count() -> Any:  # noqa: ANN401  # an INSERT … SELECT
    """Count in the queue's own order, which an index has."""
    is_open = ~exists(KieBreaker.client_id).where(held_pair_of(Task.client_id, Task.model))
    read = (
        select(Task.id, Task.priority, Task.input_bytes.label("bytes"), is_open.label("is_open"))
        .where(Task.client_id == _CLIENT, QUEUED)
        .order_by(Task.priority.desc(), Task.id)
        .subquery("read")
    )
    order = (read.c.priority.desc(), read.c.id)
    so_far = func.count().filter(read.c.is_open).over(order_by=order, rows=(None, 0))
    numbered = select(read, so_far.label("number")).cte("numbered")
    is_open, number = numbered.c.is_open, numbered.c.number
    marked = and_(is_open, number % STRIDE == 0)
    sizes = (
        select(
            _CLIENT,
            numbered.c.priority,
            func.count(),
            cast(func.coalesce(func.sum(numbered.c.bytes), 0), BigInteger),
            func.min(number - cast(is_open, Integer)),
            func.count().filter(is_open),
            _all_of(numbered.c.id, numbered.c.id).filter(marked),
            _all_of(number - 1, numbered.c.id).filter(marked),
            _STATEMENT_BEGAN,
            seconds(NOW - _STATEMENT_BEGAN),
        )
        .where(_is_long(_CLIENT))
        .group_by(numbered.c.priority)
    )
    names = ["tasks", "bytes", "ahead", "open_tasks", "marks", "places", "counted_at", "took"]
    counted = insert(QueueSize).from_select(["client_id", "priority", *names], sizes)
    return counted.on_conflict_do_update(
        index_elements=["client_id", "priority"],
        set_={name: counted.excluded[name] for name in names},
    )


def _all_of(value: ColumnElement[Any], order: ColumnElement[Any]) -> Any:  # noqa: ANN401
    return func.array_agg(aggregate_order_by(value, order))


_COUNT = _count()
_FORGET = delete(QueueSize).where(QueueSize.client_id == _CLIENT)


async def count(connection: AsyncConnection, client_id: UUID) -> None:
    """Count the client's queue anew; one that is short is counted as asked from now on."""
    await connection.execute(_FORGET, {"client_id": client_id})
    await connection.execute(_COUNT, {"client_id": client_id})


# -- looking at them


def kept_open(client_id: Any, *conditions: ColumnElement[bool]) -> ColumnElement[int]:  # noqa: ANN401
    """Return how many of the client's tasks were counted; NULL: its queue is short."""
    found = select(func.sum(QueueSize.open_tasks))
    return found.where(QueueSize.client_id == client_id, *conditions).scalar_subquery()


def open_now(
    client_id: Any,  # noqa: ANN401  # a column or a parameter
    *conditions: ColumnElement[bool],
    of: FromClause,
    limit: Any = COUNTED,  # noqa: ANN401  # a number or an expression
) -> ColumnElement[int]:
    """Count the client's queued tasks but for those of held pairs: at most `limit` are read.

    `of`: the rows for each of which they are counted.
    """
    read = (
        select(Task.model)
        .where(Task.client_id == client_id, QUEUED, *conditions)
        .order_by(Task.priority.desc(), Task.id)
        .limit(limit)
        .correlate(of)
        .subquery("read")
    )
    held = exists(KieBreaker.client_id).where(held_pair_of(client_id, read.c.model))
    counted = select(func.count()).select_from(read).where(~held.correlate(read, of))
    return counted.correlate(of).scalar_subquery()


def asked(ids: ColumnElement[Any]) -> CTE:
    """Find those of the client's queued tasks that are asked about, each with its `place`."""
    number = func.width_bucket(Task.id, QueueSize.marks, type_=Integer)
    found = (
        select(
            Task.id,
            Task.due_at,
            Task.priority,
            KieBreaker.hold_reason.label("pair_held"),
            func.coalesce(QueueSize.places[number], QueueSize.ahead).label("before"),
            func.coalesce(QueueSize.marks[number], _NIL, type_=Uuid()).label("mark"),
        )
        .outerjoin(KieBreaker, held_pair_of(Task.client_id, Task.model))
        .outerjoin(
            QueueSize,
            and_(QueueSize.client_id == Task.client_id, QueueSize.priority == Task.priority),
        )
        .where(Task.id.in_(select(func.unnest(unseen(ids)))), Task.client_id == _CLIENT, QUEUED)
        .cte("found")
    )
    higher = func.coalesce(
        found.c.before,
        kept_open(_CLIENT, QueueSize.priority > found.c.priority),
        case((~_IS_KEPT, open_now(_CLIENT, Task.priority > found.c.priority, of=found)), else_=0),
    )
    beside = (Task.priority == found.c.priority, Task.id >= found.c.mark, Task.id < found.c.id)
    place = higher + open_now(_CLIENT, *beside, of=found)
    placed = select(found.c.id, found.c.due_at, found.c.pair_held, place.label("place"))
    return placed.cte("asked").prefix_with("MATERIALIZED")  # each use would count anew


_NIL = literal(UUID(int=0), Uuid)
_IS_KEPT = exists(QueueSize.client_id).where(QueueSize.client_id == _CLIENT)


# -- how much a client may have queued


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """What a client has queued, a task that was just stored included, and what it may have."""

    tasks: int
    bytes: int
    tasks_allowed: int
    bytes_allowed: int
    may_send: bool
    """The account has slots and seats for all of these, and nothing holds it or the client."""

    @property
    def is_over(self) -> bool:
        return self.tasks > self.tasks_allowed or self.bytes > self.bytes_allowed


_TASKS_ALLOWED = func.coalesce(Client.queued_tasks, bindparam("queued_tasks", type_=Integer))
_BYTES_ALLOWED = func.coalesce(Client.queued_bytes, bindparam("queued_bytes", type_=BigInteger))


_UNTROUBLED = ~exists(KieBreaker.client_id).where(KieBreaker.client_id == ClientQueue.client_id)


def _queued() -> Select[int, int, int, int, bool]:
    size = (
        select(
            func.coalesce(func.sum(QueueSize.tasks), 0).label("tasks"),
            func.coalesce(func.sum(QueueSize.bytes), 0).label("bytes"),
            func.coalesce(func.min(QueueSize.counted_at), literal_column("'-infinity'")).label(
                "counted_at"
            ),
        )
        .where(QueueSize.client_id == _CLIENT)
        .cte("size")
    )
    allowed = select(_TASKS_ALLOWED).where(Client.id == _CLIENT).scalar_subquery()
    newest = (
        select(Task.input_bytes)
        .where(
            Task.client_id == _CLIENT,
            QUEUED,
            Task.created_at > select(size.c.counted_at).scalar_subquery(),
        )
        .order_by(Task.created_at)  # else PostgreSQL might read the table
        .limit(func.least(allowed + 1, UNCOUNTED))
        .subquery("newest")
    )
    since = select(
        func.count().label("tasks"), func.coalesce(func.sum(newest.c.input_bytes), 0).label("bytes")
    ).select_from(newest)
    since_then = since.cte("since_then")
    tasks = cast(size.c.tasks + since_then.c.tasks, BigInteger)
    return (
        select(
            tasks.label("tasks"),
            cast(size.c.bytes + since_then.c.bytes, BigInteger).label("bytes"),
            _TASKS_ALLOWED.label("tasks_allowed"),
            _BYTES_ALLOWED.label("bytes_allowed"),
            and_(may_send(tasks), CLIENT_OPEN, _UNTROUBLED).label("may_send"),
        )
        .select_from(Client)
        .join(ClientQueue, ClientQueue.client_id == Client.id)
        .join(KieAccount, true())
        .join(size, true())
        .join(since_then, true())
        .where(Client.id == _CLIENT)
    )


_QUEUED = Prepared(_queued)


async def queued(
    connection: AsyncConnection, client_id: UUID, limits: Limits, bounds: QueueBounds
) -> Queued:
    """Return what the client has queued; what other transactions have not committed is not seen."""
    parameters = {
        **given_limits(limits),
        "client_id": client_id,
        "queued_tasks": bounds.tasks,
        "queued_bytes": bounds.bytes,
    }
    (row,) = await _QUEUED.mappings(connection, parameters)
    return Queued(**row)
