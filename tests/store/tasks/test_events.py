"""A task's history in the store."""

from uuid import UUID

from app.domain.move import Move
from app.domain.task import State
from app.store.connections.engine import Database
from app.store.tasks import events, moves
from tests.store.stage import Sql, put_task

APPEND = (
    "INSERT INTO task_events (task_id, client_id, from_state, to_state, attempt)"
    " VALUES ($1, $2, 'queued', 'submitting', $3) RETURNING id"
)


async def append(sql: Sql, task_id: UUID, client_id: UUID, attempt: int = 1) -> int:
    found = await sql.fetchval(APPEND, task_id, client_id, attempt)
    assert isinstance(found, int)
    return found


async def test_a_history_is_the_tasks_own_and_goes_on_behind_an_event(
    database: Database, client_id: UUID, sql: Sql
) -> None:
    mine, other = [await put_task(sql, client_id, State.QUEUED) for _ in range(2)]
    ids = []
    for number in range(4):
        ids.append(await append(sql, mine, client_id, number))
        await append(sql, other, client_id, number)

    async def history(after: int, limit: int) -> list[int]:
        async with database.read() as connection:
            rows = await events.read_history(connection, mine, after=after, limit=limit)
        return [row["id"] for row in rows]

    assert await history(0, 100) == ids
    assert await history(ids[1], 100) == ids[2:]
    assert await history(ids[0], 2) == ids[1:3]
    assert await history(ids[3], 100) == []


async def test_a_move_appends_its_event_with_its_client(
    database: Database, client_id: UUID, sql: Sql
) -> None:
    task_id = await put_task(sql, client_id, State.QUEUED, attempt=3)
    step = Move(id=task_id, left=State.QUEUED, target=State.CANCELED, reason="why")
    async with database.begin() as connection:
        assert await moves.cancel(connection, step)
        assert not await moves.cancel(connection, step)
    (row,) = await sql.fetch("SELECT * FROM task_events")
    assert (row["task_id"], row["client_id"]) == (task_id, client_id)
    said = (row["from_state"], row["to_state"], row["attempt"], row["reason"])
    assert said == ("queued", "canceled", 3, "why")
