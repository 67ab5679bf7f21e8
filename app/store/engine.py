"""Connections to PostgreSQL: one pool, and one way to say that the database is away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import asyncpg
import structlog
from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import QueuePool

from app.domain.errors import DatabaseUnavailableError
from app.domain.exact_json import read, render
from app.domain.retry import backoff

Connection = AsyncConnection
"""A connection as services pass it on; they know no more of SQLAlchemy."""

Row = Mapping[Any, Any]
"""A row as services pass it on: its values by column."""

Columns = Mapping[str, Any]
"""The columns of a row as its client sees them."""

Result = TypeVar("Result")

_AWAY: tuple[type[BaseException], ...] = (
    OSError,  # refused, reset, unreachable, and TimeoutError
    exc.TimeoutError,  # no free connection in the pool
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,  # the connection was closed under us
    asyncpg.exceptions.OperatorInterventionError,  # 57P01 to 57P03: shutting down, starting up
    asyncpg.TooManyConnectionsError,
    asyncpg.DeadlockDetectedError,  # our transaction was rolled back: as good as a reset
)

_MAYBE_AWAY: tuple[type[BaseException], ...] = (*_AWAY, exc.DBAPIError)

_CONNECT_TIMEOUT = 5.0
_POOL_TIMEOUT = 5.0

log = structlog.get_logger(__name__)


async def connect(
    dsn: str, *, command_timeout: float | None = 15.0
) -> "asyncpg.Connection[asyncpg.Record]":
    """Open a connection; `dsn` is a URL that asyncpg reads.

    Raises `ConnectionError` whyever the server does not let us in: an operator may change its mind.
    """
    try:
        return await asyncpg.connect(
            dsn,
            timeout=_CONNECT_TIMEOUT,
            command_timeout=command_timeout,
            server_settings={"application_name": "kie-gateway"},
        )
    except asyncpg.PostgresError as error:
        raise ConnectionError(str(error)) from error


class Database:
    """The pool.

    `dsn` is a URL that asyncpg reads, `pool_size` the most connections it holds and
    `command_timeout` the seconds that a statement may take (None: any time, for migrations).
    """

    def __init__(
        self, dsn: str, *, pool_size: int = 10, command_timeout: float | None = 15.0
    ) -> None:
        self.pool_size = pool_size
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda: connect(dsn, command_timeout=command_timeout),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=_POOL_TIMEOUT,
            hide_parameters=True,  # they hold callers' inputs and URLs
            json_serializer=render,
            json_deserializer=read,
        )
        event.listen(self._engine.sync_engine, "checkout", _renew_if_closed)
        self._reading = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def checked_out(self) -> int:
        """How many connections are in use."""
        pool = self._engine.pool
        return pool.checkedout() if isinstance(pool, QueuePool) else 0

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction; raises `DatabaseUnavailableError` when its fate may be unknown."""
        with _raising_unavailable():
            async with self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection on which each statement is a transaction: saves two round trips."""
        with _raising_unavailable():
            async with self._reading.connect() as connection:
                yield connection

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
        async with self._engine.connect() as connection:
            yield connection

    async def run(
        self,
        work: Callable[[AsyncConnection], Awaitable[Result]],
        *,
        patience: float = 10.0,
    ) -> Result:
        """Carry out `work` in a transaction, again while the database is away.

        `work` must be idempotent: when a commit's answer is lost it runs a second time, sees its
        own rows and returns the same. Raises `DatabaseUnavailableError` after `patience` seconds,
        in which a try may be under way.
        """
        deadline = asyncio.get_running_loop().time() + patience
        tries = 0
        while True:
            try:
                with _raising_unavailable():
                    async with asyncio.timeout_at(deadline), self.begin() as connection:
                        return await work(connection)
            except DatabaseUnavailableError:
                tries += 1
                wait = backoff(tries, first=0.05, ceiling=1.0, share=0.0)
                if asyncio.get_running_loop().time() + wait > deadline:
                    raise
                log.warning("database.retry", tries=tries)
                await asyncio.sleep(wait)

    async def dispose(self) -> None:
        await self._engine.dispose()


def _renew_if_closed(connection: Any, *_: object) -> None:  # noqa: ANN401  # SQLAlchemy's own
    """Replace a connection that was closed while it lay idle: known without asking the server."""
    if connection.driver_connection.is_closed():
        raise exc.DisconnectionError


@contextmanager
def _raising_unavailable() -> Iterator[None]:
    try:
        yield
    except _MAYBE_AWAY as error:
        cause = _away(error)
        if cause is None:
            raise
        detail = "PostgreSQL does not answer. Repeat the request with the same Idempotency-Key."
        raise DatabaseUnavailableError(detail) from cause


def _away(error: BaseException | None) -> BaseException | None:
    """Find the driver's error in the chain: SQLAlchemy and its adapter each wrap it once."""
    while error is not None:
        if isinstance(error, _AWAY):
            return error
        if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
            return error
        error = error.__cause__
    return None
