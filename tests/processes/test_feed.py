"""The process that numbers the feed dies or stands still: another takes over within 5 s."""

import asyncio
import signal
from uuid import UUID

import asyncpg
import pytest

from app.domain.task import State
from tests.processes.conftest import Connection, Start
from tests.stage import eventually
from tests.store.stage import put_client, put_task
from tests.store.tasks.test_events import append

pytestmark = pytest.mark.long

TAKEN_OVER_WITHIN = 5.0
HOLDER = "SELECT holder FROM feed_writer WHERE leased_until > clock_timestamp()"
ELSE = f"{HOLDER} AND holder <> $1"


async def test_another_takes_over_and_nothing_is_missed_or_repeated(
    start: Start, sql: Connection, dsn: str
) -> None:
    one = await start("serve")
    await one.ready()
    first = await eventually(lambda: sql.fetchval(HOLDER))
    other = await start("worker")
    await other.ready()
    client_id = await put_client(sql)
    task_id = await put_task(sql, client_id, State.SUCCEEDED)
    writing = asyncio.create_task(written(dsn, task_id, client_id))

    one.send(signal.SIGSTOP)
    second = await eventually(lambda: sql.fetchval(ELSE, first), TAKEN_OVER_WITHIN)
    one.send(signal.SIGCONT)
    await grows(sql)
    assert await sql.fetchval(HOLDER) == second
    other.send(signal.SIGKILL)
    assert await eventually(lambda: sql.fetchval(ELSE, second), TAKEN_OVER_WITHIN) == first
    await grows(sql)
    writing.cancel()
    events = await eventually(lambda: all_numbered(sql))
    assert events == sorted(set(events))


async def written(dsn: str, task_id: UUID, client_id: UUID) -> None:
    """Append events for as long as it is let."""
    connection = await asyncpg.connect(dsn)
    try:
        while True:
            await append(connection, task_id, client_id)
            await asyncio.sleep(0.01)
    finally:
        connection.terminate()


async def grows(sql: Connection) -> None:
    """Wait until events that come from now on are numbered."""
    last = await sql.fetchval("SELECT max(id) FROM task_events")
    await eventually(
        lambda: sql.fetchval("SELECT true FROM feed WHERE event_id > $1 LIMIT 1", last)
    )


async def all_numbered(sql: Connection) -> list[int] | None:
    """Return the events in the order of the feed, once they are all there."""
    rows = await sql.fetch("SELECT event_id FROM feed ORDER BY position")
    return [row["event_id"] for row in rows] if len(rows) >= await stored(sql) else None


async def stored(sql: Connection) -> int:
    found: int = await sql.fetchval("SELECT count(*) FROM task_events")
    return found
