"""The schema's version: what this release needs, what the database has, and whether they fit.

A release runs on its own schema, and on a newer one that names it: each migration states the oldest
release that may run on what it makes, and the migrator stores that (`app/store/schema.py`).
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

MIGRATIONS = Path(__file__).parents[2] / "migrations"

MIGRATE = "run kie-gateway migrate"


@dataclass(frozen=True, slots=True)
class Misfit:
    """How the database's schema differs from what this release can run on."""

    said: str
    remedy: str = MIGRATE

    @override
    def __str__(self) -> str:
        return f"{self.said}: {self.remedy}"


def scripts() -> "ScriptDirectory":
    from alembic.config import Config  # noqa: PLC0415  # a quarter of every command's start
    from alembic.script import ScriptDirectory  # noqa: PLC0415  # as above

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return ScriptDirectory.from_config(config)


_REVISION = re.compile(r'^revision\b.*= "(\w+)"$', re.MULTILINE)
_DOWN = re.compile(r'^down_revision\b.*= "(\w+)"$', re.MULTILINE)


@cache
def known() -> tuple[str, ...]:
    """Return every revision in `migrations/`, the newest first.

    They are read as text: alembic runs them all, and would stay in every process.
    """
    after: dict[str | None, str] = {}
    for path in (MIGRATIONS / "versions").glob("*.py"):
        said = path.read_text(encoding="utf-8")
        own, down = _REVISION.search(said), _DOWN.search(said)
        if own is not None:
            after[down[1] if down else None] = own[1]
    found: list[str] = []
    last: str | None = None
    while last in after:
        last = after[last]
        found.append(last)
    return tuple(reversed(found))


def needed() -> str | None:
    """Return the newest revision in `migrations/`."""
    return next(iter(known()), None)


@cache
def release() -> str:
    return metadata.version("kie-gateway")


async def present(connection: AsyncConnection) -> str | None:
    """Return the database's revision; None: it was never migrated."""
    if not await _exists(connection, "alembic_version"):
        return None
    found = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


async def misfit(connection: AsyncConnection) -> Misfit | None:
    """Say why this release cannot run on the database's schema; None: it can."""
    found = await present(connection)
    if found == needed():
        return None
    oldest = None if found is None or found in known() else await _oldest(connection, found)
    if oldest is None:
        return Misfit(f"the schema is at {found or 'nothing'}, not at {needed()}")
    if _numbers(oldest) <= _numbers(release()):
        return None
    return Misfit(
        f"the schema is at {found}, of a newer release: it takes {oldest} or newer, and this is "
        f"{release()}",
        f"start release {oldest} or newer in this one's place",
    )


async def _oldest(connection: AsyncConnection, revision: str) -> str | None:
    """Return the oldest release that may run on the revision, where the database says so."""
    if not await _exists(connection, "schema_releases"):
        return None
    asked = text("SELECT oldest_release FROM schema_releases WHERE revision = :revision")
    found = await connection.scalar(asked, {"revision": revision})
    return None if found is None else str(found)


async def _exists(connection: AsyncConnection, table: str) -> bool:
    found = await connection.scalar(
        text("SELECT to_regclass(:table) IS NOT NULL"), {"table": table}
    )
    return bool(found)


def _numbers(release: str) -> tuple[int, ...]:
    """Read a version for comparison: 0.10.0 is newer than 0.9.1."""
    return tuple(int(number) for number in re.findall(r"\d+", release.partition("+")[0])[:3])
