"""Wake-ups between processes by LISTEN and NOTIFY; polling stays the guarantee.

NOTIFY is never sent inside a durable transaction: it holds one lock for the whole database through
the commit (measured with a 2 ms fsync: 370 commits a second instead of 5,400). What was announced
after commits goes out on a connection of its own: the first after a pause within `GATHER` seconds,
then what has come together in `PACE`.
"""

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeAlias
from uuid import UUID

import asyncpg
from sqlalchemy import func, select

from app.domain.errors import DatabaseUnavailableError
from app.store.connections.connecting import Connector
from app.store.connections.engine import Database
from app.store.connections.trouble import MAYBE_AWAY, away

CHANNEL = "kie_gateway"
GATHER = 0.005
PACE = 0.05
"""Seconds between two messages of a process at least: each is a statement, and wakes all others."""
BATCH = 180
"""Topics in one message: 180 of 40 bytes and a comma stay under PostgreSQL's 8,000."""

_TASK_DIGITS = 32
_CLOSED = "the listening connection was closed"

QUEUE = "queue"
"""Something may be sent that could not before."""
ROOM = "room"
"""A slot or a seat came free: of use only where tasks wait for it."""
POLL = "poll"
PROBE = "probe"
SWEEP = "sweep"
DELIVER = "deliver"
ARCHIVE = "archive"
KEYS = "keys"
"""An API key or its client has changed."""
FEED = "feed"
"""Events have got their positions in the feed."""
TASKS = "tasks"
"""Never announced: it is woken by the topic of every task."""
ERASE = "erase"
"""A client was marked to be erased."""
EVERYTHING = "*"
"""Anything may have happened: the connection was away."""

ANYTHING = (TASKS, QUEUE, ROOM, POLL, PROBE, DELIVER, ARCHIVE, KEYS, FEED, ERASE, EVERYTHING)
"""All but the sweep, which rings whether or not there is something to do."""

_AFTER = "+"
_GRID = 0.1
"""Seconds: alarms for later are rung together, a little late rather than each by itself."""
_HORIZON = 60.0
"""Seconds beyond which no alarm is kept: what is due then is found by looking."""


def after(topic: str, seconds: float) -> str:
    """Return what is announced where there will be something to do in so many seconds."""
    return f"{topic}{_AFTER}{seconds:.3f}" if seconds > 0 else topic


_Listening: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)


class Alarm:
    """Rings when something was announced, or at the instant that the announcement named."""

    def __init__(self, only_if: Mapping[str, Callable[[], bool]]) -> None:
        """`only_if`: of these topics it rings only where that is so at the moment."""
        self._clock = asyncio.get_running_loop().time
        self._only_if = only_if
        self._set: dict[float, set[str]] = {}
        self._changed = asyncio.Event()
        self._sleeps_until = math.inf

    def set(self, topic: str, at: float) -> None:
        """Ring at that time of the event loop's clock."""
        now = self._clock()
        if at > now + _HORIZON:
            return
        at = at if at > now else 0.0
        self._set.setdefault(at, set()).add(topic)
        if at < self._sleeps_until:
            self._changed.set()

    def clear(self, *, all_: bool) -> None:
        """Forget what should have rung by now, or all."""
        now = self._clock()
        self._set = {} if all_ else {at: of for at, of in self._set.items() if at > now}

    async def wait(self, seconds: float) -> None:
        """Wait until it rings, at most for so many seconds."""
        until = self._clock() + seconds
        while not self._rings():
            self._changed.clear()
            next_at = min((*self._set, until))
            if self._clock() >= until:
                return
            self._sleeps_until = next_at
            with suppress(TimeoutError):
                async with asyncio.timeout_at(next_at):
                    await self._changed.wait()

    def _rings(self) -> bool:
        now = self._clock()
        while self._set and (at := min(self._set)) <= now:
            if any(topic not in self._only_if or self._only_if[topic]() for topic in self._set[at]):
                return True
            del self._set[at]
        return False


_ERASED = "erased-"


def erased(task_id: UUID) -> str:
    """Return the topic of a task that is no more: nobody needs to wait for it."""
    return f"{_ERASED}{task_id.hex}"


def erased_in(topic: str) -> UUID | None:
    """Return the task that a topic says is no more; None: it says something else."""
    return UUID(hex=topic.removeprefix(_ERASED)) if topic.startswith(_ERASED) else None


class Signals:
    """Wakes who waits for a topic when something was committed about it.

    A topic is one of the constants above or a task's id as 32 hex digits; `after` says when there
    will be something to do. A wake-up may be lost or come twice: who is woken looks again.
    """

    def __init__(self, dsn: str) -> None:
        self._connect = Connector(dsn)
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._alarms: defaultdict[str, set[Alarm]] = defaultdict(set)
        self._taps: list[Callable[[str], None]] = []
        self._outgoing: set[tuple[str, float]] = set()
        """Topics, and when each is due by the loop's clock; 0: at once."""
        self._anything = asyncio.Event()
        self._sent_at = 0.0

    def announce(self, *topics: str) -> None:
        """Wake everyone, in every process. Call it only after the commit."""
        for announced in topics:
            topic, at = _read(announced)
            self._wake(topic, at)
            self._outgoing.add((topic, at))
        if topics:
            self._anything.set()

    @contextmanager
    def subscribed(self, *topics: str) -> Iterator[asyncio.Event]:
        """Lend an event that is set when a topic is announced; the borrower clears it."""
        event = asyncio.Event()
        for topic in topics:
            self._waiting[topic].add(event)
        try:
            yield event
        finally:
            for topic in topics:
                self._waiting[topic].discard(event)
                if not self._waiting[topic]:
                    del self._waiting[topic]

    @contextmanager
    def alarm(
        self, *topics: str, only_if: Mapping[str, Callable[[], bool]] | None = None
    ) -> Iterator[Alarm]:
        """Lend an alarm for what is announced of the topics."""
        alarm = Alarm(only_if or {})
        for topic in topics:
            self._alarms[topic].add(alarm)
        try:
            yield alarm
        finally:
            for topic in topics:
                self._alarms[topic].discard(alarm)

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
            # What was announced while nobody listened.
            for topic in (*self._waiting, *self._alarms, EVERYTHING):
                self._wake(topic)
            while True:
                await self._send_gathered(connection)
        finally:
            connection.terminate()

    async def _send_gathered(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        await _set_or_closed(self._anything, connection)
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(max(GATHER, self._sent_at + PACE - clock()))
        self._anything.clear()
        self._sent_at = now = clock()
        topics = [after(topic, at - now) for topic, at in sorted(self._outgoing)]
        self._outgoing.clear()
        for start in range(0, len(topics), BATCH):
            message = ",".join(topics[start : start + BATCH])
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, message)

    def _heard(
        self,
        connection: "_Listening",
        sender: int,
        _: str,
        message: object,
    ) -> None:
        if sender == connection.get_server_pid():
            return  # our own: whom it concerns here was woken as it was announced
        for announced in str(message).split(","):
            self._wake(*_read(announced))

    def _wake(self, topic: str, at: float = 0.0) -> None:
        kinds = (topic, TASKS) if len(topic) == _TASK_DIGITS else (topic,)
        for kind in kinds:
            for event in self._waiting.get(kind, ()):
                event.set()
            for alarm in self._alarms.get(kind, ()):
                alarm.set(topic, at)
        for hear in self._taps:
            hear(topic)


async def announce_now(database: Database, topic: str) -> None:
    """Wake everyone by a statement of its own: from a process that may end before others are told.

    For rare changes, after their commit. Where the database is away, nobody is woken.
    """
    with suppress(DatabaseUnavailableError):
        async with database.at_once() as connection:
            await connection.execute(select(func.pg_notify(CHANNEL, topic)))


def _read(announced: str) -> tuple[str, float]:
    """Return the topic, and when it is due by the loop's clock; 0: at once."""
    topic, _, seconds = announced.partition(_AFTER)
    if not seconds:
        return topic, 0.0
    at = asyncio.get_running_loop().time() + float(seconds)
    return topic, (at // _GRID + 1) * _GRID


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
