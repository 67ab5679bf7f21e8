"""What happened to tasks: one task's history, a client's feed, and both as they go on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar
from uuid import UUID

from app.domain.errors import (
    DatabaseUnavailableError,
    NotFoundError,
    OverloadedError,
    TaskErasedError,
    cursor_lost,
)
from app.domain.paging import FeedPlace
from app.domain.task import FINAL, State
from app.services.limits.under_way import resting
from app.services.missing import missing
from app.services.tasks.streams import Streams
from app.services.tasks.waiters import Waiters
from app.store.connections.engine import Database
from app.store.tasks import events, feed, rows

QUIET = 1.0
"""Seconds after which a stream that nothing woke yields an empty batch."""

PACE = 0.1
"""Seconds between looks at most: a busy client's stream gathers."""

AGAIN = 1.0
"""Seconds after which a stream that could not read looks again."""

BATCH = 200

_FOR_NOW = (DatabaseUnavailableError, OverloadedError)

Event = Mapping[str, Any]
Batch = Sequence[Event]
PlaceT = TypeVar("PlaceT")
Page = Callable[[PlaceT], Awaitable[list[Event]]]


class Feed:
    """Reads the events of a client's tasks, in the order of the feed."""

    def __init__(self, database: Database, streams: Streams, waiters: Waiters) -> None:
        self._database = database
        self._streams = streams
        self._waiters = waiters

    async def history(
        self, client_id: UUID, task_id: UUID, *, after: int, limit: int
    ) -> list[Event]:
        """Return the task's next events, oldest first; raises as `Reader.task`."""
        _, found = await self._state_and_history(client_id, task_id, after=after, limit=limit)
        return found

    async def _state_and_history(
        self, client_id: UUID, task_id: UUID, *, after: int, limit: int
    ) -> tuple[State, list[Event]]:
        """Read the state first: of one that is final, the history has the end."""
        async with self._database.read(client_id) as connection:
            state = await rows.read_state(connection, client_id=client_id, task_id=task_id)
            if state is None:
                raise await missing(connection, client_id, task_id)
            found = await events.read_history(connection, task_id, after=after, limit=limit)
        return state, [dict(row) for row in found]

    async def feed(self, client_id: UUID, *, after: FeedPlace, limit: int) -> list[Event]:
        """Return the client's next events, oldest first; raises `CursorLostError`."""
        await self.find(client_id, after)
        return await self._page(client_id, after, limit)

    async def find(self, client_id: UUID, place: FeedPlace) -> None:
        """Raise `CursorLostError` for a place that this feed has not, or has with another event."""
        if place.position == 0:
            return
        async with self._database.read(client_id) as connection:
            if not await feed.knows(connection, client_id, place):
                raise cursor_lost()

    async def _page(self, client_id: UUID, after: FeedPlace, limit: int) -> list[Event]:
        async with self._database.read(client_id) as connection:
            found = await feed.read(connection, client_id, after=after, limit=limit)
        return [dict(row) for row in found]

    async def follow_task(
        self, client_id: UUID, task_id: UUID, *, after: int
    ) -> AsyncIterator[Batch]:
        """Yield the task's events as they come, until its final state; batches may be empty.

        Of one that is deleted meanwhile there are no more: that is its end too.
        """
        is_final = False

        async def page(last: int) -> list[Event]:
            nonlocal is_final
            with suppress(NotFoundError, TaskErasedError):
                own = (client_id, task_id)
                state, found = await self._state_and_history(*own, after=last, limit=BATCH)
                is_final = state in FINAL
                return found
            is_final = True
            return []

        def place(event: Event) -> int:
            found: int = event["id"]
            return found

        woken = self._streams.of_task(task_id)
        async for batch in self._followed(page, place, after, woken):
            yield batch or []
            if batch is None:
                continue
            if batch[-1]["to_state"] in FINAL if batch else is_final:
                return

    async def follow(self, client_id: UUID, *, after: FeedPlace) -> AsyncIterator[Batch]:
        """Yield the client's events as they come, in batches that may be empty."""

        async def page(last: FeedPlace) -> list[Event]:
            return await self._page(client_id, last, BATCH)

        def place(event: Event) -> FeedPlace:
            return FeedPlace(position=event["position"], token=event["token"])

        woken = self._streams.of_client(client_id)
        async for batch in self._followed(page, place, after, woken):
            yield batch or []

    async def _followed(
        self,
        page: Page[PlaceT],
        place: Callable[[Event], PlaceT],
        after: PlaceT,
        waking: AbstractContextManager[asyncio.Event],
    ) -> AsyncIterator[Batch | None]:
        """Yield page after page, each from the place of the event before it.

        None: nothing woke, or the database is away. A stream outlasts that: who reads it would
        come back to a refusal.
        """
        with waking as woken:
            while not self._waiters.is_closing:
                woken.clear()
                try:
                    batch = await page(after)
                except _FOR_NOW:
                    yield None
                    with resting():
                        await asyncio.sleep(AGAIN)
                    continue
                yield batch
                if batch:
                    after = place(batch[-1])
                if len(batch) < BATCH:
                    while not await self._is_woken(woken):
                        yield None
                    await asyncio.sleep(PACE)

    async def _is_woken(self, woken: asyncio.Event) -> bool:
        """Wait for something to have happened, the end of the process too; False: not so far."""
        with resting(), suppress(TimeoutError):
            async with asyncio.timeout(QUIET):
                await woken.wait()
        return woken.is_set() or self._waiters.is_closing
