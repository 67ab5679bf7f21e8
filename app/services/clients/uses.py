"""Keys in use: when each was used last, and who holds an answer open by one that has ended.

One loop per process writes and looks for all of them, so that a request costs neither.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

from app.domain.access import Caller
from app.domain.errors import UnauthenticatedError
from app.store.clients import admin_keys, clients
from app.store.connections.engine import Database

LOOK = 10.0
"""Seconds between looks at the keys by which answers are held open."""

WRITE = 60.0
"""Seconds for which uses are gathered."""

Result = TypeVar("Result")


class Hold:
    """An answer that is held open by a key."""

    def __init__(self, end: Callable[[], None]) -> None:
        self.is_over = False
        """The key opens nothing any more."""
        self._end = end

    def end(self) -> None:
        """Say so, once."""
        if not self.is_over:
            self.is_over = True
            self._end()


class Uses:
    """Knows which keys were used in this process, and which hold an answer open."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: set[UUID] = set()
        self._admin_keys: set[UUID] = set()
        self._holds: defaultdict[UUID, set[Hold]] = defaultdict(set)

    def note_key(self, key_id: UUID) -> None:
        self._keys.add(key_id)

    def note_admin_key(self, key_id: UUID) -> None:
        self._admin_keys.add(key_id)

    @contextmanager
    def holding(self, caller: Caller, end: Callable[[], None] = lambda: None) -> Iterator[Hold]:
        """Watch the caller's key for the length of the block; `end` is called once it has ended."""
        hold = Hold(end)
        self._holds[caller.key_id].add(hold)
        try:
            yield hold
        finally:
            self._holds[caller.key_id].discard(hold)
            if not self._holds[caller.key_id]:
                del self._holds[caller.key_id]

    async def held(self, caller: Caller, waiting: Awaitable[Result]) -> Result:
        """Wait for it; raises `UnauthenticatedError` as soon as the caller's key has ended."""
        loop = asyncio.get_running_loop()
        hold = None
        try:
            async with asyncio.timeout(None) as bound:
                with self.holding(caller, lambda: bound.reschedule(loop.time())) as hold:
                    return await waiting
        except TimeoutError:
            if hold is None or not hold.is_over:
                raise
        detail = (
            "While this was held, the key was revoked, has expired, or its client was disabled. "
            "Use another key."
        )
        raise UnauthenticatedError(detail)

    async def run(self) -> None:
        """Look and write until cancelled."""
        loop = asyncio.get_running_loop()
        write_at = loop.time() + WRITE
        while True:
            await asyncio.sleep(LOOK)
            await self.look()
            if loop.time() >= write_at:
                write_at = loop.time() + WRITE
                await self.write()

    async def look(self) -> None:
        """End what is held open by keys that have ended."""
        ids = set(self._holds)
        if not ids:
            return
        async with self._database.read() as connection:
            ended = ids - await clients.living(connection, ids)
        for hold in [hold for key_id in ended for hold in self._holds.get(key_id, ())]:
            hold.end()

    async def write(self) -> None:
        """Write down which keys were used since the last time."""
        keys, operators = frozenset(self._keys), frozenset(self._admin_keys)
        if keys or operators:
            async with self._database.begin() as connection:
                await clients.note_used(connection, keys)
                await admin_keys.note_used(connection, operators)
        self._keys -= keys
        self._admin_keys -= operators
