"""The feed after dump and restore, with the tools that operators use."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from app import embedded
from app.config import Settings
from app.domain.errors import CursorLostError
from app.domain.paging import FeedPlace
from app.domain.task import State
from app.services.services import Services
from app.wiring import wired
from tests.database import with_database
from tests.store.stage import Sql, put_client, put_task
from tests.store.tasks.test_events import append

Restore = Callable[[Path], Awaitable[tuple[Services, Sql]]]


async def tool(sql: Sql, name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs, of the server's version where the wheel has it."""
    major = sql.get_server_version().major
    found = embedded._programs()
    directory = found.get(major, found[max(found)])
    process = await asyncio.create_subprocess_exec(
        directory / name, *arguments, stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0


@pytest_asyncio.fixture
async def restore(
    sql: Sql, dsn: str, make_settings: Callable[..., Settings]
) -> AsyncIterator[Restore]:
    """Restore dumps, each into a database of its own with services over it."""
    names: list[str] = []
    async with AsyncExitStack() as stack:

        async def restored(dump: Path) -> tuple[Services, Sql]:
            names.append(f"restored_{os.getpid()}_{len(names)}")
            await sql.execute(f"CREATE DATABASE {names[-1]}")
            at = with_database(dsn, names[-1])
            await tool(sql, "psql", "-qX", "-v", "ON_ERROR_STOP=1", "-f", str(dump), at)
            connection = await asyncpg.connect(at)
            stack.push_async_callback(connection.close)
            return await stack.enter_async_context(wired(make_settings(), at)), connection

        yield restored
    for name in names:
        await sql.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def happens(services: Services, sql: Sql, client_id: UUID, count: int) -> FeedPlace:
    """Let so many events come, and number them; returns the place of the last."""
    task_id = await sql.fetchval("SELECT id FROM tasks")
    for _ in range(count):
        await append(sql, task_id, client_id)
    await sql.execute("UPDATE feed_writer SET holder = NULL")
    await services.numbering.number()
    (*_, last) = await services.feed.feed(client_id, after=FeedPlace(), limit=1000)
    return FeedPlace(position=last["position"], token=last["token"])


async def test_a_readers_place_after_dump_and_restore(
    services: Services, sql: Sql, dsn: str, restore: Restore, tmp_path: Path
) -> None:
    client_id = await put_client(sql)
    await put_task(sql, client_id, State.QUEUED)
    early = await happens(services, sql, client_id, 5)
    await tool(sql, "pg_dump", "-f", str(tmp_path / "early"), dsn)
    late = await happens(services, sql, client_id, 3)
    await tool(sql, "pg_dump", "-f", str(tmp_path / "late"), dsn)

    moved, there = await restore(tmp_path / "late")
    assert await moved.feed.feed(client_id, after=late, limit=10) == []
    await happens(moved, there, client_id, 2)
    assert len(await moved.feed.feed(client_id, after=late, limit=10)) == 2
    assert len(await moved.feed.feed(client_id, after=early, limit=10)) == 5

    lost, there = await restore(tmp_path / "early")
    for number in range(5):  # ahead of the feed at first, then at others' positions
        with pytest.raises(CursorLostError):
            await lost.feed.feed(client_id, after=late, limit=10)
        assert len(await lost.feed.feed(client_id, after=early, limit=10)) == number
        await happens(lost, there, client_id, 1)
    assert await there.fetchval("SELECT position FROM feed_writer") > late.position
