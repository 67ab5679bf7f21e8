"""A database of a test's own that can go away, a second client, a door to the services."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from app.config import Settings
from app.main import create_app
from app.services.services import Services
from simulator.server import Options
from simulator.server import create_app as simulator
from tests.api.stage import Sql
from tests.database import with_database
from tests.gateway import Gateway, issue_key
from tests.proxy import between
from tests.shelf import Served
from tests.stage import serving
from tests.uploads import Host

IssueKey = Callable[[str], Awaitable[str]]
StartGateway = Callable[..., Awaitable[Gateway]]
StartInside = Callable[..., Awaitable["Inside"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """A gateway and the services behind its routes."""

    gateway: Gateway
    services: Services


@pytest_asyncio.fixture
async def start_inside(
    sql: Sql,  # noqa: ARG001  # its rows go after the test
    make_settings: Callable[..., Settings],
) -> AsyncIterator[StartInside]:
    """Start gateways as `start_gateway` does, with a door to their services."""
    async with AsyncExitStack() as stack:

        async def start(
            *, worker: bool = False, refresh_wait: float | None = None, **overrides: Any
        ) -> Inside:
            settings = make_settings(**overrides)
            app = create_app(settings, worker=worker)
            url = await stack.enter_async_context(serving(app))
            if refresh_wait is not None:
                limits = replace(app.state.services.api, refresh_wait=refresh_wait)
                app.state.services = replace(app.state.services, api=limits)
            gateway = await stack.enter_async_context(Gateway.at(url, settings))
            services: Services = app.state.services
            stack.callback(services.waiters.close)  # streams end before the server waits for them
            return Inside(gateway=gateway, services=services)

        yield start


@asynccontextmanager
async def one_for_all(settings: Settings, refresh_wait: float) -> AsyncIterator[Served]:
    """Serve one gateway for the tests of a module that leave nothing in it but rows."""
    app = create_app(settings, worker=False)
    async with serving(app) as url:
        services: Services = app.state.services
        brief = replace(services.api, refresh_wait=refresh_wait)
        app.state.services = replace(services, api=brief)
        yield url, settings, services
        services.waiters.close()  # streams end before the server waits for them


@pytest_asyncio.fixture(scope="session")
async def host_url() -> AsyncIterator[str]:
    async with serving(simulator(Options())) as url:
        yield url


@pytest_asyncio.fixture
async def host(host_url: str) -> AsyncIterator[Host]:
    """Lend an upload host that has no file at the start of each test."""
    async with httpx.AsyncClient(base_url=host_url, trust_env=False) as http:
        await http.delete("/simulator/uploads")
        yield Host(http)


@pytest.fixture
def start_uploading(start_gateway: StartGateway, host: Host) -> StartGateway:
    """Start gateways as `start_gateway` does, which upload to `host` and fetch from it."""

    async def start(**overrides: Any) -> Gateway:
        return await start_gateway(kie_upload_url=host.url, upload_allow_loopback=True, **overrides)

    return start


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    """Lend the OpenAPI document, which needs no running gateway."""
    secret = SecretStr("a-secret-of-the-document-not-to-be-shown")
    settings = Settings(
        database_url=SecretStr("postgresql://nobody@localhost/nothing"),
        secret_keys=(secret,),
        kie_api_key=secret,
    )
    return create_app(settings, worker=False).openapi()


class Scratch:
    """A migrated database of one test's own, reached over TCP."""

    def __init__(self, server: str, template: str, name: str) -> None:
        self._server = server
        self._template = template
        self._name = name
        self._line = AsyncExitStack()
        self.dsn = ""

    async def make(self) -> None:
        await self._admin(f"CREATE DATABASE {self._name} TEMPLATE {self._template}")
        own = with_database(self._server, self._name)
        _, self.dsn = await self._line.enter_async_context(between(own))

    async def goes_away(self) -> None:
        """Close the port and cut what is connected."""
        closing = asyncio.ensure_future(self._line.aclose())
        await self._cut()
        await closing

    async def refuses(self) -> None:
        """Keep the port open and let nobody in, as an administrator may."""
        await self._admin(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        await self._cut()

    async def admits(self) -> None:
        await self._admin(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")

    async def drop(self) -> None:
        await self.goes_away()
        await self._admin(f"DROP DATABASE {self._name} WITH (FORCE)")

    async def run(self, statement: str) -> None:
        await self._execute(with_database(self._server, self._name), statement)

    async def _cut(self) -> None:
        await self._admin(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"  # noqa: S608  # our own name
            f" WHERE datname = '{self._name}'"
        )

    async def _admin(self, statement: str) -> None:
        await self._execute(self._server, statement)

    @staticmethod
    async def _execute(dsn: str, statement: str) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@pytest_asyncio.fixture
async def scratch(server: str, template: str) -> AsyncIterator[Scratch]:
    made = Scratch(server, template, f"scratch_{os.getpid()}")
    await made.make()
    yield made
    await made.drop()


@pytest_asyncio.fixture
async def new_key(gateway: Gateway) -> IssueKey:
    """Issue keys of any client to call `gateway` with."""

    async def issue(client: str) -> str:
        return await issue_key(gateway.settings, client)

    return issue
