"""Deliveries for the tests: put into the outbox, claimed, settled and looked at."""

import itertools
from typing import Any
from uuid import UUID

from app.domain.delivery import DeliveryState
from app.store.connections.engine import Database
from app.store.deliveries import attempts, outbox
from app.store.deliveries.attempts import Attempt, DueDelivery
from app.store.deliveries.outbox import NewDelivery
from tests.store.stage import Sql

HOST = "hooks.example:443"
URL = "https://hooks.example:443/a"

_numbers = itertools.count(1)


def new(client_id: UUID, task_id: UUID, **members: Any) -> NewDelivery:
    values: dict[str, Any] = {
        "id": UUID(int=next(_numbers)),
        "client_id": client_id,
        "task_id": task_id,
        "event": "task.succeeded",
        "url": URL,
        "host": HOST,
        "body": b"{}",
        "state": DeliveryState.PENDING,
    }
    return NewDelivery(**{**values, **members})


async def put(database: Database, *new_ones: NewDelivery) -> None:
    async with database.begin() as connection:
        await outbox.put(connection, new_ones)


async def claim(
    database: Database, *, room: int = 100, per_host: int = 10, lease: float = 30, start: int = 0
) -> list[DueDelivery]:
    async with database.begin() as connection:
        claimed = await attempts.claim_due(
            connection, room=room, per_host=per_host, lease=lease, start=start
        )
    return claimed.due


def attempt(due: DueDelivery, **members: Any) -> Attempt:
    values: dict[str, Any] = {
        "delivery_id": due.id,
        "number": due.tries + 1,
        "seconds": 0.5,
        "status": 200,
        "error": None,
        "address": "10.0.0.1",
        "answer": b"ok",
    }
    return Attempt(**{**values, **members})


async def settle(
    database: Database,
    tried: Attempt,
    state: DeliveryState = DeliveryState.DELIVERED,
    *,
    wait: float | None = None,
) -> bool:
    async with database.begin() as connection:
        return await attempts.settle(connection, tried, state, wait=wait)


async def rows(sql: Sql) -> list[dict[str, Any]]:
    """All deliveries in the order of their ids, with instants as seconds from now."""
    found = await sql.fetch(
        "SELECT id, state, tries, finished_at IS NOT NULL AS finished,"
        " extract(epoch FROM due_at - clock_timestamp())::float AS due_in,"
        " extract(epoch FROM leased_until - clock_timestamp())::float AS leased_for"
        " FROM deliveries ORDER BY id"
    )
    return [dict(row) for row in found]


async def put_many(
    sql: Sql,
    client_id: UUID,
    task_id: UUID,
    count: int,
    *,
    host: str = HOST,
    path: str = "a",
    ago: float = 1.0,
    again: bool = False,
) -> None:
    """Put so many due deliveries for a host, one microsecond after another.

    A `{}` in the path is the number of each; `again`: they repeat others.
    """
    await sql.execute(
        "INSERT INTO deliveries"
        " (id, client_id, task_id, event, url, host, body, state, due_at, origin_id)"
        " SELECT gen_random_uuid(), $1, $2, 'task.succeeded',"
        " 'https://' || $3 || '/' || replace($6, '{}', n::text), $3,"
        " '{}', 'pending', clock_timestamp() - make_interval(secs => $5 - n * 1e-6),"
        " CASE WHEN $7 THEN gen_random_uuid() END"
        " FROM generate_series(1, $4) n",
        *(client_id, task_id, host, count, ago, path, again),
    )
