"""The schema's version: what the code needs, what the database has, and how to get there."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

MIGRATIONS = Path(__file__).parents[2] / "migrations"


def _config(dsn: str | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["dsn"] = dsn
    return config


def needed() -> str | None:
    """Return the newest revision in `migrations/`."""
    return ScriptDirectory.from_config(_config()).get_current_head()


async def present(connection: AsyncConnection) -> str | None:
    """Return the database's revision; None: it was never migrated."""
    known = await connection.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
    if not known:
        return None
    found = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


def upgrade(dsn: str) -> None:
    """Bring the database to `needed()`. Blocks; starts an event loop of its own."""
    command.upgrade(_config(dsn), "head")
