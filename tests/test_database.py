"""What a test leaves behind goes, whatever table it is in."""

import asyncpg

from app.store.tables import Base
from tests.database import TABLES


def test_the_rows_of_every_table_go() -> None:
    # One row each, always, or the schema's own.
    kept = {"kie_account", "feed_writer", "schema_releases"}
    assert {*TABLES} == {table.name for table in Base.metadata.sorted_tables} - kept


async def test_the_database_is_a_copy_of_the_migrated_one(
    sql: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    assert await sql.fetchval("SELECT count(*) FROM alembic_version") == 1
    assert await sql.fetchval("SELECT count(*) FROM kie_account") == 1
