"""How we connect to PostgreSQL: to a server that takes writes, with the settings that we need."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import structlog

_CONNECT_TIMEOUT = 5.0

_NAMED = {"application_name": "kie-gateway"}
_STARTED = {**_NAMED, "jit": "off"}
"""JIT compiles our larger statements for longer than they run (measured on a database without
statistics: 0.7 s of CPU for each forecast, 133 functions)."""

DURABLE = """
SELECT set_config('jit', 'off', {0}), CASE current_setting('synchronous_commit')
    WHEN 'remote_apply' THEN NULL ELSE set_config('synchronous_commit', 'on', {0}) END
"""
"""A commit that was answered is on disk, whatever the server's or the role's default is: a claim
that is lost pays twice. Who asked for more than that keeps it."""
DURABLE_SESSION = DURABLE.format("false")
DURABLE_TRANSACTION = DURABLE.format("true")

STATEMENT_CACHE = "statement_cache_size"
"""The parameter of a URL that turns prepared statements off (0), for an old pooler's sake."""

_ATTRIBUTES = "target_session_attrs"
_WISHES = ("read-write", "primary")
"""A server that takes writes; else one that could: reads go on while a primary is read-only. A
standby never will do: what it shows may be old."""

NOBODY_TAKES_WRITES = "no server of the URL takes writes: a standby, or read-only"
NO_STARTUP_SETTING = "unsupported startup parameter"
"""PgBouncer's words: it refuses what it would have to keep apart for each client."""

log = structlog.get_logger(__name__)


class Connector:
    """Opens connections; `dsn` is a URL that asyncpg reads, with `STATEMENT_CACHE` or without.

    `command_timeout`: the seconds that a statement may take; None: any time, for migrations.
    """

    def __init__(self, dsn: str, *, command_timeout: float | None = 15.0) -> None:
        bare, self.prepares = _without_cache(dsn)
        self._servers = _servers(bare)
        """The one that served last comes first."""
        self._command_timeout = command_timeout
        chosen = _ATTRIBUTES in parse_qs(urlsplit(dsn).query)
        self._wishes: tuple[str | None, ...] = (None,) if chosen else _WISHES
        self.is_pooled = False
        """A pooler lends us sessions that others use too: a setting would leak into theirs."""

    async def __call__(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Open one; raises `ConnectionError` whyever no server lets us in."""
        trouble: Exception = ConnectionError(NOBODY_TAKES_WRITES)
        for wish in self._wishes:
            for server in tuple(self._servers):
                try:
                    connection = await self._connected(server, wish)
                except asyncpg.TargetServerAttributeNotMatched:
                    continue
                except (asyncpg.PostgresError, OSError) as error:
                    trouble = error  # an operator may change its mind, and another may serve
                else:
                    self._servers.sort(key=server.__ne__)
                    return connection
        if isinstance(trouble, OSError):
            raise trouble
        raise ConnectionError(str(trouble)) from trouble

    async def _connected(
        self, server: str, wish: str | None
    ) -> "asyncpg.Connection[asyncpg.Record]":
        if not self.is_pooled:
            try:
                connection = await self._open(server, wish, _STARTED)
            except asyncpg.PostgresError as error:
                if NO_STARTUP_SETTING not in str(error):
                    raise
                log.info("database.pooled")
                self.is_pooled = True
            else:
                return await _settled(connection)
        return await self._open(server, wish, _NAMED)

    async def _open(
        self, server: str, wish: str | None, settings: dict[str, str]
    ) -> "asyncpg.Connection[asyncpg.Record]":
        options: dict[str, Any] = {} if wish is None else {_ATTRIBUTES: wish}
        if not self.prepares:
            options[STATEMENT_CACHE] = 0
        opened: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            server,
            timeout=_CONNECT_TIMEOUT / min(2, len(self._servers)),
            command_timeout=self._command_timeout,
            server_settings=settings,
            max_cacheable_statement_size=0,  # any size: our longest are the ones that must be kept
            **options,
        )
        return opened


NO_PREPARED_STATEMENTS = (
    "the pooler before it knows no prepared statements",
    (
        "set GATEWAY_DATABASE_STATEMENT_CACHE=false, or use PgBouncer 1.21 or newer with "
        "max_prepared_statements"
    ),
)
_PROBE = "kie_gateway_probe"
_UNPREPARED = (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError)


async def pooler_trouble(dsn: str) -> tuple[str, str] | None:
    """Say why no work could go through a pooler, and what to do; None: it can, or there is none.

    Two of its clients prepare a statement under one name: without its help they share a session,
    and the second one is told that the name is taken. Raises as connecting does.
    """
    connector = Connector(dsn)
    lent: list[asyncpg.Connection[asyncpg.Record]] = []
    try:
        for _ in range(2):
            lent.append(await connector())
            if not (connector.is_pooled and connector.prepares):
                return None
            await (await lent[-1].prepare("SELECT 1", name=_PROBE)).fetch()
    except (*_UNPREPARED, ConnectionError) as error:
        if not isinstance(error.__cause__ or error, _UNPREPARED):
            raise
        return NO_PREPARED_STATEMENTS
    finally:
        for connection in lent:
            connection.terminate()
    return None


async def _settled(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> "asyncpg.Connection[asyncpg.Record]":
    try:
        await connection.execute(DURABLE_SESSION)
    except BaseException:  # nobody else knows of it yet
        connection.terminate()
        raise
    return connection


def _without_cache(dsn: str) -> tuple[str, bool]:
    """Take our own parameter out of the URL; False: statements are not prepared."""
    head, _, query = dsn.partition("?")
    given = [part for part in query.split("&") if part]
    rest = [part for part in given if not part.startswith(f"{STATEMENT_CACHE}=")]
    prepares = f"{STATEMENT_CACHE}=0" not in given
    return head + ("?" + "&".join(rest) if rest else ""), prepares


def _servers(dsn: str) -> list[str]:
    """Write one URL for each host: asyncpg has one timeout for all, and the first may be silent."""
    parts = urlsplit(dsn)
    account, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return [dsn]
    return [parts._replace(netloc=f"{account}{at}{host}").geturl() for host in hosts.split(",")]
