"""Connections between two uses: who comes next gets the one that was used last.

SQLAlchemy opens, judges and closes them. To check one out of its pool and in again, and to open
and end a transaction by it, switches greenlets four times and costs more than a read's own
statement, so what is idle stays checked out here. The one used last has most of its statements
prepared.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection, event, exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.store.connections.prepared import commit

_OPENED = "opened"


class Lender:
    """Lends connections of an engine whose pool has one for each borrower.

    `recycle_after`: seconds after which one goes back to the pool, to be opened anew.
    """

    def __init__(self, engine: AsyncEngine, *, recycle_after: float) -> None:
        self._engine = engine
        self._recycle_after = recycle_after
        self._idle: list[AsyncConnection] = []
        self._losses = 0
        event.listen(engine.sync_engine, "invalidate", self._lost)

    @property
    def idle(self) -> int:
        """How many connections are checked out of the pool, and not lent."""
        return len(self._idle)

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[AsyncConnection]:
        """Lend one on which each statement is a transaction."""
        connection = await self._take()
        adapter = _adapter(connection)
        adapter.autocommit = True
        try:
            yield connection
        finally:
            adapter.autocommit = False
            await self._give_back(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Lend one for a transaction, which is committed unless the block raises.

        BEGIN goes out with its first statement.
        """
        connection = await self._take()
        try:
            begun = _sync(connection).begin()
            yield connection
            if begun.is_active:
                await commit(connection)
        finally:
            await self._give_back(connection)

    async def close(self) -> None:
        """Give what is idle back to the pool."""
        while self._idle:
            await _closed(self._idle.pop())

    async def _take(self) -> AsyncConnection:
        while self._idle:
            connection = self._idle.pop()
            if self._is_good(connection):
                return connection
            await _closed(connection)
        connection = await self._engine.connect().start()
        connection.info[_OPENED] = (self._losses, connection.info.get(_OPENED, (0, _now()))[1])
        return connection

    def _is_good(self, connection: AsyncConnection) -> bool:
        """Tell whether it may be lent again; else the pool judges it, and opens it anew.

        Where one was lost, those that were opened before it may lead to the same lost server.
        """
        losses, opened = connection.info[_OPENED]
        fresh: bool = losses == self._losses and _now() - opened < self._recycle_after
        return fresh and not _adapter(connection).driver_connection.is_closed()

    def _lost(self, *_: object) -> None:
        self._losses += 1

    async def _give_back(self, connection: AsyncConnection) -> None:
        sync = _sync(connection)
        if not sync.invalidated and _adapter(connection).driver_connection.is_in_transaction():
            await _rolled_back(connection)
        if sync.closed or sync.invalidated:
            await _closed(connection)
            return
        if (left := sync.get_transaction()) is not None:
            left.close()  # it sends nothing: there is no transaction behind it
        self._idle.append(connection)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _sync(connection: AsyncConnection) -> Connection:
    found = connection.sync_connection
    if found is None:
        raise exc.ResourceClosedError
    return found


def _adapter(connection: AsyncConnection) -> Any:  # noqa: ANN401  # SQLAlchemy's, around the driver's
    return _sync(connection).connection.dbapi_connection


async def _rolled_back(connection: AsyncConnection) -> None:
    """Undo what was not committed; where that fails, the connection is of no more use."""
    try:
        await connection.rollback()
    except Exception:  # noqa: BLE001  # what the block raised says more
        await connection.invalidate()
    except BaseException:
        await connection.invalidate()
        raise


async def _closed(connection: AsyncConnection) -> None:
    """Give it back to the pool, also where who waits for that is cancelled."""
    await asyncio.shield(asyncio.ensure_future(connection.close()))
