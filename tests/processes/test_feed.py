"""The process that numbers the feed dies or stands still: another takes over within 5 s."""

import signal
from uuid import UUID

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
    start: Start, sql: Connection
) -> None:
    one = await start("serve")
    await one.ready()
    first = await eventually(lambda: sql.fetchval(HOLDER))
    other = await start("worker")
    await other.ready()
    client_id = await put_client(sql)
    task_id = await put_task(sql, client_id, State.SUCCEEDED)

    async def follows(holder: UUID) -> UUID | None:
        """Let another event come, and return who is elected instead."""
        await append(sql, task_id, client_id)
        found: UUID | None = await sql.fetchval(ELSE, holder)
        return found

    one.send(signal.SIGSTOP)
    second = await eventually(lambda: follows(first), TAKEN_OVER_WITHIN)
    one.send(signal.SIGCONT)
    await numbered(sql, await append(sql, task_id, client_id))
    assert await sql.fetchval(HOLDER) == second
    other.send(signal.SIGKILL)
    assert await eventually(lambda: follows(second), TAKEN_OVER_WITHIN) == first
    await numbered(sql, await append(sql, task_id, client_id))
    stored = await sql.fetch("SELECT id FROM task_events ORDER BY id")
    events = await sql.fetch("SELECT event_id FROM feed ORDER BY position")
    assert [row["event_id"] for row in events] == [row["id"] for row in stored]


async def numbered(sql: Connection, event: int) -> None:
    look = "SELECT true FROM feed WHERE event_id = $1"
    await eventually(lambda: sql.fetchval(look, event), TAKEN_OVER_WITHIN)
