"""Leases are renewed by whoever holds them, and never resurrected."""

from uuid import UUID

from app.domain.task import State
from app.store.connections.engine import Database
from app.store.tasks import leases
from tests.store.stage import Sql, around, put_task, task


async def test_a_lease_is_renewed_while_it_holds_and_never_resurrected(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    ends = {"holds": 5.0, "over": -0.001, "not named": 5.0}
    ids = {
        name: await put_task(sql, client_id, State.SUBMITTING, at={"leased_until": seconds})
        for name, seconds in ends.items()
    }
    free_ = await put_task(sql, client_id, State.QUEUED)
    async with database.begin() as connection:
        await leases.renew(connection, [ids["holds"], ids["over"], free_], lease=60)
    left = {name: (await task(sql, found))["leased_until"] for name, found in ids.items()}
    assert left["holds"] == around(60)
    assert left["over"] < 0
    assert left["not named"] == around(5)
    assert (await task(sql, free_))["leased_until"] is None


async def test_renewing_nothing_is_harmless(database: Database, sql: Sql, client_id: UUID) -> None:
    task_id = await put_task(sql, client_id, State.SUBMITTING, at={"leased_until": 5})
    async with database.begin() as connection:
        await leases.renew(connection, [], lease=60)
    assert (await task(sql, task_id))["leased_until"] == around(5)
