"""Migrators wait with a word and a bound, and end with a sentence."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy import text

from app.store import releases, schema
from app.store.schema import LOCK, MigrationError, Progress
from app.store.tables import Base
from tests.migrations import EXPAND, following
from tests.stage import eventually

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
OTHERS = f"SELECT pg_advisory_xact_lock({LOCK})"


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a migration be ahead that needs the lock of `tasks`; patience is short."""
    folder = following(tmp_path, ("9997_expand", "0.1.0", EXPAND))
    monkeypatch.setattr(releases, "MIGRATIONS", folder)
    monkeypatch.setattr(schema, "LOOK", 0.05)
    monkeypatch.setattr(schema, "TABLE_LOCK", 1.0)


@pytest_asyncio.fixture
async def reader(fresh: str) -> AsyncIterator["Connection"]:
    """Lend a session with an open transaction, as somebody forgot it."""
    settings = {"application_name": "a forgotten psql"}
    connection = await asyncpg.connect(fresh, server_settings=settings)
    await connection.execute("BEGIN")
    yield connection
    await connection.close()


@pytest.mark.usefixtures("later")
async def test_a_reader_in_the_way_is_named(fresh: str, reader: "Connection") -> None:
    await reader.fetchval("SELECT count(*) FROM tasks")
    said: list[str] = []

    with pytest.raises(MigrationError) as failed:
        await asyncio.to_thread(schema.upgrade, fresh, Progress(say=said.append))

    who = f"pid {reader.get_server_pid()} (a forgotten psql"
    why = str(failed.value)
    assert why.startswith("a table was locked by others for 1 s: ")
    assert who in why
    assert "idle in transaction for " in why
    assert "run kie-gateway migrate again" in why
    assert said[0].startswith("waiting for a table, up to 1 s: pid")
    await reader.execute("ROLLBACK")
    await asyncio.to_thread(schema.upgrade, fresh)
    assert await reader.fetchval("SELECT version_num FROM alembic_version") == "9997_expand"


@pytest.mark.usefixtures("later")
async def test_another_migrator_is_waited_for_within_a_bound(
    fresh: str, reader: "Connection"
) -> None:
    await reader.execute(OTHERS)
    said: list[str] = []

    with pytest.raises(MigrationError) as failed:
        await asyncio.to_thread(schema.upgrade, fresh, Progress(wait=0.5, say=said.append))
    assert str(failed.value).startswith("another migrator was not done within 0.5 s: pid ")
    assert said[0].startswith("waiting for another migrator, up to 0.5 s: pid ")

    said.clear()
    waiting = asyncio.create_task(
        asyncio.to_thread(schema.upgrade, fresh, Progress(wait=30, say=said.append))
    )

    async def it_says_so() -> bool | None:
        return bool(said) or None

    await eventually(it_says_so)
    assert not waiting.done()
    await reader.execute("COMMIT")
    await waiting
    assert await reader.fetchval("SELECT version_num FROM alembic_version") == "9997_expand"


async def test_each_migration_is_kept_whole_or_not_at_all(
    fresh: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = following(
        tmp_path,
        ("9997_expand", "0.1.0", EXPAND),
        ("9998_broken", "0.1.0", "CREATE TABLE half (id int); SELECT nobody"),
    )
    monkeypatch.setattr(releases, "MIGRATIONS", folder)

    with pytest.raises(MigrationError, match=r"refused a migration: .*nobody"):
        await asyncio.to_thread(schema.upgrade, fresh)

    connection = await asyncpg.connect(fresh)
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "9997_expand"
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    noted = "SELECT oldest_release FROM schema_releases WHERE revision = '9997_expand'"
    assert await connection.fetchval(noted) == "0.1.0"
    await connection.close()


async def test_it_ends_with_statistics(fresh: str) -> None:
    connection = await asyncpg.connect(fresh)
    unknown = "SELECT count(*) FROM pg_class WHERE oid = ANY ($1::regclass[]) AND reltuples < 0"
    assert await connection.fetchval(unknown, list(Base.metadata.tables)) == 0
    await connection.close()


async def test_nothing_stays_behind_in_a_session(
    fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler would hand it to somebody else."""
    seen: list[tuple[object, ...]] = []
    left = text(
        "SELECT current_setting('lock_timeout'), current_setting('statement_timeout'),"
        " (SELECT count(*)::int FROM pg_locks"
        " WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
    )
    analyze = schema.analyze

    def looking(connection: sa.Connection, progress: Progress) -> None:
        analyze(connection, progress)
        with connection.begin():
            seen.extend(tuple(row) for row in connection.execute(left))

    monkeypatch.setattr(schema, "analyze", looking)
    await asyncio.to_thread(schema.upgrade, fresh)
    assert seen == [("0", "0", 0)]
