"""The feed in the store: every event is numbered once, in order, by one process at a time."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from app.domain.paging import FeedPlace
from app.domain.task import State
from app.store.connections.engine import Database
from app.store.tasks import feed
from tests.database import with_database
from tests.stage import eventually
from tests.store.stage import Sql, put_client, put_task
from tests.store.tasks.test_events import append

ME, OTHER = UUID(int=1), UUID(int=2)
WIDE = 1000


@pytest_asyncio.fixture
async def slow(dsn: str, sql: Sql) -> AsyncIterator[Sql]:  # noqa: ARG001  # rows go after its end
    """Lend a second connection, for a transaction that takes its time."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def foreign(dsn: str, sql: Sql) -> AsyncIterator[Sql]:
    """Lend a connection to another database of the server."""
    name = f"foreign_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    await sql.execute(f"CREATE DATABASE {name}")
    connection = await asyncpg.connect(with_database(dsn, name))
    yield connection
    await connection.close()
    await sql.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def number(
    database: Database, holder: UUID = ME, *, limit: int = WIDE, lease: float = 60
) -> int | None:
    async with database.at_once() as connection:
        return await feed.number(connection, holder, lease=lease, limit=limit)


async def page(
    database: Database, client_id: UUID, after: FeedPlace | None = None, limit: int = WIDE
) -> list[Mapping[str, Any]]:
    async with database.read() as connection:
        rows = await feed.read(connection, client_id, after=after or FeedPlace(), limit=limit)
    return [dict(row) for row in rows]


async def fed(database: Database, client_id: UUID, after: FeedPlace | None = None) -> list[int]:
    """Number what there is, and return the ids of the events in the feed."""
    while await number(database):
        pass
    return [row["id"] for row in await page(database, client_id, after)]


def behind(row: Mapping[str, Any]) -> FeedPlace:
    return FeedPlace(position=row["position"], token=row["token"])


async def gaps(sql: Sql) -> list[tuple[int, int]]:
    found = await sql.fetchval("SELECT gaps FROM feed_writer")
    return [(one.lower, one.upper) for one in found]


async def test_a_slow_transaction_holds_nothing_up_and_is_not_passed_over(
    database: Database, client_id: UUID, sql: Sql, slow: Sql
) -> None:
    task_id, other = [await put_task(sql, client_id, State.QUEUED) for _ in range(2)]
    transaction = slow.transaction()
    await transaction.start()
    late = [await append(slow, task_id, client_id) for _ in range(3)]
    others = [await append(sql, other, client_id) for _ in range(5)]
    assert max(late) < min(others)
    assert await fed(database, client_id) == others
    last = behind((await page(database, client_id))[-1])
    for _ in range(5):  # however often it is looked for
        assert await fed(database, client_id, last) == []
    await transaction.commit()
    assert await number(database, limit=2) == 2  # of a gap only a part
    rest = await append(sql, task_id, client_id)

    async def forgotten() -> bool | None:  # other tests' transactions are on this server too
        assert await fed(database, client_id, last) == [*late, rest]
        return await gaps(sql) == [] or None

    await eventually(forgotten)


async def test_a_gap_is_forgotten_once_its_transaction_is_over(
    database: Database, client_id: UUID, sql: Sql, slow: Sql
) -> None:
    task_id = await put_task(sql, client_id, State.QUEUED)
    transaction = slow.transaction()
    await transaction.start()
    lost = await append(slow, task_id, client_id)
    kept = await append(sql, task_id, client_id)
    for _ in range(3):
        assert await fed(database, client_id) == [kept]
        assert await gaps(sql) == [(lost, lost + 1)]
    await transaction.rollback()

    async def forgotten() -> bool | None:  # other tests' transactions are on this server too
        assert await fed(database, client_id) == [kept]
        return await gaps(sql) == [] or None

    await eventually(forgotten)


async def test_a_transaction_in_another_database_holds_nothing_up(
    database: Database, client_id: UUID, sql: Sql, slow: Sql, foreign: Sql
) -> None:
    """It keeps gaps from being forgotten, and that is all."""
    writing = foreign.transaction()
    await writing.start()
    await foreign.fetchval("SELECT pg_current_xact_id()::text")
    task_id = await put_task(sql, client_id, State.QUEUED)
    expected: list[int] = []
    for _ in range(3):
        transaction = slow.transaction()
        await transaction.start()
        await append(slow, task_id, client_id)
        expected.append(await append(sql, task_id, client_id))
        assert await fed(database, client_id) == expected
        await transaction.rollback()
        assert await fed(database, client_id) == expected
    assert len(await gaps(sql)) == 3
    await writing.rollback()


async def test_gaps_of_another_server_are_forgotten(
    database: Database, client_id: UUID, sql: Sql
) -> None:
    """After dump and restore the ids of transactions begin again: none of the old ones goes on."""
    await sql.execute(
        "UPDATE feed_writer SET suspects_before = 1::bigint << 60, gaps = '{[1,2)}',"
        " suspects = '{[1,2)}'"
    )
    task_id = await put_task(sql, client_id, State.QUEUED)
    event = await append(sql, task_id, client_id)
    assert await fed(database, client_id) == [event]
    assert await gaps(sql) == []


async def test_one_at_a_time_numbers(database: Database, client_id: UUID, sql: Sql) -> None:
    """And one whose lease was taken meanwhile does nothing, whatever it believes."""
    task_id = await put_task(sql, client_id, State.QUEUED)
    assert await number(database, ME) == 0
    await append(sql, task_id, client_id)
    assert await number(database, OTHER) is None
    await sql.execute("UPDATE feed_writer SET leased_until = clock_timestamp()")
    assert await number(database, OTHER) == 1
    await append(sql, task_id, client_id)
    before = await sql.fetchrow("SELECT * FROM feed_writer")
    assert await number(database, ME) is None
    assert await sql.fetchval("SELECT count(*) FROM feed") == 1
    assert await sql.fetchrow("SELECT * FROM feed_writer") == before
    async with database.at_once() as connection:
        await feed.release(connection, ME)  # which is not its own any more
    assert await number(database, ME) is None
    async with database.at_once() as connection:
        await feed.release(connection, OTHER)
    assert await number(database, ME) == 1


async def test_a_reader_that_follows_meets_everything_once_and_in_order(
    database: Database, client_id: UUID, sql: Sql, dsn: str
) -> None:
    """Writers overlap and roll back, two processes fight for the lease, a reader follows."""
    tasks = [await put_task(sql, client_id, State.QUEUED) for _ in range(4)]
    total, writers = 240, 8
    met: list[Mapping[str, Any]] = []

    async def write(writer: int) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            for turn in range(total // writers // 2):
                task_id = tasks[(writer + turn) % len(tasks)]
                await write_two(connection, task_id, turn)
        finally:
            await connection.close()

    async def write_two(connection: Sql, task_id: UUID, turn: int) -> None:
        """Append as a move does, behind the task's lock; a third of it is for nothing at first."""
        for fails in (True, False) if turn % 3 == 0 else (False,):
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("UPDATE tasks SET model = 'm' WHERE id = $1", task_id)
            for _ in range(2):
                await append(connection, task_id, client_id)
                await connection.execute("SELECT 1")
            await (transaction.rollback() if fails else transaction.commit())

    async def follow() -> bool | None:
        await asyncio.gather(*(number(database, one, limit=5, lease=0) for one in (ME, OTHER)))
        met.extend(await page(database, client_id, behind(met[-1]) if met else None, limit=7))
        return len(met) >= total or None

    following = asyncio.create_task(eventually(follow, 30))
    await asyncio.gather(*map(write, range(writers)))
    await following
    assert [row["position"] for row in met] == sorted({row["position"] for row in met})
    for task_id in tasks:
        ids = [row["id"] for row in met if row["task_id"] == task_id]
        stored = await sql.fetch("SELECT id FROM task_events WHERE task_id = $1", task_id)
        assert ids == sorted(row["id"] for row in stored)
    assert await fed(database, client_id, behind(met[-1])) == []


async def test_a_client_is_fed_its_own_events(
    database: Database, client_id: UUID, sql: Sql
) -> None:
    other = await put_client(sql, "another")
    ids: dict[UUID, list[int]] = {}
    for owner in (client_id, other, client_id):
        task_id = await put_task(sql, owner, State.QUEUED)
        ids.setdefault(owner, []).append(await append(sql, task_id, owner))
    assert await fed(database, client_id) == ids[client_id]
    assert await fed(database, other) == ids[other]
    (mine, _), (theirs,) = [await page(database, owner) for owner in (client_id, other)]
    async with database.read() as connection:
        assert await feed.knows(connection, client_id, behind(mine))
        assert not await feed.knows(connection, client_id, behind(theirs))


@pytest.mark.parametrize(
    ("place", "known"),
    [
        ((0, 0), True),
        ((0, 1), False),  # another event has its position: an older dump was restored
        ((1, 0), False),  # ahead of the feed
        ((-1, 0), True),  # deleted by age
        ((-2, 0), True),
    ],
)
async def test_a_place_is_known_by_its_token(
    database: Database, client_id: UUID, sql: Sql, place: tuple[int, int], *, known: bool
) -> None:
    task_id = await put_task(sql, client_id, State.QUEUED)
    await append(sql, task_id, client_id)
    assert len(await fed(database, client_id)) == 1
    (row,) = await page(database, client_id)
    await sql.execute("UPDATE feed_writer SET kept_from = position")
    asked = FeedPlace(position=row["position"] + place[0], token=row["token"] ^ place[1])
    async with database.read() as connection:
        assert await feed.knows(connection, client_id, asked) is known
    await sql.execute("UPDATE feed_writer SET kept_from = 0")


async def test_a_place_outlives_its_event(database: Database, client_id: UUID, sql: Sql) -> None:
    """Erasing tasks loses no reader its place."""
    gone, kept = [await put_task(sql, client_id, State.QUEUED) for _ in range(2)]
    await append(sql, gone, client_id)
    event = await append(sql, kept, client_id)
    await fed(database, client_id)
    first, _ = await page(database, client_id)
    await sql.execute("DELETE FROM tasks WHERE id = $1", gone)
    async with database.read() as connection:
        assert await feed.knows(connection, client_id, behind(first))
    assert await fed(database, client_id, behind(first)) == [event]
    assert await fed(database, client_id) == [event]
