"""Migrating: one migrator at a time, each migration in one transaction, no wait without a word.

Only locks and settings of a transaction are used, so nothing stays behind in a connection that a
pooler hands to somebody else.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, exc, text

from app.store import releases
from app.store.connections.engine import Database
from app.store.releases import MIGRATIONS, needed, present
from app.store.tables import Base

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext, MigrationInfo, MigrationStep
    from alembic.script import ScriptDirectory

__all__ = [
    "LOCK",
    "MIGRATIONS",
    "MigrationError",
    "Progress",
    "UnknownRevisionError",
    "analyze",
    "keep_settings",
    "needed",
    "note_release",
    "present",
    "take_turn",
    "upgrade",
    "watched",
]

LOCK = 0x6B69655F6D6967
"""One number for the whole project: the advisory lock that keeps a second migrator waiting."""

WAIT = 60.0
"""Seconds that a migrator waits for another one, unless it is told otherwise."""

TABLE_LOCK = 5.0
"""Seconds that a migration waits for a table: behind it, all requests wait too."""

STATEMENT = 300.0
"""Seconds that a statement may take; what runs for longer belongs into steps."""

LOOK, REPEAT = 1.0, 5.0
"""Seconds between looks at whom the migrator waits for, and between lines about it."""

_BLOCKERS = text(
    "SELECT pid, application_name, host(client_addr) AS address, state,"
    " extract(epoch FROM clock_timestamp() - xact_start)::float AS seconds"
    " FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids(:pid)) ORDER BY xact_start"
)

_HAS_RELEASES = text("SELECT to_regclass('schema_releases') IS NOT NULL")
_FORGET = text("DELETE FROM schema_releases WHERE revision = :revision")
_NOTE = text("INSERT INTO schema_releases (revision, oldest_release) VALUES (:revision, :oldest)")


class MigrationError(Exception):
    """The database could not be migrated; the text says why, and what to do."""


class UnknownRevisionError(MigrationError):
    """The database is at a revision that this release neither knows nor may run on."""


@dataclass(slots=True)
class Progress:
    """Where a migrator is, for those who watch it: see `watched`."""

    wait: float = WAIT
    say: Callable[[str], None] = field(default=lambda _: None)
    pid: int | None = None
    """The session in PostgreSQL that may be waiting."""
    owner: str | None = None
    """The role that is to own what is made; None: the one that connects."""
    turn: bool = True
    """Whether it waits for its turn, else for a table."""
    blockers: Sequence[str] = ()
    """Whom it waits for, or waited for last."""


def take_turn(connection: Connection, progress: Progress) -> None:
    """Lock other migrators out until the transaction ends; the longest wait is `progress.wait`."""
    progress.turn = True
    progress.pid = connection.scalar(text("SELECT pg_backend_pid()"))
    _set(connection, "lock_timeout", progress.wait)
    connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    progress.turn = False
    if progress.owner is not None:
        connection.execute(text(f"SET LOCAL ROLE {progress.owner}"))
    _set(connection, "lock_timeout", TABLE_LOCK)
    _set(connection, "statement_timeout", STATEMENT)


def _set(connection: Connection, name: str, seconds: float) -> None:
    connection.execute(text(f"SET LOCAL {name} = {max(1, round(seconds * 1000))}"))


def note_release(
    ctx: "MigrationContext", step: "MigrationInfo", heads: Collection[Any], run_args: object
) -> None:
    """Store with a migration which releases may run on what it made: called by alembic."""
    del heads, run_args  # alembic names what it gives
    connection, script = ctx.connection, step.up_revision
    if connection is None or script is None or not connection.scalar(_HAS_RELEASES):
        return
    module = getattr(script, "module", None)
    oldest = getattr(module, "oldest_release", releases.release())
    given = {"revision": script.revision, "oldest": oldest}
    connection.execute(_FORGET, given)
    if step.is_upgrade:
        connection.execute(_NOTE, given)


def analyze(connection: Connection, progress: Progress) -> None:
    """Gather statistics: without any, PostgreSQL compiles our large statements at each call."""
    tables = ", ".join(sorted(Base.metadata.tables))
    try:
        with connection.begin():
            take_turn(connection, progress)
            connection.execute(text(f"ANALYZE {tables}"))
    except exc.DBAPIError as error:
        progress.say(f"the statistics were not gathered ({_said(error)}); run ANALYZE some time")


_AS_WE_NEED = tuple(
    text(
        f"DO $$ BEGIN EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I SET {setting}',"
        " current_database()); END $$"
    )
    for setting in ("jit = off", "synchronous_commit = on")
)


def keep_settings(connection: Connection, progress: Progress) -> None:
    """Have our role's sessions in this database run as we need them, a pooler's among them.

    Where that is not allowed, each session and transaction of ours sees to it: see `connecting`.
    """
    with suppress(exc.DBAPIError), connection.begin():
        take_turn(connection, progress)
        if connection.scalar(text("SHOW synchronous_commit")) != "remote_apply":
            for statement in _AS_WE_NEED:
                connection.execute(statement)


@asynccontextmanager
async def watched(database: Database, progress: Progress) -> AsyncIterator[None]:
    """Say whom the migrator waits for, every few seconds for the length of the block."""
    watching = asyncio.create_task(_watch(database, progress))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait({watching})


async def _watch(database: Database, progress: Progress) -> None:
    looks = 0
    while True:
        await asyncio.sleep(LOOK)
        found = await _blockers(database, progress.pid)
        if not found:
            looks = 0
            continue
        progress.blockers = found
        if looks % round(REPEAT / LOOK) == 0:
            what = "another migrator" if progress.turn else "a table"
            bound = progress.wait if progress.turn else TABLE_LOCK
            progress.say(f"waiting for {what}, up to {bound:g} s: {'; '.join(found)}")
        looks += 1


async def _blockers(database: Database, pid: int | None) -> list[str]:
    """Name the sessions that keep `pid` waiting; none where they cannot be seen."""
    if pid is None:
        return []
    with suppress(Exception):  # to watch is a service, and no reason to fail
        async with database.read() as connection:
            rows = (await connection.execute(_BLOCKERS, {"pid": pid})).mappings()
            return [_named(row) for row in rows]
    return []


def _named(row: Any) -> str:  # noqa: ANN401  # a row of SQLAlchemy's
    name = row["application_name"] or "a session without a name"
    place = f" from {row['address']}" if row["address"] else ""
    since = f", {row['state']} for {row['seconds']:.0f} s" if row["seconds"] is not None else ""
    return f"pid {row['pid']} ({name}{place}{since})"


def upgrade(dsn: str, progress: Progress | None = None) -> None:
    """Bring the database to this release's schema. Blocks; starts an event loop of its own.

    Raises `MigrationError`. Does nothing on a newer schema that this release may run on.
    """
    from alembic.runtime.environment import EnvironmentContext  # noqa: PLC0415  # slow to import
    from alembic.script.revision import ResolutionError  # noqa: PLC0415  # as above

    progress = progress or Progress()
    found = releases.scripts()
    config = _config(dsn, progress)
    try:
        with EnvironmentContext(config, found, fn=_one_by_one(found), destination_rev="head"):
            found.run_env()
    except ResolutionError as error:
        asyncio.run(_require_allowed(dsn, str(error.argument)))
    except (exc.DBAPIError, OSError) as error:
        raise MigrationError(_sentence(error, progress)) from error


def _config(dsn: str, progress: Progress) -> "Config":
    from alembic.config import Config  # noqa: PLC0415  # as above

    config = Config()
    config.attributes.update(dsn=dsn, progress=progress)
    return config


def _one_by_one(
    found: "ScriptDirectory",
) -> "Callable[[Any, MigrationContext], list[MigrationStep]]":
    """Have one migration run at most: the next is in a transaction, and a turn, of its own."""
    from alembic.runtime.migration import MigrationStep  # noqa: PLC0415  # as above

    def following(present: Any, _: "MigrationContext") -> "list[MigrationStep]":  # noqa: ANN401  # alembic's own
        ahead = list(found.iterate_revisions("head", present or "base"))
        return [MigrationStep.upgrade_from_script(found.revision_map, one) for one in ahead[-1:]]

    return following


async def _require_allowed(dsn: str, revision: str) -> None:
    """Raise `UnknownRevisionError` unless that newer schema admits this release."""
    database = Database(dsn, pool_size=1)
    try:
        async with database.read() as connection:
            misfit = await releases.misfit(connection)
    finally:
        await database.dispose()
    if misfit is None:
        return
    if misfit.remedy is not releases.MIGRATE:
        raise UnknownRevisionError(str(misfit))
    message = (
        f"The database is at revision {revision}, which this version does not know. It belongs to "
        "a newer version, or to one from before 0.1.0: migrate with that version, or name an "
        "empty database."
    )
    raise UnknownRevisionError(message)


def _sentence(error: BaseException, progress: Progress) -> str:
    """Say in one line why a migration failed, who was in its way, and what to do."""
    said, who = _said(error), "; ".join(progress.blockers) or "who cannot be seen"
    again = "and run kie-gateway migrate again; what is migrated already is kept"
    match _sqlstate(error):
        case "55P03" if progress.turn:
            return (
                f"another migrator was not done within {progress.wait:g} s: {who}; wait for it, or "
                f"end its session with pg_terminate_backend(pid), {again} (--wait SECONDS)"
            )
        case "55P03":
            return (
                f"a table was locked by others for {TABLE_LOCK:g} s: {who}; let them end, or end "
                f"them with pg_terminate_backend(pid), {again}"
            )
        case "57014":
            return (
                f"a statement took longer than {STATEMENT:g} s, or was canceled: {said}; try at a "
                f"quieter time, {again}"
            )
        case str():
            return f"PostgreSQL refused a migration: {said}; correct that, {again}"
        case _:
            return f"PostgreSQL went away: {said}; start it, {again}"


def _sqlstate(error: BaseException) -> str | None:
    found = getattr(_root(error), "sqlstate", None)
    return None if found is None or found.startswith(("08", "57P")) else str(found)


def _said(error: BaseException) -> str:
    root = _root(error)
    return (str(root).strip() or type(root).__name__).splitlines()[0]


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
