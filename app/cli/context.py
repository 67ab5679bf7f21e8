"""What a command on the database does first: read the settings, open it, say what is wrong.

The settings are read before anything else is imported: who mistyped one is told at once.
"""

import secrets
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from pydantic import SecretStr

from app import config, log
from app.cli.exits import WRONG_USE, give_up
from app.cli.interrupts import run
from app.config import Settings, SettingsError
from app.domain.errors import DatabaseUnavailableError, GatewayError, InvalidRequestError

if TYPE_CHECKING:
    from app.services.clients.keys import Keys
    from app.services.clients.settings import Clients
    from app.services.services import Services
    from app.store.releases import Misfit
    from app.store.schema import Progress

logger = log.get_logger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The database's revision (None: never migrated), and why this release cannot run on it."""

    revision: str | None
    misfit: "Misfit | None"


class DatabaseAwayError(Exception):
    """PostgreSQL cannot be used at all; the text says what it said, in one line."""

    def __init__(
        self, said: str, remedy: str = "start it, or correct GATEWAY_DATABASE_URL"
    ) -> None:
        """`remedy`: what to do about it."""
        super().__init__(said)
        self.remedy = remedy


def settings(**overrides: Any) -> Settings:  # noqa: ANN401  # of any field's type
    """Read the settings and start logging; ends the command where they cannot be used."""
    try:
        found = config.load(**overrides)
    except SettingsError as error:
        give_up("\n".join(error.problems), WRONG_USE)
    log.configure(found.log_level, found.log_format, sys.stderr)
    return found


def require_secret(found: Settings) -> None:
    if not found.secret_keys and found.callback_keys:
        give_up(
            "GATEWAY_SECRET_KEYS: is not set; GATEWAY_CALLBACK_KEYS are enough only for "
            "`serve --surface callbacks --no-worker`",
            WRONG_USE,
        )
    if not found.secret_keys:
        give_up(
            "GATEWAY_SECRET_KEYS: is not set; make one with `kie-gateway secrets generate` and "
            'set it as a JSON list: ["…"]',
            WRONG_USE,
        )


def require_receiver(found: Settings) -> None:
    """End the command where not even callback URLs could be checked."""
    if not found.callback_keys and not found.secret_keys:
        give_up(
            "GATEWAY_CALLBACK_KEYS: is not set, nor is GATEWAY_SECRET_KEYS; `serve --surface "
            "callbacks --no-worker` needs one of them, the same as the other processes have",
            WRONG_USE,
        )


def with_any_secret(found: Settings) -> Settings:
    """Make up a secret where there is none: for what signs nothing and opens nothing."""
    if found.secret_keys:
        return found
    return found.model_copy(update={"secret_keys": (SecretStr(secrets.token_urlsafe(32)),)})


def upgrade(dsn: str, progress: "Progress | None" = None) -> None:
    """Migrate the database; ends the command with a sentence where that cannot be done."""
    from app.store import schema

    try:
        schema.upgrade(dsn, progress)
    except schema.MigrationError as error:
        give_up(str(error))


def to_stderr(line: str) -> None:
    typer.echo(line, err=True)


@contextmanager
def with_database(found: Settings, say: Callable[[str], None] = to_stderr) -> Iterator[Settings]:
    """Lend the settings with a database URL: theirs, or an embedded server's, migrated.

    Which embedded one is said: who forgot the URL would take an empty database for an answer.
    """
    if found.database_url is not None:
        yield found
        return
    from app.embedded import EmbeddedUnavailableError, require_programs, running

    where = found.data_dir.expanduser().absolute()
    kind = "the embedded database" if where.exists() else "a new embedded database"
    try:
        require_programs()
        say(f"GATEWAY_DATABASE_URL is not set: this is {kind} in {where}")
        with running(found.data_dir) as dsn:
            upgrade(dsn)
            yield found.model_copy(update={"database_url": SecretStr(dsn)})
    except EmbeddedUnavailableError as error:
        give_up(str(error), WRONG_USE)


def dsn(found: Settings) -> str:
    """Return the database's URL of settings that `with_database` lent."""
    return found.dsn or ""


def require_database(found: Settings) -> SchemaState:
    """Return how the schema is; ends the command where PostgreSQL cannot be used."""
    try:
        return run(schema_state(dsn(found)))
    except DatabaseAwayError as error:
        give_up(f"PostgreSQL: {error}; {error.remedy}")


def require_schema(found: Settings) -> None:
    """End the command where the database is away, or this release cannot run on its schema."""
    from app.store.releases import MIGRATE

    misfit = require_database(found).misfit
    if misfit is not None:
        remedy = misfit.remedy.replace(MIGRATE, "run `kie-gateway migrate`")
        give_up(f"{misfit.said}: {remedy}")


def require_fsync(found: Settings) -> None:
    """End the command where PostgreSQL would forget what it committed, unless that is allowed."""
    if found.allow_unsafe_fsync:
        return
    trouble = with_services(found, lambda services: services.health.fsync_trouble())
    if trouble is not None:
        give_up(trouble)


async def schema_state(dsn: str) -> SchemaState:
    """Look at the database's schema; raises `DatabaseAwayError`."""
    from app.store.connections.connecting import pooler_trouble

    try:
        trouble = await pooler_trouble(dsn)
        if trouble is None:
            return await _schema_state(dsn)
    except Exception as error:  # noqa: BLE001  # a wrong password or name, as the driver has it
        raise DatabaseAwayError(_root(error)) from None
    raise DatabaseAwayError(*trouble)


async def _schema_state(dsn: str) -> SchemaState:
    from app.store import releases
    from app.store.connections.engine import Database

    database = Database(dsn, pool_size=1)
    try:
        async with database.read() as connection:
            present = await releases.present(connection)
            return SchemaState(present, await releases.misfit(connection))
    finally:
        await database.dispose()


def _root(error: BaseException) -> str:
    """Return the first cause's own words: around it stand those of pool, driver and engine."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = str(error).strip() or type(error).__name__
    return said.splitlines()[0]


@contextmanager
def ready_settings(*, receives_only: bool = False) -> Iterator[Settings]:
    """Lend the settings of a process that serves: with secrets, over a database at our schema.

    `receives_only`: it takes callbacks and does nothing else, so it needs no secret of clients'.
    """
    found = settings()
    (require_receiver if receives_only else require_secret)(found)
    with with_database(found, lambda said: logger.info("database.embedded", said=said)) as ready:
        require_schema(ready)
        require_fsync(ready)
        yield ready


def with_services(found: Settings, use: "Callable[[Services], Awaitable[Result]]") -> Result:
    """Carry out one use case; ends the command with the reason where it is refused."""
    from app.wiring import wired

    async def used() -> Result:
        async with wired(found, dsn(found)) as services:
            return await use(services)

    try:
        return run(used())
    except DatabaseUnavailableError as error:
        give_up(f"PostgreSQL went away: {_root(error)}")
    except InvalidRequestError as error:
        give_up(error.detail, WRONG_USE)
    except GatewayError as error:
        give_up(error.detail)


def with_operations(
    use: "Callable[[Services], Awaitable[Result]]", *, signs: bool = False
) -> Result:
    """Carry out one act of an operator's on the database; `signs`: it needs the secrets too."""
    return _on_database(use, signs=signs)


def with_clients(use: "Callable[[Clients], Awaitable[Result]]") -> Result:
    """Look at clients, or change them, on the database."""
    return _on_database(lambda services: use(services.clients))


def with_keys(use: "Callable[[Keys], Awaitable[Result]]") -> Result:
    """Carry out one use case of keys: it seals secrets, so it needs GATEWAY_SECRET_KEYS."""
    return _on_database(lambda services: use(services.keys), signs=True)


def _on_database(use: "Callable[[Services], Awaitable[Result]]", *, signs: bool = False) -> Result:
    with operating(signs=signs) as ready:
        return with_services(ready, use)


@contextmanager
def operating(*, signs: bool = False) -> Iterator[Settings]:
    """Lend what `with_services` takes, for several acts on one database; `signs` as above."""
    found = settings()
    if signs:
        require_secret(found)
    with with_database(with_any_secret(found)) as ready:
        require_schema(ready)
        yield ready
