"""What waits in all queues together: how many tasks, since when, and whether anybody sends them.

Queues may be long, and this is asked every few seconds. So nothing here reads over one: the numbers
are the sweep's (`sizes`) with what came since, and of each queue only its first task is looked at.
"""

from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Integer,
    ScalarSelect,
    case,
    cast,
    func,
    literal_column,
    select,
)

from app.store.account.limits import (
    ADMITTED_AT,
    ALLOWED,
    ELIGIBLE,
    HELD_UNTIL,
    MAY_SEND,
    QUEUED,
    SEAT_SINCE,
    SLOT_SINCE,
)
from app.store.account.pairs import held_pair_of, queues
from app.store.account.shares import rooms, seated, waiting
from app.store.account.sizes import COUNTED, UNCOUNTED
from app.store.sql import NOW, seconds_since
from app.store.tables import ClientQueue, KieAccount, KieBreaker, QueueSize, Task


def count_queued() -> ScalarSelect[int]:
    """Build the number of queued tasks.

    Of a queue that the sweep counts it is as of that count, and what came since: what has left it
    since then, about a second ago, is in it. A client's that it has not counted yet are read.
    """
    size = (
        select(func.sum(QueueSize.tasks).label("tasks"), func.min(QueueSize.counted_at).label("at"))
        .where(QueueSize.client_id == ClientQueue.client_id)
        .correlate(ClientQueue)
        .lateral("size")
    )
    # `sizes` counts by the instants of the tasks' rows too.
    since = func.coalesce(size.c.at, literal_column("'-infinity'"), type_=NOW.type)
    newest = (
        select(Task.id)
        .where(Task.client_id == ClientQueue.client_id, QUEUED, Task.created_at > since)
        .order_by(Task.created_at)
        .limit(case((size.c.at.is_(None), UNCOUNTED), else_=COUNTED))
        .correlate(ClientQueue, size)
        .subquery("newest")
    )
    came = select(func.count()).select_from(newest).correlate(ClientQueue, size).scalar_subquery()
    each = func.coalesce(size.c.tasks, 0) + came
    return (
        select(cast(func.coalesce(func.sum(each), 0), Integer))
        .select_from(ClientQueue)
        .join(size, literal_column("true"))
        .scalar_subquery()
    )


def oldest_queued() -> ScalarSelect[datetime]:
    """Build the instant at which the oldest queued task was created; NULL: there is none."""
    first = (
        select(Task.created_at)
        .where(Task.client_id == ClientQueue.client_id, QUEUED)
        .order_by(Task.created_at)
        .limit(1)
        .correlate(ClientQueue)
        .scalar_subquery()
    )
    return select(func.min(first)).select_from(ClientQueue).scalar_subquery()


_QUEUES = queues().cte("queues_now")
_ROOMS = rooms(waiting(), seated())
_ROOM_SINCE = case((_ROOMS.c.room < ALLOWED, ADMITTED_AT))
"""As `SEAT_SINCE`, of the client's own."""


def _first_due(*conditions: ColumnElement[bool]) -> ScalarSelect[datetime | None]:
    first = (
        select(Task.due_at)
        .where(Task.client_id == _QUEUES.c.client_id, *conditions, *ELIGIBLE)
        .order_by(Task.priority.desc(), Task.id)
        .limit(1)
    )
    return first.correlate(_QUEUES).scalar_subquery()


_DUE = case(
    (_QUEUES.c.model.is_(None), _first_due()),
    else_=_first_due(Task.model == _QUEUES.c.model),
)
_ELIGIBLE_SINCE = func.min(
    case((_DUE.is_not(None), func.greatest(_DUE, KieBreaker.held_until, _ROOM_SINCE)))
)
"""Since when the first of a queue could have been sent: of a held pair, since its probe is due."""


def unsent() -> ColumnElement[float]:
    """Build the seconds for which both the first task of a queue and a place for it have waited."""
    since = func.greatest(_ELIGIBLE_SINCE, SLOT_SINCE, SEAT_SINCE, HELD_UNTIL, type_=NOW.type)
    waited = (
        select(case((_ELIGIBLE_SINCE.is_not(None), seconds_since(since))))
        .select_from(_QUEUES)
        .join(_ROOMS, _ROOMS.c.client_id == _QUEUES.c.client_id)
        .outerjoin(KieBreaker, held_pair_of(_QUEUES.c.client_id, _QUEUES.c.model))
        .where(_ROOMS.c.room > 0, _QUEUES.c.opens_in <= 0)
        .correlate(KieAccount)
        .scalar_subquery()
    )
    return case((MAY_SEND, waited))
