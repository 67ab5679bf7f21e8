"""The schema's version: what the code needs, what the database has, and how to get there."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parents[2] / "migrations"


def _config(dsn: str | None = None) -> "Config":
    from alembic.config import Config  # noqa: PLC0415  # a quarter of every command's start

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["dsn"] = dsn
    return config


@cache
def needed() -> str | None:
    """Return the newest revision in `migrations/`."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415  # as above

    return ScriptDirectory.from_config(_config()).get_current_head()


async def present(connection: AsyncConnection) -> str | None:
    """Return the database's revision; None: it was never migrated."""
    known = await connection.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
    if not known:
        return None
    found = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


class UnknownRevisionError(Exception):
    """The database is at a revision that this version does not know; the text says what to do."""


def upgrade(dsn: str) -> None:
    """Bring the database to `needed()`. Blocks; starts an event loop of its own.

    Raises `UnknownRevisionError`.
    """
    from alembic import command  # noqa: PLC0415  # as above
    from alembic.script.revision import ResolutionError  # noqa: PLC0415  # as above
    from alembic.util import CommandError  # noqa: PLC0415  # as above

    try:
        command.upgrade(_config(dsn), "head")
    except CommandError as error:
        if not isinstance(error.__cause__, ResolutionError):
            raise
        found = error.__cause__.argument
        message = (
            f"The database is at revision {found}, which this version does not know. It belongs to "
            "a newer version, or to one from before 0.1.0: migrate with that version, or name an "
            "empty database."
        )
        raise UnknownRevisionError(message) from error
