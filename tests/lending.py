"""Pools that go from gateway to gateway: opening connections was most of what starting one took.

A connection costs a process of PostgreSQL's with cold caches, and each statement is parsed and
planned anew on it. Who gets a pool has it for itself, and gives it back idle. Who cuts
connections or changes what a session starts with uses a database of its own, or a `Database`.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from typing_extensions import override

from app.store.connections.engine import Database, Pools

KEPT = 2
"""Pools of one size that are kept."""

OPEN = 4
"""Connections that stay open in a kept pool: servers admit few."""

_Key = tuple[str, int]
_lent_for: list[str] = []
_idle: dict[_Key, list[Pools]] = {}


class Lent(Pools):
    """Pools that are given back where others would be closed."""

    __slots__ = ("key",)

    key: _Key

    @override
    @classmethod
    def of(cls, dsn: str, size: int) -> "Lent":
        key = (dsn, size)
        kept = _idle.get(key, [])
        made = kept.pop() if kept else super().of(dsn, size)
        assert isinstance(made, cls)
        object.__setattr__(made, "key", key)
        return made

    @override
    async def dispose(self) -> None:
        kept = _idle.setdefault(self.key, [])
        if self.key[0] in _lent_for and len(kept) < KEPT and await self._is_idle():
            kept.append(self)
        else:
            await super().dispose()

    async def _is_idle(self) -> bool:
        """Close what is more than `OPEN` of each pool; False: somebody still has a connection."""
        pools = {self.callers, self.working}
        for pool in pools:
            await _put_back(pool)
        given_back: list[Any] = [pool._engine.pool for pool in pools]
        return all(pool.checkedout() == 0 for pool in given_back)


async def _put_back(database: Database) -> None:
    """Have what was used last be lent first, and close what has waited the longest."""
    used = database._lender.idle
    await database.close_idle()
    pool: Any = database._engine.pool
    waiting = pool._pool._queue._queue
    waiting.rotate(used)  # they went to its end, the last used first
    for record in list(waiting)[OPEN:]:
        if (connection := record.driver_connection) is not None:
            await connection.close()  # is opened anew when it is lent


@asynccontextmanager
async def lending(dsn: str) -> AsyncIterator[None]:
    """Keep pools of this database between gateways; all are closed with the block."""
    _lent_for.append(dsn)
    try:
        yield
    finally:
        _lent_for.remove(dsn)
        for key in [key for key in _idle if key[0] == dsn]:
            for pools in _idle.pop(key):
                await Pools.dispose(pools)


@contextmanager
def owning() -> Iterator[None]:
    """Have gateways that start within the block open connections of their own, and close them."""
    kept = _lent_for[:], dict(_idle)
    _lent_for.clear()
    _idle.clear()
    try:
        yield
    finally:
        _lent_for[:] = kept[0]
        _idle.update(kept[1])


@asynccontextmanager
async def lent(dsn: str) -> AsyncIterator[Database]:
    """Lend one connection for something short."""
    pools = Lent.of(dsn, 1)
    try:
        yield pools.callers
    finally:
        await pools.dispose()
