"""A client's feed: events by positions that are given out after their commits.

Ids are given out before commits, so a reader that remembers the highest one can pass over a slower
transaction. One process at a time numbers what is committed. It goes up the ids of `task_events`
and remembers the gaps: ids that are not there (yet). The table itself is never changed.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Integer,
    RowMapping,
    Uuid,
    bindparam,
    func,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.paging import FeedPlace
from app.store.connections.prepared import Prepared
from app.store.tables import FeedEntry, FeedWriter, TaskEvent
from app.store.tasks.events import COLUMNS

_TURN = text(
    """
WITH turn AS MATERIALIZED (
    SELECT * FROM feed_writer
    WHERE holder = :holder OR holder IS NULL OR leased_until <= clock_timestamp()
    FOR UPDATE SKIP LOCKED
), found AS MATERIALIZED (
    SELECT late.id, late.client_id
    FROM turn CROSS JOIN LATERAL unnest(turn.gaps) gap
    CROSS JOIN LATERAL (
        SELECT id, client_id FROM task_events
        WHERE id >= lower(gap) AND id < upper(gap) ORDER BY id LIMIT :limit
    ) late
    UNION ALL
    SELECT fresh.id, fresh.client_id
    FROM turn CROSS JOIN LATERAL (
        SELECT id, client_id FROM task_events WHERE id > turn.seen ORDER BY id LIMIT :limit
    ) fresh
    ORDER BY id LIMIT :limit
), numbered AS (
    INSERT INTO feed (client_id, position, event_id, token)
    SELECT client_id, turn.position + row_number() OVER (ORDER BY found.id), found.id,
           (random() * 2147483647)::int
    FROM found CROSS JOIN turn
), counted AS (
    SELECT count(*) AS amount, coalesce(max(id), 0) AS last,
           coalesce(range_agg(int8range(id, id + 1)), '{}') AS ids
    FROM found
), missing AS (
    SELECT counted.*, greatest(turn.seen, counted.last) AS highest,
           turn.gaps + int8multirange(int8range(turn.seen + 1, greatest(turn.seen, last) + 1)) - ids
           AS gaps,
           amount < :limit AND NOT turn.suspects_before BETWEEN
               pg_snapshot_xmin(pg_current_snapshot())::text::bigint
               AND pg_current_xact_id()::text::bigint
           AS is_proved
    FROM counted CROSS JOIN turn
)
UPDATE feed_writer SET
    holder = :holder,
    leased_until = clock_timestamp() + make_interval(secs => :lease),
    position = turn.position + amount,
    seen = highest,
    gaps = CASE WHEN is_proved THEN missing.gaps - turn.suspects ELSE missing.gaps END,
    suspects = CASE WHEN is_proved THEN missing.gaps - turn.suspects ELSE turn.suspects END,
    suspects_before = CASE WHEN is_proved THEN pg_current_xact_id()::text::bigint
                           ELSE turn.suspects_before END
FROM turn CROSS JOIN missing
WHERE feed_writer.id = turn.id
RETURNING amount
"""
).bindparams(bindparam("holder", type_=Uuid), bindparam("limit", type_=Integer), bindparam("lease"))
"""One statement, so that no process can stand still holding the row; SKIP LOCKED, so that none
waits with an old snapshot. Order: who sees an event sees the earlier ones of its task, since
they were committed before the task's lock was given on; and they have lower ids.

A gap is forgotten only when its transaction is proved over: it had an id before it got the event's
(`logged` writes the task first), hence a lower one than the turn that noted the gap. Where
`suspects_before` is higher than our own id the database was restored elsewhere: they are all over.
"""
_NUMBER = Prepared(lambda: _TURN.columns(amount=BigInteger))


async def number(
    connection: AsyncConnection, holder: UUID, *, lease: float, limit: int
) -> int | None:
    """Give up to `limit` events their positions, in order; None: another process does that.

    Takes the lease (seconds) or renews it. Has to be the only statement of its transaction.
    """
    values = {"holder": holder, "lease": lease, "limit": limit}
    found: int | None = await _NUMBER.scalar(connection, values)
    return found


_RELEASE = (
    update(FeedWriter)
    .where(FeedWriter.holder == bindparam("given_holder", type_=Uuid))
    .values(holder=None, leased_until=None)
)


async def release(connection: AsyncConnection, holder: UUID) -> None:
    """Let another process number from now on."""
    await connection.execute(_RELEASE, {"given_holder": holder})


_READ = (
    select(FeedEntry.position, FeedEntry.token, *COLUMNS)
    .join(TaskEvent, TaskEvent.id == FeedEntry.event_id)
    .where(
        FeedEntry.client_id == bindparam("client_id"),
        FeedEntry.position > bindparam("position", type_=BigInteger),
    )
    .order_by(FeedEntry.position)
    .limit(bindparam("limit"))
)


async def read(
    connection: AsyncConnection, client_id: UUID, *, after: FeedPlace, limit: int
) -> Sequence[RowMapping]:
    """Return the client's next events, in the order of the feed."""
    values = {"client_id": client_id, "position": after.position, "limit": limit}
    return (await connection.execute(_READ, values)).mappings().all()


_NEWEST = text(
    """
SELECT asked.id, newest.position FROM unnest(:ids) AS asked (id) CROSS JOIN LATERAL (
    SELECT position FROM feed WHERE client_id = asked.id ORDER BY position DESC LIMIT 1
) newest
"""
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))


async def newest(connection: AsyncConnection, clients: Sequence[UUID]) -> dict[UUID, int]:
    """Return the last position of each client's feed; who has no events is not in it."""
    found = await connection.execute(_NEWEST, {"ids": list(clients)})
    return {row.id: row.position for row in found}


_KNOWN = select(
    select(FeedEntry.token)
    .where(
        FeedEntry.client_id == bindparam("client_id"),
        FeedEntry.position == bindparam("position", type_=BigInteger),
    )
    .scalar_subquery()
    .label("token"),
    (bindparam("position", type_=BigInteger) < func.coalesce(FeedWriter.kept_from, 0)).label(
        "is_old"
    ),
).select_from(FeedWriter)


async def knows(connection: AsyncConnection, client_id: UUID, place: FeedPlace) -> bool:
    """Tell whether this feed gave the place out; of what was deleted by age nobody can tell."""
    values = {"client_id": client_id, "position": place.position}
    row = (await connection.execute(_KNOWN, values)).one()
    return bool(row.token == place.token if row.token is not None else row.is_old)
