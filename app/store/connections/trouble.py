"""What an error of PostgreSQL's means: that it is away for now, or that something is wrong."""

import asyncpg
from sqlalchemy import exc

READ_ONLY = "25006"
"""The session was lent by a server that takes no writes (any more)."""

_AWAY_STATES = frozenset(
    {
        READ_ONLY,
        "25P03",  # our transaction stood idle for longer than the server allows
        "55P03",  # lock_timeout, or NOWAIT
    }
)
_AWAY_CLASSES = frozenset(
    {
        "08",  # the connection broke
        "40",  # rolled back for another's sake: a deadlock, or not serializable
        "53",  # disk, memory or connections are used up
        "57",  # shutting down, starting up, canceled
        "58",  # the operating system's errors: input and output
        "XX",  # an internal error of PostgreSQL's
    }
)
"""Nothing of a request can cause these, and they pass. The first two characters of an SQLSTATE are
its class: https://www.postgresql.org/docs/current/errcodes-appendix.html"""

_INTEGRITY = "23"

_AWAY: tuple[type[BaseException], ...] = (
    OSError,  # refused, reset, unreachable, and TimeoutError
    exc.TimeoutError,  # no free connection in the pool
    asyncpg.InterfaceError,  # the connection was closed under us
    asyncpg.InvalidCachedStatementError,  # a migration changed what the statement answers
    asyncpg.InternalClientError,  # the server ended the session between two of our statements
)

MAYBE_AWAY: tuple[type[BaseException], ...] = (*_AWAY, exc.DBAPIError, asyncpg.PostgresError)


def away(error: BaseException) -> BaseException | None:
    """Find what says that the database is away for now; None: nothing does.

    SQLAlchemy and its adapter each wrap the driver's error once.
    """
    for cause in _chain(error):
        if isinstance(cause, _AWAY) or _is_away(_sqlstate(cause)):
            return cause
        if isinstance(cause, exc.DBAPIError) and cause.connection_invalidated:
            return cause
    return None


def is_integrity(error: BaseException) -> bool:
    """Tell whether rows would contradict each other: trying again seldom helps."""
    return any(_sqlstate(cause).startswith(_INTEGRITY) for cause in _chain(error))


def is_unusable(error: BaseException) -> bool:
    """Tell whether the session is of no more use: it takes no writes, or its driver is lost.

    asyncpg is, in the case of `InternalClientError`.
    """
    return any(
        isinstance(cause, asyncpg.InternalClientError) or _sqlstate(cause) == READ_ONLY
        for cause in _chain(error)
    )


def _is_away(sqlstate: str) -> bool:
    return sqlstate in _AWAY_STATES or sqlstate[:2] in _AWAY_CLASSES


def _sqlstate(error: BaseException) -> str:
    return getattr(error, "sqlstate", None) or ""


def _chain(error: BaseException) -> list[BaseException]:
    found = [error]
    while (cause := found[-1].__cause__) is not None:
        found.append(cause)
    return found
