"""Claims of artifacts: by whom, in whose turn, and for how long."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, Float, Integer, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class DueArtifact:
    """An artifact under a lease: this process may copy it, or remove its object."""

    task_id: UUID
    n: int
    client_id: UUID
    client: str
    """The client's name."""
    task_created_at: datetime | None
    """None: the task is gone."""
    kind: str
    source_url: str | None
    digest: bytes
    state: str
    attempt: int
    tries: int
    object: str | None
    age: float
    """Seconds since it was owed."""


_CLAIM = text(
    """
WITH RECURSIVE owners AS (
    (SELECT client_id FROM artifacts WHERE due_at IS NOT NULL ORDER BY client_id LIMIT 1)
    UNION ALL
    SELECT (SELECT client_id FROM artifacts
            WHERE due_at IS NOT NULL AND client_id > owners.client_id
            ORDER BY client_id LIMIT 1)
    FROM owners WHERE owners.client_id IS NOT NULL
), under_way AS (
    SELECT client_id, count(*) AS amount FROM artifacts
    WHERE due_at IS NOT NULL AND leased_until > clock_timestamp() GROUP BY client_id
), waiting AS (
    SELECT due.*, coalesce(amount, 0) + row_number() OVER (
        PARTITION BY owners.client_id ORDER BY due.due_at, due.task_id, due.n) AS turn
    FROM owners CROSS JOIN LATERAL (
        SELECT task_id, n, due_at FROM artifacts
        WHERE artifacts.client_id = owners.client_id
            AND due_at <= (SELECT clock_timestamp())
            AND (leased_until IS NULL OR leased_until <= clock_timestamp())
        ORDER BY due_at LIMIT :room
    ) due LEFT JOIN under_way ON under_way.client_id = owners.client_id
    ORDER BY turn, due.due_at LIMIT :room
), locked AS (
    SELECT artifacts.task_id, artifacts.n FROM artifacts
    JOIN waiting ON waiting.task_id = artifacts.task_id AND waiting.n = artifacts.n
    WHERE artifacts.due_at <= clock_timestamp()
        AND (leased_until IS NULL OR leased_until <= clock_timestamp())
    FOR UPDATE OF artifacts SKIP LOCKED
)
UPDATE artifacts SET
    leased_until = clock_timestamp() + make_interval(secs => :lease), attempt = attempt + 1
FROM locked CROSS JOIN clients
WHERE artifacts.task_id = locked.task_id AND artifacts.n = locked.n
    AND clients.id = artifacts.client_id
RETURNING artifacts.task_id, artifacts.n, artifacts.client_id, clients.name AS client,
    (SELECT tasks.created_at FROM tasks WHERE tasks.id = artifacts.task_id) AS task_created_at,
    artifacts.kind, artifacts.source_url, artifacts.digest, artifacts.state, artifacts.attempt,
    artifacts.tries, artifacts.object,
    extract(epoch FROM clock_timestamp() - artifacts.created_at)::float AS age
"""
).bindparams(bindparam("room", type_=Integer), bindparam("lease", type_=Float))


async def claim_due(
    connection: AsyncConnection, *, room: int, lease: float
) -> Sequence[DueArtifact]:
    """Take up to `room` artifacts that are due, the clients in turn; `lease` in seconds.

    What a client has under way, in any process, counts as its first turns.
    """
    rows = await connection.execute(_CLAIM, {"room": room, "lease": lease})
    return [DueArtifact(**row) for row in rows.mappings()]


_RENEW = text(
    """
UPDATE artifacts SET leased_until = clock_timestamp() + make_interval(secs => :lease)
FROM unnest(:tasks, :ns, :attempts) AS held (task_id, n, attempt)
WHERE artifacts.task_id = held.task_id AND artifacts.n = held.n
    AND artifacts.attempt = held.attempt AND due_at IS NOT NULL
RETURNING artifacts.task_id, artifacts.n
"""
).bindparams(
    bindparam("lease", type_=Float),
    bindparam("tasks", type_=ARRAY(Uuid)),
    bindparam("ns", type_=ARRAY(Integer)),
    bindparam("attempts", type_=ARRAY(Integer)),
)


async def renew(
    connection: AsyncConnection, held: Collection[DueArtifact], *, lease: float
) -> set[tuple[UUID, int]]:
    """Renew the leases; return the artifacts, by task and number, that are still ours."""
    given = {
        "lease": lease,
        "tasks": [one.task_id for one in held],
        "ns": [one.n for one in held],
        "attempts": [one.attempt for one in held],
    }
    return {(row.task_id, row.n) for row in await connection.execute(_RENEW, given)}
