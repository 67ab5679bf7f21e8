"""Wake-ups between processes by LISTEN and NOTIFY; polling stays the guarantee.

NOTIFY is never sent inside a durable transaction: it holds one lock for the whole database through
the commit (measured with a 2 ms fsync: 370 commits a second instead of 5,400). What was announced
after commits within `GATHER` seconds goes out in one statement on a connection of its own.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg

from app.store.connecting import Connector
from app.store.trouble import MAYBE_AWAY, away

CHANNEL = "kie_gateway"
GATHER = 0.005
BATCH = 200
"""Topics in one message: 200 of 33 bytes stay under PostgreSQL's 8,000."""

_TASK_DIGITS = 32
_CLOSED = "the listening connection was closed"

QUEUE = "queue"
POLL = "poll"
PROBE = "probe"
SWEEP = "sweep"
DELIVER = "deliver"
ARCHIVE = "archive"
FEED = "feed"
"""Events have got their positions in the feed."""
TASKS = "tasks"
"""Never announced: it is woken by the topic of every task."""
EVERYTHING = "*"
"""Anything may have happened: the connection was away."""


class Signals:
    """Wakes who waits for a topic when something was committed about it.

    A topic is one of the constants above or a task's id as 32 hex digits. A wake-up may be lost or
    come twice: whoever is woken looks again.
    """

    def __init__(self, dsn: str) -> None:
        self._connect = Connector(dsn)
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._taps: list[Callable[[str], None]] = []
        self._outgoing: set[str] = set()
        self._anything = asyncio.Event()

    def announce(self, *topics: str) -> None:
        """Wake everyone, in every process. Call it only after the commit."""
        for topic in topics:
            self._wake(topic)
        self._outgoing.update(topics)
        self._anything.set()

    @contextmanager
    def subscribed(self, topic: str) -> Iterator[asyncio.Event]:
        """Lend an event that is set when the topic is announced; the borrower clears it."""
        event = asyncio.Event()
        self._waiting[topic].add(event)
        try:
            yield event
        finally:
            self._waiting[topic].discard(event)
            if not self._waiting[topic]:
                del self._waiting[topic]

    def tap(self, hear: Callable[[str], None]) -> None:
        """Call `hear` with every topic announced, and with `EVERYTHING` after a lost connection."""
        self._taps.append(hear)

    async def run(self) -> None:
        """Listen and send until cancelled; raises `ConnectionError` when the connection is lost."""
        try:
            await self._run()
        except MAYBE_AWAY as error:
            if away(error) is None:
                raise
            raise ConnectionError(_CLOSED) from error

    async def _run(self) -> None:
        connection = await self._connect()
        try:
            await connection.add_listener(CHANNEL, self._heard)
            for topic in (*self._waiting, EVERYTHING):  # what was announced while nobody listened
                self._wake(topic)
            while True:
                await self._send_gathered(connection)
        finally:
            connection.terminate()

    async def _send_gathered(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        await _set_or_closed(self._anything, connection)
        await asyncio.sleep(GATHER)
        self._anything.clear()
        topics = sorted(self._outgoing)
        self._outgoing.clear()
        for start in range(0, len(topics), BATCH):
            message = ",".join(topics[start : start + BATCH])
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, message)

    def _heard(self, *heard: object) -> None:
        *_, message = heard
        for topic in str(message).split(","):
            self._wake(topic)

    def _wake(self, topic: str) -> None:
        kinds = (topic, TASKS) if len(topic) == _TASK_DIGITS else (topic,)
        for event in (one for kind in kinds for one in self._waiting.get(kind, ())):
            event.set()
        for hear in self._taps:
            hear(topic)


async def _set_or_closed(
    event: asyncio.Event, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Wait for the event; raise when the connection goes away meanwhile, or has gone."""
    if connection.is_closed():  # it would call no listener any more
        raise ConnectionError(_CLOSED)
    closed = asyncio.get_running_loop().create_future()

    def on_close(_: object) -> None:
        if not closed.done():
            closed.set_exception(ConnectionError(_CLOSED))

    connection.add_termination_listener(on_close)
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({waiting, closed}, return_when=asyncio.FIRST_COMPLETED)
        if closed.done():
            closed.result()
    finally:
        waiting.cancel()
        connection.remove_termination_listener(on_close)
        closed.cancel()
