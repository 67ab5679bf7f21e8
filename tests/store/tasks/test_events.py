"""The history and the feed in the store: no event is passed over, none comes twice."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import asyncpg
import pytest_asyncio

from app.domain.move import Move
from app.domain.paging import Position
from app.domain.task import State
from app.store.engine import Database
from app.store.tasks import events, moves
from tests.stage import eventually
from tests.store.stage import Sql, put_client, put_task

APPEND = (
    "INSERT INTO task_events (task_id, client_id, from_state, to_state, attempt)"
    " VALUES ($1, $2, 'queued', 'submitting', $3) RETURNING id"
)


@pytest_asyncio.fixture
async def slow(dsn: str, sql: Sql) -> AsyncIterator[Sql]:  # noqa: ARG001  # rows go after its end
    """Lend a second connection, for a transaction that takes its time."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def feed(
    database: Database, client_id: UUID, after: Position | None = None, limit: int = 100
) -> list[Mapping[str, Any]]:
    async with database.read() as connection:
        rows = await events.read_feed(connection, client_id, after=after or Position(), limit=limit)
    return [dict(row) for row in rows]


async def fed(database: Database, client_id: UUID, ids: list[int]) -> None:
    """Wait until the feed shows just these: others' transactions may hold it up for a moment."""

    async def look() -> bool | None:
        return [row["id"] for row in await feed(database, client_id)] == ids or None

    await eventually(look)


def behind(row: Mapping[str, Any]) -> Position:
    return Position(xid=row["xid"], id=row["id"])


async def append(sql: Sql, task_id: UUID, client_id: UUID, attempt: int = 1) -> int:
    found = await sql.fetchval(APPEND, task_id, client_id, attempt)
    assert isinstance(found, int)
    return found


async def test_the_feed_never_passes_a_transaction_that_may_still_commit(
    database: Database, client_id: UUID, sql: Sql, slow: Sql
) -> None:
    task_id = await put_task(sql, client_id, State.QUEUED)
    first = await append(sql, task_id, client_id)
    await fed(database, client_id, [first])
    transaction = slow.transaction()
    await transaction.start()
    late = await append(slow, task_id, client_id)
    others = [await append(sql, task_id, client_id) for _ in range(5)]
    assert late < min(others)
    for _ in range(5):  # however often it is asked
        assert [row["id"] for row in await feed(database, client_id)] == [first]
    (seen,) = await feed(database, client_id)
    assert await feed(database, client_id, behind(seen)) == []
    await transaction.commit()
    await fed(database, client_id, [first, late, *others])
    rest = await feed(database, client_id, behind(seen))
    assert [row["id"] for row in rest] == [late, *others]


async def test_a_late_id_of_an_early_transaction_comes_where_its_transaction_does(
    database: Database, client_id: UUID, sql: Sql, slow: Sql
) -> None:
    """Ids alone do not order: this one is the highest and comes first."""
    task_id = await put_task(sql, client_id, State.QUEUED)
    transaction = slow.transaction()
    await transaction.start()
    await slow.fetchval("SELECT pg_current_xact_id()")
    others = [await append(sql, task_id, client_id) for _ in range(2)]
    late = await append(slow, task_id, client_id)
    await transaction.commit()
    assert late > max(others)
    await fed(database, client_id, [late, *others])


async def test_what_was_rolled_back_never_shows_and_holds_nothing_up(
    database: Database, client_id: UUID, sql: Sql, slow: Sql
) -> None:
    task_id = await put_task(sql, client_id, State.QUEUED)
    transaction = slow.transaction()
    await transaction.start()
    await append(slow, task_id, client_id)
    kept = await append(sql, task_id, client_id)
    assert await feed(database, client_id) == []
    await transaction.rollback()
    await fed(database, client_id, [kept])


async def test_a_reader_that_follows_meets_everything_once_and_in_order(
    database: Database, client_id: UUID, sql: Sql, dsn: str
) -> None:
    """Writers whose transactions overlap; the reader goes on from its last event, page by page."""
    task_id = await put_task(sql, client_id, State.QUEUED)
    total, writers = 120, 6
    met: list[Mapping[str, Any]] = []

    async def write(writer: int) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            for number in range(total // writers // 2):
                async with connection.transaction():
                    await append(connection, task_id, client_id, writer)
                    for _ in range(number % 4):
                        await connection.execute("SELECT 1")
                    await append(connection, task_id, client_id, writer)
        finally:
            await connection.close()

    async def follow() -> bool | None:
        page = await feed(database, client_id, behind(met[-1]) if met else None, limit=7)
        met.extend(page)
        return len(met) >= total or None

    following = asyncio.create_task(eventually(follow))
    await asyncio.gather(*map(write, range(writers)))
    await following
    places = [(row["xid"], row["id"]) for row in met]
    assert places == sorted(set(places))
    stored = await sql.fetch("SELECT id FROM task_events")
    assert {row["id"] for row in met} == {row["id"] for row in stored}
    assert await feed(database, client_id, behind(met[-1])) == []


async def test_a_client_is_fed_its_own_events(
    database: Database, client_id: UUID, sql: Sql
) -> None:
    other = await put_client(sql, "another")
    ids: dict[UUID, list[int]] = {}
    for owner in (client_id, other, client_id):
        task_id = await put_task(sql, owner, State.QUEUED)
        ids.setdefault(owner, []).append(await append(sql, task_id, owner))
    await fed(database, client_id, ids[client_id])
    await fed(database, other, ids[other])


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
            rows = await events.read_history(
                connection, mine, after=Position(id=after), limit=limit
            )
        return [row["id"] for row in rows]

    assert await history(0, 100) == ids
    assert await history(ids[1], 100) == ids[2:]
    assert await history(ids[0], 2) == ids[1:3]
    assert await history(ids[3], 100) == []


async def test_a_move_appends_its_event_with_its_client_and_transaction(
    database: Database, client_id: UUID, sql: Sql
) -> None:
    task_id = await put_task(sql, client_id, State.QUEUED, attempt=3)
    step = Move(id=task_id, left=State.QUEUED, target=State.CANCELED, reason="why")
    async with database.begin() as connection:
        assert await moves.cancel(connection, step)
        xid = (await connection.exec_driver_sql("SELECT pg_current_xact_id()::text")).scalar_one()
        assert not await moves.cancel(connection, step)
    (row,) = await sql.fetch("SELECT * FROM task_events")
    assert (row["task_id"], row["client_id"], row["xid"]) == (task_id, client_id, int(xid))
    said = (row["from_state"], row["to_state"], row["attempt"], row["reason"])
    assert said == ("queued", "canceled", 3, "why")
