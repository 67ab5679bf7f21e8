"""Connections to PostgreSQL: pools of them, and one way to say that the database is away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from sqlalchemy import event, exc, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import QueuePool

from app.domain.errors import DatabaseUnavailableError, OverloadedError
from app.domain.exact_json import read, render
from app.domain.retry import backoff
from app.store.connections.connecting import DURABLE_TRANSACTION, Connector
from app.store.connections.lending import Lender
from app.store.connections.sharing import ASKING, ERRAND, Turns
from app.store.connections.trouble import MAYBE_AWAY, away, is_integrity, is_unusable

Connection = AsyncConnection
"""A connection as services pass it on; they know no more of SQLAlchemy."""

Row = Mapping[Any, Any]
"""A row as services pass it on: its values by column."""

Columns = Mapping[str, Any]
"""The columns of a row as its client sees them."""

Result = TypeVar("Result")

_Lend = Callable[[], AbstractAsyncContextManager[AsyncConnection]]

_POOL_TIMEOUT = 5.0

ENOUGH = 3
"""Places for reads of which no caller has all: to wait for the end of a long one is long."""

LOOK_UPS = 2
"""Keys that are looked up at once, at a millisecond each: all other places are for work."""

_RECYCLE_AFTER = 900
"""Seconds after which a connection is replaced: what it was opened to may have changed since."""

_AFTER_COMMIT = "after_commit"

log = structlog.get_logger(__name__)

_DURABLE = text(DURABLE_TRANSACTION)


class Database:
    """The pool.

    `dsn` is a URL that asyncpg reads, `pool_size` the most connections it holds and
    `command_timeout` the seconds that a statement may take (None: any time, for migrations).
    """

    def __init__(
        self, dsn: str, *, pool_size: int = 10, command_timeout: float | None = 15.0
    ) -> None:
        self.pool_size = pool_size
        # Reads leave half to keys that are checked and to creates, which wait behind no list.
        places = max(1, pool_size // 2)
        self._reads = Turns(places, kept=int(places >= ENOUGH))
        self._look_ups = Turns(LOOK_UPS)
        self._writes = Turns(max(1, pool_size - 1))
        self._connections = Turns(pool_size)
        self._connector = Connector(dsn, command_timeout=command_timeout)
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            creator=self._open,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=_POOL_TIMEOUT,
            pool_recycle=_RECYCLE_AFTER,
            hide_parameters=True,  # they hold callers' inputs and URLs
            json_serializer=render,
            json_deserializer=read,
        )
        self._begun: _Lend = self._engine.begin
        self._read: _Lend = self._engine.begin
        event.listen(self._engine.sync_engine, "checkout", _renew_if_closed)
        event.listen(self._engine.sync_engine, "handle_error", _drop_if_unusable)
        self._lender = Lender(self._engine, recycle_after=_RECYCLE_AFTER)
        if self._connector.prepares:
            self._begun, self._read = self._lender.transaction, self._lender.autocommit

    def _open(self) -> Any:  # noqa: ANN401  # SQLAlchemy's adapter around the driver's connection
        unnamed = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
        dbapi: Any = self._engine.dialect.dbapi
        return dbapi.connect(
            async_creator_fn=self._connector, **({} if self._connector.prepares else unnamed)
        )

    @property
    def checked_out(self) -> int:
        """How many connections are in use."""
        pool = self._engine.pool
        return pool.checkedout() - self._lender.idle if isinstance(pool, QueuePool) else 0

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction; raises `DatabaseUnavailableError` when its fate may be unknown.

        Callers take turns, as at `read`.
        """
        async with self._borrowed(self._writes, ASKING.get(), self._begun) as connection:
            acts = connection.info[_AFTER_COMMIT] = []
            if self._connector.is_pooled:
                await connection.execute(_DURABLE)
            yield connection
        for act in acts:
            act()

    @asynccontextmanager
    async def read(self, whose: Hashable = None) -> AsyncIterator[AsyncConnection]:
        """Lend a connection on which each statement is a transaction: saves two round trips.

        `whose` names a caller: callers take turns, so that one with a thousand requests holds up
        nobody but itself; raises `OverloadedError` where its turn does not come in time.

        Where statements are not prepared, all are one: a pooler may lend us another session after
        each, and asyncpg parses and executes in two steps.
        """
        async with self._borrowed(self._reads, whose, self._read) as connection:
            yield connection

    @asynccontextmanager
    async def look_up(self, whose: Hashable) -> AsyncIterator[AsyncConnection]:
        """Lend one as `read` does, for a statement so brief that it waits behind no list."""
        async with self._borrowed(self._look_ups, whose, self._read) as connection:
            yield connection

    @asynccontextmanager
    async def _borrowed(
        self, turns: Turns, whose: Hashable, lend: _Lend
    ) -> AsyncIterator[AsyncConnection]:
        """Lend one when it is the turn of `whose`, and of this errand among all at the pool."""
        if whose is not None:
            await _its_turn(turns, whose)
        try:
            with _raising_unavailable():
                errand = ERRAND.get()
                await self._connections.enter_within(errand, _POOL_TIMEOUT)
                try:
                    async with lend() as connection:
                        yield connection
                finally:
                    self._connections.leave(errand)
        finally:
            if whose is not None:
                turns.leave(whose)

    @asynccontextmanager
    async def at_once(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection for one statement that writes, and commits by itself.

        A process that stands still cannot do so between the two, and keep its locks.
        """
        async with self.read() as connection:
            yield connection

    @asynccontextmanager
    async def own_connection(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection whose transactions are the borrower's: for migrations."""
        await self._lender.close()
        async with self._engine.connect() as connection:
            yield connection

    async def run(
        self,
        work: Callable[[AsyncConnection], Awaitable[Result]],
        *,
        patience: float = 10.0,
        insist: bool = False,
        at_once: bool = False,
    ) -> Result:
        """Carry out `work` in a transaction, again while the database is away.

        `work` must be idempotent: when a commit's answer is lost it runs a second time, sees its
        own rows and returns the same. Raises `DatabaseUnavailableError` after `patience` seconds,
        in which a try may be under way.

        `insist`: what is to be written is paid for, or was said once. Then whatever goes wrong is
        tried again until patience is over, but for rows that contradict each other twice.

        `at_once`: it is one statement, which commits by itself; through a pooler, in a transaction
        as `begin` opens it, which is as durable.
        """
        deadline = asyncio.get_running_loop().time() + patience
        tries = contradictions = 0
        while True:
            try:
                with _raising_unavailable():
                    by_itself = at_once and not self._connector.is_pooled
                    opened = self.at_once() if by_itself else self.begin()
                    async with asyncio.timeout_at(deadline), opened as connection:
                        return await work(connection)
            except DatabaseUnavailableError as error:
                trouble: Exception = error
            except Exception as error:
                contradictions += is_integrity(error)
                if not insist or contradictions > 1:
                    raise
                trouble = error
            tries += 1
            wait = backoff(tries, first=0.05, ceiling=1.0, share=0.0)
            if asyncio.get_running_loop().time() + wait > deadline:
                raise trouble
            log.warning("database.retry", tries=tries, error=_name(trouble))
            await asyncio.sleep(wait)

    async def close_idle(self) -> None:
        """Give to SQLAlchemy's pool what is lent to nobody."""
        await self._lender.close()

    async def dispose(self) -> None:
        await self.close_idle()
        await self._engine.dispose()


async def _its_turn(turns: Turns, whose: Hashable) -> None:
    """Wait for the caller's turn, until `leave`; raises `OverloadedError`."""
    try:
        await turns.enter_within(whose, _POOL_TIMEOUT)
    except TimeoutError:
        detail = "The database is busy, and it was not your turn in time. Repeat it later."
        raise OverloadedError(detail) from None


def after_commit(connection: AsyncConnection, act: Callable[[], None]) -> None:
    """Have `act` called once `Database.begin`'s transaction is committed; else never."""
    connection.info[_AFTER_COMMIT].append(act)


SHARE = 0.4
"""Of a process's connections, those that callers' requests cannot take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """A process's connections: those for callers' requests, and those for what must not wait.

    The loops, kie.ai's callbacks and the record of what was paid are `working`: however many
    readers there are, they wait for none of them. With one connection in all, both are the same.
    """

    callers: Database
    working: Database

    @classmethod
    def of(cls, dsn: str, size: int) -> "Pools":
        """Divide so many connections to `dsn`: two fifths, and two where possible, are kept."""
        kept = min(max(2, round(SHARE * size)), size - 1)
        callers = Database(dsn, pool_size=size - kept)
        working = Database(dsn, pool_size=kept) if kept else callers
        return cls(callers=callers, working=working)

    @property
    def size(self) -> int:
        return sum(pool.pool_size for pool in {self.callers, self.working})

    @property
    def checked_out(self) -> int:
        """How many connections are in use."""
        return sum(pool.checked_out for pool in {self.callers, self.working})

    async def dispose(self) -> None:
        await self.callers.dispose()
        await self.working.dispose()


def _renew_if_closed(connection: Any, *_: object) -> None:  # noqa: ANN401  # SQLAlchemy's own
    """Replace a connection that was closed while it lay idle: known without asking the server."""
    if connection.driver_connection.is_closed():
        raise exc.DisconnectionError


def _drop_if_unusable(context: ExceptionContext) -> None:
    """Keep no session of a server that takes no writes: all others lead there as well."""
    if is_unusable(context.original_exception):
        context.is_disconnect = True


@contextmanager
def _raising_unavailable() -> Iterator[None]:
    try:
        yield
    except MAYBE_AWAY as error:
        cause = away(error)
        if cause is None:
            raise
        detail = "PostgreSQL does not answer. Repeat the request with the same Idempotency-Key."
        raise DatabaseUnavailableError(detail) from cause


def _name(error: Exception) -> str:
    """Name the error without its text, which may quote values."""
    return type(error.__cause__ or error).__name__
