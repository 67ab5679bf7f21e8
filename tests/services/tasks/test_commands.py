"""Commands beneath the edge: lost commits, stray wake-ups, and what a refresh leaves behind."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest_asyncio

from app.domain.task import State
from app.services.services import Services
from app.worker import at_work
from tests.fixtures.gateway import Wire
from tests.stage import eventually
from tests.store.stage import Sql, put_client, put_task
from tests.upstream import Upstream, succeeded

KIE_ID = "5" * 32
MOMENT = 0.3
"""Seconds after which a refresh that should go on waiting may stop."""


@pytest_asyncio.fixture
async def alive(services: Services) -> AsyncIterator[Services]:
    """Lend services that listen; the test does the workers' turns."""
    async with at_work(services, ()):
        yield services


async def _running(sql: Sql, **columns: object) -> tuple[UUID, UUID]:
    client_id = await put_client(sql)
    at = {"due_at": 3600.0, "expires_at": 3600.0, "submitted_at": 0.0}
    return client_id, await put_task(
        sql, client_id, State.RUNNING, at=at, kie_task_id=KIE_ID, **columns
    )


async def _asked(services: Services) -> None:
    """Take turns until a question was due, and answered."""

    async def look() -> bool | None:
        return await services.poller.poll_due() == 0 or None

    await eventually(look)
    await services.poller.drain()


async def test_a_refresh_ends_when_kie_has_answered(
    alive: Services, upstream: Upstream, sql: Sql
) -> None:
    client_id, task_id = await _running(sql)
    refresh = asyncio.create_task(alive.commands.refresh(client_id, task_id, seconds=50))
    await _asked(alive)
    await refresh
    assert upstream.queries == [KIE_ID]


async def test_a_refresh_ends_whatever_process_asks(
    alive: Services, wire: Wire, upstream: Upstream, sql: Sql
) -> None:
    other = await wire()
    client_id, task_id = await _running(sql)
    async with at_work(other, ()):
        refresh = asyncio.create_task(alive.commands.refresh(client_id, task_id, seconds=50))
        await _asked(other)
        await refresh
    assert upstream.queries == [KIE_ID]


async def test_a_refresh_joins_the_question_that_is_under_way(
    alive: Services, upstream: Upstream, sql: Sql
) -> None:
    client_id, task_id = await _running(sql)
    refreshing: list[asyncio.Task[Any]] = []

    async def meanwhile(_: str) -> None:
        upstream.on_query = None
        refresh = alive.commands.refresh(client_id, task_id, seconds=50)
        refreshing.append(asyncio.create_task(refresh))

        async def joined() -> bool | None:
            return await sql.fetchval("SELECT due_at > $1 FROM tasks", due) or None

        await eventually(joined)

    due = await sql.fetchval("UPDATE tasks SET due_at = now() RETURNING due_at")
    upstream.on_query = meanwhile
    await _asked(alive)
    await refreshing[0]
    assert upstream.queries == [KIE_ID]


async def test_a_stray_wake_up_is_no_answer(alive: Services, upstream: Upstream, sql: Sql) -> None:
    """A create's own announcement comes back some milliseconds later, and wakes too early."""
    client_id, task_id = await _running(sql)
    upstream.records[KIE_ID] = succeeded(KIE_ID)
    refresh = asyncio.create_task(alive.commands.refresh(client_id, task_id, seconds=50))

    async def look() -> bool | None:
        return await sql.fetchval("SELECT due_at <= now() FROM tasks") or None

    await eventually(look)
    alive.signals.announce(task_id.hex)
    done, _ = await asyncio.wait({refresh}, timeout=MOMENT)
    early = bool(done)
    await _asked(alive)
    await refresh
    assert not early
    assert await sql.fetchval("SELECT state FROM tasks") == "succeeded"


async def test_a_confirmed_task_that_is_refreshed_is_asked_about_once(
    alive: Services, upstream: Upstream, sql: Sql
) -> None:
    """It owes nothing afterwards: else it would be asked about again whenever a lease is over."""
    client_id, task_id = await _running(sql)
    upstream.records[KIE_ID] = succeeded(KIE_ID)
    for _ in range(2):
        await sql.execute("UPDATE tasks SET refreshed_at = refreshed_at - interval '5 s'")
        refresh = asyncio.create_task(alive.commands.refresh(client_id, task_id, seconds=50))
        await _asked(alive)
        await refresh
        row = await sql.fetchrow("SELECT state, due_at, leased_until FROM tasks")
        assert row is not None
        assert tuple(row) == ("succeeded", None, None)
    assert upstream.queries == [KIE_ID] * 2


async def test_a_canceled_task_owes_nothing(services: Services, sql: Sql) -> None:
    client_id = await put_client(sql)
    task_id = await put_task(sql, client_id, State.QUEUED, at={"due_at": 0.0})
    await services.commands.cancel(client_id, task_id)
    row = await sql.fetchrow("SELECT state, due_at, leased_until, expires_at FROM tasks")
    assert row is not None
    assert tuple(row) == ("canceled", None, None, None)
    assert await services.submitter.submit_due(10) is None
    await services.sweeper.sweep()
    assert await sql.fetchval("SELECT state FROM tasks") == "canceled"


async def test_many_cancels_at_once_are_one_event(services: Services, sql: Sql) -> None:
    client_id = await put_client(sql)
    task_id = await put_task(sql, client_id, State.QUEUED, at={"due_at": 0.0})
    await asyncio.gather(*(services.commands.cancel(client_id, task_id) for _ in range(20)))
    assert await sql.fetchval("SELECT count(*) FROM task_events") == 1


async def test_evidence_settles_a_canceled_task(
    alive: Services, upstream: Upstream, sql: Sql
) -> None:
    """An earlier attempt that was believed refused ran after all."""
    client_id = await put_client(sql)
    at = {"due_at": 0.0}
    task_id = await put_task(sql, client_id, State.QUEUED, at=at, kie_task_id=KIE_ID)
    await alive.commands.cancel(client_id, task_id)
    upstream.records[KIE_ID] = succeeded(KIE_ID)
    refresh = asyncio.create_task(alive.commands.refresh(client_id, task_id, seconds=50))
    await _asked(alive)
    await refresh
    assert await sql.fetchval("SELECT state FROM tasks") == "succeeded"
