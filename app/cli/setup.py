"""What every command does first: read the settings, find the database, say what is wrong."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from pydantic import SecretStr

from app import config, log
from app.config import Settings, SettingsError
from app.embedded import EmbeddedUnavailableError, running
from app.store import schema

WRONG_SETTINGS = 2
FAILED = 1


def give_up(message: str, status: int = FAILED) -> NoReturn:
    """Say why on stderr and end with `status`."""
    typer.echo(message, err=True)
    raise typer.Exit(status)


def settings(**overrides: Any) -> Settings:  # noqa: ANN401  # of any field's type
    """Read the settings and start logging; ends the command where they cannot be used."""
    try:
        found = config.load(**overrides)
    except SettingsError as error:
        give_up("\n".join(error.problems), WRONG_SETTINGS)
    log.configure(found.log_level, found.log_format, sys.stderr)
    return found


def require_secret(found: Settings) -> None:
    if not found.secret_keys:
        give_up(
            "GATEWAY_SECRET_KEYS: is not set; make one with `kie-gateway secrets generate` and "
            'set it as a JSON list: ["…"]',
            WRONG_SETTINGS,
        )


@contextmanager
def with_database(found: Settings) -> Iterator[Settings]:
    """Lend the settings with a database URL: theirs, or an embedded server's, migrated."""
    if found.database_url is not None:
        yield found
        return
    try:
        with running(found.data_dir) as dsn:
            schema.upgrade(dsn)
            yield found.model_copy(update={"database_url": SecretStr(dsn)})
    except EmbeddedUnavailableError as error:
        give_up(str(error), WRONG_SETTINGS)


def dsn(found: Settings) -> str:
    """Return the database's URL of settings that `with_database` lent."""
    url = found.database_url
    return url.get_secret_value() if url else ""
