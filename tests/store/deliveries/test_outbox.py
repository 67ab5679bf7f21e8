"""The outbox: what is put in is due, once, unless its URL is disabled."""

from uuid import UUID

from app.domain.delivery import DeliveryState
from app.store.connections.engine import Database
from tests.store.deliveries.stage import attempt, claim, new, put, rows, settle
from tests.store.stage import Sql, around


async def test_put_is_due_at_once(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    await put(database, new(client_id, task_id))
    (row,) = await rows(sql)
    assert (row["state"], row["tries"], row["finished"], row["leased_for"]) == (
        *("pending", 0, False),
        None,
    )
    assert row["due_in"] == around(0)


async def test_put_twice_is_once(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    """A transaction whose commit was not answered runs again with the same ids."""
    one = new(client_id, task_id)
    await put(database, one, one)
    (due,) = await claim(database)
    await settle(database, attempt(due))
    await put(database, one)
    assert [(row["state"], row["tries"]) for row in await rows(sql)] == [("delivered", 1)]


async def test_put_as_disabled_is_kept_and_never_due(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    await put(database, new(client_id, task_id, state=DeliveryState.DISABLED))
    (row,) = await rows(sql)
    assert (row["state"], row["due_in"], row["finished"]) == ("disabled", None, True)
    assert await claim(database) == []
