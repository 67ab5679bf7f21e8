"""Waking streams: each by what happened to its own client or task, with one look for all of them.

A commit's announcement wakes a task's streams. What was numbered in the feed may be anybody's, so
one statement asks for all clients that listen in this process. Streams that nothing happened for
ask nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from uuid import UUID

from app.store.connections.engine import Connection, Database
from app.store.signals import ANYTHING, FEED, Signals
from app.store.tasks import events, feed

LOOK = 1.0
"""Seconds between looks that nothing woke: the guarantee, whatever announcements were lost."""

PACE = 0.05
"""Seconds between looks at most: what is numbered in quick succession is seen together."""


Newest = Callable[[Connection, Sequence[UUID]], Awaitable[Mapping[UUID, int]]]
"""Asks how far each of these has come."""


class _Followed:
    """What is followed in this process, how far each was seen to be, and who is to be woken."""

    def __init__(self, entered: asyncio.Event, *, begins_empty: bool) -> None:
        """`entered` is set with each stream.

        `begins_empty`: one of which nothing is found is new; else it is gone.
        """
        self._entered = entered
        self._begins_empty = begins_empty
        self._seen: dict[UUID, int] = {}
        self._streams: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)

    @property
    def ids(self) -> list[UUID]:
        return list(self._streams)

    @contextmanager
    def entered(self, one: UUID, event: asyncio.Event) -> Iterator[None]:
        """Have the event set when `one` has moved on, for the length of the block."""
        self._streams[one].add(event)
        self._entered.set()
        try:
            yield
        finally:
            self._streams[one].discard(event)
            if not self._streams[one]:
                del self._streams[one]
                self._seen.pop(one, None)

    def note(self, asked: Sequence[UUID], found: Mapping[UUID, int]) -> None:
        """Wake the streams of whatever is further than when it was seen last, or gone."""
        for one in asked:
            gone = one not in found and not self._begins_empty
            if gone or self._seen.get(one) != found.get(one):
                for event in self._streams.get(one, ()):
                    event.set()
            if one in self._streams and one in found:
                self._seen[one] = found[one]


class Streams:
    """Knows which clients' and which tasks' events are followed in this process."""

    def __init__(self, database: Database, signals: Signals) -> None:
        self._database = database
        self._signals = signals
        self._entered = asyncio.Event()
        self._clients = _Followed(self._entered, begins_empty=True)
        self._tasks = _Followed(self._entered, begins_empty=False)

    @contextmanager
    def of_client(self, client_id: UUID) -> Iterator[asyncio.Event]:
        """Lend an event that is set when the client's feed has gone on; the borrower clears it."""
        event = asyncio.Event()
        with self._clients.entered(client_id, event):
            yield event

    @contextmanager
    def of_task(self, task_id: UUID) -> Iterator[asyncio.Event]:
        """Lend an event that is set when the task has changed; the borrower clears it."""
        with (
            self._signals.subscribed(task_id.hex) as event,
            self._tasks.entered(task_id, event),
        ):
            yield event

    @contextmanager
    def of_all(self) -> Iterator[asyncio.Event]:
        """Lend an event that is set when anything was announced; the borrower clears it."""
        with self._signals.subscribed(*ANYTHING) as event:
            yield event

    async def run(self) -> None:
        """Look for all streams until cancelled."""
        clock = asyncio.get_running_loop().time
        with self._signals.subscribed(FEED) as numbered:
            while True:
                await self._somebody_follows()
                await self._look(self._tasks, events.newest)
                until = clock() + LOOK
                while (left := until - clock()) > 0:
                    numbered.clear()
                    await self._look(self._clients, feed.newest)
                    await asyncio.sleep(PACE)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(left):
                            await numbered.wait()

    async def _somebody_follows(self) -> None:
        """Sleep while nobody does."""
        while not (self._clients.ids or self._tasks.ids):
            self._entered.clear()
            await self._entered.wait()

    async def _look(self, followed: _Followed, newest: Newest) -> None:
        asked = followed.ids
        if asked:
            async with self._database.read() as connection:
                found = await newest(connection, asked)
            followed.note(asked, found)
