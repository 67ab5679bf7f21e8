"""The store's own database object, over the database of the test process."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest_asyncio

from app.store.connections.engine import Database
from tests.store.stage import Sql, put_client


@pytest_asyncio.fixture(scope="session")
async def pool(dsn: str) -> AsyncIterator[Database]:
    """Lend a pool of 20 connections for the whole run."""
    database = Database(dsn, pool_size=20)
    yield database
    await database.dispose()


@pytest_asyncio.fixture
async def database(pool: Database, sql: Sql) -> Database:  # noqa: ARG001  # its rows go after the test
    return pool


@pytest_asyncio.fixture
async def client_id(sql: Sql) -> UUID:
    return await put_client(sql)


@pytest_asyncio.fixture
async def fresh(
    dsn: str, template: str, sql_connection: "asyncpg.Connection[asyncpg.Record]"
) -> AsyncIterator[str]:
    """Lend a migrated database of one test's own."""
    path = urlsplit(dsn).path
    name = f"{path.strip('/')}_fresh"
    await sql_connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield dsn.replace(path, f"/{name}", 1)
    await sql_connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
