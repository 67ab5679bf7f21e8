"""What is learned of models: sums by hour, and the statistics that are made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Numeric,
    RowMapping,
    Text,
    Uuid,
    bindparam,
    delete,
    insert,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.models import DAY, EVERYBODY, MAX_MODELS, WEEK, Learnt, Seen, Stats
from app.domain.usage import OTHER
from app.store.tables import Model

_LEARN = text(
    """
WITH new AS (
    SELECT * FROM unnest(:clients, :models, :kinds, :amounts, :counts)
    AS new (client_id, model, kind, value, tasks)
),
known AS (
    SELECT DISTINCT client_id, model FROM model_hours
    WHERE client_id IN (SELECT client_id FROM new)
    AND hour = date_trunc('hour', clock_timestamp(), 'UTC')
),
ranked AS (
    SELECT client_id, model, known.model IS NOT NULL AS is_known,
        row_number() OVER (PARTITION BY client_id ORDER BY known.model IS NULL, model) AS place
    FROM (SELECT DISTINCT client_id, model FROM new) AS named
    FULL JOIN known USING (client_id, model)
)
INSERT INTO model_hours (client_id, model, hour, kind, value, tasks)
SELECT client_id, CASE WHEN place <= :most THEN model ELSE :other END,
    date_trunc('hour', clock_timestamp(), 'UTC'), kind, value, sum(tasks)
FROM new JOIN ranked USING (client_id, model)
GROUP BY 1, 2, 3, 4, 5
ON CONFLICT (client_id, model, hour, kind, value) DO UPDATE
SET tasks = model_hours.tasks + excluded.tasks, at = clock_timestamp()
"""
).bindparams(
    bindparam("clients", type_=ARRAY(Uuid)),
    bindparam("models", type_=ARRAY(Text)),
    bindparam("kinds", type_=ARRAY(Text)),
    bindparam("amounts", type_=ARRAY(Numeric)),
    bindparam("counts", type_=ARRAY(BigInteger)),
)


async def learn(connection: AsyncConnection, found: Mapping[Learnt, int]) -> None:
    """Add to this hour; of a client's models beyond `MAX_MODELS` only their sum is kept.

    One process at a time: the folder.
    """
    if not found:
        return
    columns = list(zip(*found, strict=True))
    names = ("clients", "models", "kinds", "amounts")
    given: dict[str, Any] = {name: list(one) for name, one in zip(names, columns, strict=True)}
    given |= {"counts": list(found.values()), "most": MAX_MODELS, "other": OTHER}
    await connection.execute(_LEARN, given)


_BECOME_LEARNER = text(
    """
UPDATE kie_account SET models_due_at = clock_timestamp() + make_interval(secs => :every)
WHERE models_due_at IS NULL OR models_due_at <= clock_timestamp()
OR models_due_at > clock_timestamp() + make_interval(secs => 2 * :every) RETURNING id
"""
)


async def claim_refresh(connection: AsyncConnection, *, every: float) -> bool:
    """Return whether this process is to make the statistics anew; nobody else is for a while."""
    return await connection.scalar(_BECOME_LEARNER, {"every": every}) is not None


_SEEN = text(
    """
SELECT client_id, model, kind, value,
    coalesce(sum(tasks) FILTER (WHERE hour > clock_timestamp() - make_interval(secs => :day)), 0)
    ::bigint AS day,
    sum(tasks)::bigint AS week, max(at) AS last_at
FROM model_hours WHERE hour > clock_timestamp() - make_interval(secs => :week)
GROUP BY 1, 2, 3, 4
"""
)
_FORGET = text(
    "DELETE FROM model_hours WHERE hour <= clock_timestamp() - make_interval(secs => :week)"
)


async def seen(connection: AsyncConnection) -> Sequence[Seen]:
    """Return what was learned in the last day and week, and remove what is older."""
    spans = {"day": DAY.total_seconds(), "week": WEEK.total_seconds()}
    await connection.execute(_FORGET, {"week": spans["week"]})
    found = await connection.execute(_SEEN, spans)
    return [Seen(**row) for row in found.mappings()]


_REPLACE = insert(Model)


async def keep(connection: AsyncConnection, stats: Sequence[Stats]) -> None:
    """Put these in the place of what was known of all models."""
    await connection.execute(delete(Model))
    if stats:
        await connection.execute(_REPLACE, [asdict(one) for one in stats])


_SHOWN = tuple(column for column in Model.__table__.c if column.name != "client_id")
_OF = (
    select(*_SHOWN)
    .where(Model.client_id == bindparam("whose", type_=Uuid))
    .order_by(Model.tasks_7d.desc(), Model.model)
)


async def of(connection: AsyncConnection, whose: UUID = EVERYBODY) -> Sequence[RowMapping]:
    """Return what is known of a client's models, or of all clients', the most used first."""
    return (await connection.execute(_OF, {"whose": whose})).mappings().all()


_HELD = text(
    """
SELECT model, min(hold_reason) AS hold_reason, max(held_until) AS held_until, count(*) AS clients
FROM kie_breakers WHERE hold_reason IS NOT NULL AND held_until > clock_timestamp()
AND (CAST(:whose AS uuid) IS NULL OR client_id = :whose) GROUP BY model
"""
).bindparams(bindparam("whose", type_=Uuid))


async def held(connection: AsyncConnection, whose: UUID | None) -> Mapping[str, RowMapping]:
    """Return the models whose tasks wait for their breaker: a client's own, or (None) any's."""
    found = await connection.execute(_HELD, {"whose": whose})
    return {row["model"]: row for row in found.mappings()}
