import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from app.config import Settings
from tests.database import emptied
from tests.gateway import SECRET, Gateway
from tests.processes.forks import forks
from tests.processes.stage import KIE_API_KEY, Running, Stage, bare_environment
from tests.upstream import Upstream

Start = Callable[..., Awaitable[Running]]
At = Callable[[str], Awaitable[Gateway]]
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture(scope="session")
def stage(
    dsn: str, upstream_server: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Run commands over the database of this test process; no log may hold a secret at the end."""
    settings = {
        "GATEWAY_DATABASE_URL": dsn,
        "GATEWAY_SECRET_KEYS": json.dumps([SECRET]),
        "GATEWAY_KIE_API_KEY": KIE_API_KEY,
        "GATEWAY_KIE_BASE_URL": upstream_server.url,
        "GATEWAY_KIE_UPLOAD_URL": upstream_server.url,
        "GATEWAY_PUBLIC_URL": "https://gateway.test/base",
        "GATEWAY_KIE_CONFIRM": "after",
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_WORKER_LISTEN": "127.0.0.1:0",
        "GATEWAY_LOG_LEVEL": "debug",
        "GATEWAY_SHUTDOWN_LINGER": "0",
    }
    with forks(bare_environment()) as forking:
        stage = Stage(tmp_path_factory.mktemp("logs"), settings, forks=forking)
        yield stage
    assert stage.leaks() == []


@pytest_asyncio.fixture
async def start(
    stage: Stage,
    sql: Connection,  # noqa: ARG001  # its rows go after the processes
) -> AsyncIterator[Start]:
    """Start processes that are gone before the rows are."""
    async with AsyncExitStack() as stopping:

        async def start(*arguments: str, **changed: str | None) -> Running:
            return await stopping.enter_async_context(stage.running(*arguments, **changed))

        yield start


@pytest_asyncio.fixture
async def at(stage: Stage, make_settings: Callable[..., Settings]) -> AsyncIterator[At]:
    """Call gateways with a key of the client `tests`."""
    async with AsyncExitStack() as closing:

        async def at(url: str) -> Gateway:
            gateway = await closing.enter_async_context(Gateway.at(url, make_settings()))
            stage.secrets.add(gateway.api_key)
            return gateway

        yield at


@pytest_asyncio.fixture(scope="module")
async def replica_urls(stage: Stage, sql_connection: Connection) -> AsyncIterator[tuple[str, str]]:
    """Two gateways over one database for the tests of one module; all rows go after them."""
    roomy = {"GATEWAY_KIE_CREATES_PER_10S": "1000", "GATEWAY_KIE_MAX_RUNNING": "1000"}
    async with (
        stage.running("serve", **roomy) as one,
        stage.running("serve", "--no-worker", **roomy) as other,
    ):
        yield await one.ready(), await other.ready()
    await emptied(sql_connection)


@pytest_asyncio.fixture
async def replicas(
    replica_urls: tuple[str, str],
    at: At,
    upstream: Upstream,  # noqa: ARG001  # has heard nothing yet
) -> tuple[Gateway, Gateway]:
    one, other = replica_urls
    return await at(one), await at(other)


@pytest_asyncio.fixture
async def scratch(dsn: str, sql_connection: Connection) -> AsyncIterator[str]:
    """Lend an empty database that was never migrated."""
    parts = urlsplit(dsn)
    name = f"{parts.path.strip('/')}_scratch"
    await sql_connection.execute(f"CREATE DATABASE {name}")
    yield dsn.replace(parts.path, f"/{name}", 1)
    await sql_connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def room() -> Iterator[Path]:
    """Lend a directory with a short name: a socket's path may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="kie-room-") as directory:
        yield Path(directory)
