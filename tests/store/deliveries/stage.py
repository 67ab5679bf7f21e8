"""Deliveries for the tests: put into the outbox, claimed, settled and looked at."""

import itertools
from typing import Any
from uuid import UUID

from app.domain.delivery import DeliveryState
from app.store.deliveries import attempts, outbox
from app.store.deliveries.attempts import Attempt, DueDelivery
from app.store.deliveries.outbox import NewDelivery
from app.store.engine import Database
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
