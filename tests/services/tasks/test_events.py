"""Following events beneath the edge: batches, ends, and what is given back."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias, cast
from uuid import UUID

import pytest
import pytest_asyncio

from app.domain.errors import NotFoundError
from app.domain.move import Move
from app.domain.paging import FeedPlace
from app.domain.task import State
from app.services.services import Services
from app.services.tasks.events import BATCH
from app.store.tasks import moves
from app.worker import at_work, number_loop
from tests.fixtures.gateway import Wire
from tests.stage import PATIENCE, eventually
from tests.store.stage import Sql, put_client, put_task
from tests.store.tasks.test_events import append

Batches: TypeAlias = AsyncIterator[Sequence[Mapping[str, Any]]]


@pytest_asyncio.fixture
async def alive(services: Services) -> AsyncIterator[Services]:
    """Lend services that listen, and number the feed."""
    async with at_work(services, [number_loop(services)]):
        yield services


def opened(batches: Batches) -> AsyncGenerator[Sequence[Mapping[str, Any]]]:
    """Say what a stream is beneath: something to close."""
    return cast("AsyncGenerator[Sequence[Mapping[str, Any]]]", batches)


async def taken(batches: Batches, count: int) -> list[Mapping[str, Any]]:
    """Read on until so many events have come."""
    found: list[Mapping[str, Any]] = []
    async with asyncio.timeout(PATIENCE):
        async for batch in batches:
            found.extend(batch)
            if len(found) >= count:
                break
    return found


async def ended(batches: Batches) -> list[Mapping[str, Any]]:
    """Read to the end."""
    async with asyncio.timeout(PATIENCE):
        return [event async for batch in batches for event in batch]


async def a_task(sql: Sql) -> tuple[UUID, UUID]:
    client_id = await put_client(sql)
    return client_id, await put_task(sql, client_id, State.QUEUED)


async def cancel(services: Services, sql: Sql, task_id: UUID) -> None:
    client_id = await sql.fetchval("SELECT client_id FROM tasks WHERE id = $1", task_id)
    await services.commands.cancel(client_id, task_id)


async def place(sql: Sql, number: int) -> int:
    found = await sql.fetchval("SELECT id FROM task_events ORDER BY id OFFSET $1", number)
    assert isinstance(found, int)
    return found


async def test_a_feed_goes_on_as_events_come(alive: Services, sql: Sql) -> None:
    client_id, task_id = await a_task(sql)
    first = await append(sql, task_id, client_id)
    async with aclosing(opened(alive.feed.follow(client_id, after=FeedPlace()))) as batches:
        assert [event["id"] for event in await taken(batches, 1)] == [first]
        second = await append(sql, task_id, client_id)
        alive.signals.announce(task_id.hex)
        assert [event["id"] for event in await taken(batches, 1)] == [second]


async def test_a_feed_hears_of_other_processes(alive: Services, wire: Wire, sql: Sql) -> None:
    other = await wire()
    client_id, task_id = await a_task(sql)
    async with (
        at_work(other, ()),
        aclosing(opened(alive.feed.follow(client_id, after=FeedPlace()))) as feed,
    ):
        await cancel(other, sql, task_id)
        (event,) = await taken(feed, 1)
    assert (event["task_id"], event["to_state"]) == (task_id, "canceled")


async def test_more_than_a_batch_comes_without_a_pause(alive: Services, sql: Sql) -> None:
    """Whoever was away for long catches up as fast as it reads."""
    client_id, task_id = await a_task(sql)
    await sql.execute(
        "INSERT INTO task_events (task_id, client_id, to_state, attempt)"
        " SELECT $1, $2, 'queued', n FROM generate_series(1, $3) n",
        task_id,
        client_id,
        2 * BATCH + 10,
    )
    async with aclosing(opened(alive.feed.follow(client_id, after=FeedPlace()))) as batches:
        found = await taken(batches, 2 * BATCH + 10)
    assert [event["attempt"] for event in found] == list(range(1, 2 * BATCH + 11))


async def test_a_tasks_stream_ends_when_it_rests(alive: Services, sql: Sql) -> None:
    client_id, task_id = await a_task(sql)
    await append(sql, task_id, client_id)
    following = asyncio.create_task(ended(alive.feed.follow_task(client_id, task_id, after=0)))

    async def subscribed() -> bool | None:
        return task_id in alive.streams._tasks.ids or None

    await eventually(subscribed)
    await cancel(alive, sql, task_id)
    assert [event["to_state"] for event in await following] == ["submitting", "canceled"]


@pytest.mark.parametrize("seen", [0, 1, 2])
async def test_a_stream_that_is_taken_up_again_ends_too(
    alive: Services, sql: Sql, seen: int
) -> None:
    """Browsers take up a stream that ended with the last id: nothing is left, and it is over."""
    client_id, task_id = await a_task(sql)
    await append(sql, task_id, client_id)
    await cancel(alive, sql, task_id)
    after = await place(sql, seen - 1) if seen else 0
    events = await ended(alive.feed.follow_task(client_id, task_id, after=after))
    assert [event["to_state"] for event in events] == ["submitting", "canceled"][seen:]


async def test_a_late_settlement_is_the_last_event_of_an_expired_task(
    alive: Services, sql: Sql
) -> None:
    client_id, task_id = await a_task(sql)
    for left, target in (("queued", "expired"), ("expired", "succeeded")):
        step = Move(id=task_id, left=State(left), target=State(target))
        async with alive.feed._database.begin() as connection:
            assert await moves.cancel(connection, step)
    events = await ended(alive.feed.follow_task(client_id, task_id, after=0))
    assert [event["to_state"] for event in events] == ["expired", "succeeded"]
    after = await place(sql, 0)
    events = await ended(alive.feed.follow_task(client_id, task_id, after=after))
    assert [event["to_state"] for event in events] == ["succeeded"]


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_whoever_stops_reading_is_forgotten(alive: Services, sql: Sql, how: str) -> None:
    client_id, _ = await a_task(sql)
    batches = opened(alive.feed.follow(client_id, after=FeedPlace()))
    if how == "closed":
        assert await anext(batches) == []
        assert alive.streams._clients.ids == [client_id]
        await batches.aclose()
    else:
        reading = asyncio.create_task(ended(batches))

        async def subscribed() -> bool | None:
            return client_id in alive.streams._clients.ids or None

        await eventually(subscribed)
        reading.cancel()
        await asyncio.wait({reading})

    async def forgotten() -> bool | None:
        return not alive.streams._clients.ids or None

    await eventually(forgotten)


async def test_the_end_of_the_process_ends_every_stream(alive: Services, sql: Sql) -> None:
    client_id, task_id = await a_task(sql)
    streams = [
        asyncio.create_task(ended(batches))
        for batches in (
            alive.feed.follow(client_id, after=FeedPlace()),
            alive.feed.follow_task(client_id, task_id, after=0),
        )
    ]

    async def subscribed() -> bool | None:
        return (alive.streams._tasks.ids == [task_id] and bool(alive.streams._clients.ids)) or None

    await eventually(subscribed)
    alive.waiters.close()
    assert await asyncio.gather(*streams) == [[], []]


async def test_a_history_of_a_strange_task_is_none(services: Services, sql: Sql) -> None:
    client_id, task_id = await a_task(sql)
    other = await put_client(sql, "another")
    for owner, one in ((other, task_id), (client_id, UUID(int=1))):
        with pytest.raises(NotFoundError):
            await services.feed.history(owner, one, after=0, limit=1)
