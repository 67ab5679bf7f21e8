"""Streams are woken by their own client's and task's events, and ask nothing otherwise."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from app.domain.paging import FeedPlace
from app.services.services import Services
from app.services.tasks import events, streams
from app.store.tasks import events as history
from app.store.tasks import feed
from app.worker import at_work, number_loop
from tests.services.tasks.test_events import a_task, opened
from tests.stage import eventually
from tests.store.stage import Sql, put_client
from tests.store.tasks.test_events import append

FOLLOWERS = 30


@pytest_asyncio.fixture
async def alive(services: Services) -> AsyncIterator[Services]:
    async with at_work(services, [number_loop(services)]):
        yield services


class Counted:
    """Counts the calls of a function of the store."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self.calls = 0
        self._wrapped = getattr(module, name)
        monkeypatch.setattr(module, name, self)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return await self._wrapped(*args, **kwargs)


async def test_anothers_events_wake_no_stream(
    alive: Services, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One busy client and many idle streams: those cost one question for all of them."""
    quiet = await put_client(sql, "quiet")
    busy, task_id = await a_task(sql)
    reads = Counted(monkeypatch, feed, "read")
    monkeypatch.setattr(events, "QUIET", 0.05)
    async with aclosing(opened(alive.feed.follow(busy, after=FeedPlace()))) as own:
        idle = [
            asyncio.create_task(_read_on(alive.feed.follow(quiet, after=FeedPlace())))
            for _ in range(FOLLOWERS)
        ]
        await eventually(lambda: _reached(reads, FOLLOWERS))
        before = reads.calls
        for _ in range(5):
            await append(sql, task_id, busy)
            alive.signals.announce(task_id.hex)
            while not await anext(own):
                pass
        for one in idle:
            one.cancel()
    # The busy client's own stream reads for each event, and may read an empty page beside it.
    assert reads.calls - before <= 2 * 5 + 2


async def _read_on(batches: AsyncIterator[Any]) -> None:
    async for _ in batches:
        pass


async def _reached(counted: Counted, count: int) -> bool | None:
    return counted.calls >= count or None


async def test_what_no_announcement_told_of_is_seen_by_the_next_look(
    alive: Services, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LOOK", 0.1)
    client_id, task_id = await a_task(sql)
    looks = Counted(monkeypatch, history, "newest")
    async with aclosing(opened(alive.feed.follow_task(client_id, task_id, after=0))) as batches:
        assert await anext(batches) == []
        await eventually(lambda: _reached(looks, 2))
        await append(sql, task_id, client_id)  # nobody announces it
        while not (found := await anext(batches)):
            pass
    assert [event["to_state"] for event in found] == ["submitting"]


async def test_a_process_without_streams_asks_nothing(
    alive: Services, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LOOK", 0.05)
    counted = [Counted(monkeypatch, feed, "newest"), Counted(monkeypatch, history, "newest")]
    client_id, task_id = await a_task(sql)
    await append(sql, task_id, client_id)

    async def numbered() -> bool | None:
        return await sql.fetchval("SELECT count(*) > 0 FROM feed") or None

    await eventually(numbered)
    assert alive.streams._clients.ids == []
    assert [one.calls for one in counted] == [0, 0]
