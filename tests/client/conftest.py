"""A gateway, both of its clients, and something unruly between them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from pydantic import SecretStr

from app.config import Settings
from app.main import create_app
from tests.client.front import Front, before
from tests.client.side import SIDES, Side, closing
from tests.gateway import Gateway

Connect = Callable[..., Awaitable[Side]]
StartGateway = Callable[..., Awaitable[Gateway]]


@pytest.fixture
def start_gateway(start_shared: StartGateway) -> StartGateway:
    """One gateway for the module: the tests leave nothing in it but rows."""
    return start_shared


@pytest_asyncio.fixture(params=SIDES)
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Make a client of the kind that the test runs with."""
    async with AsyncExitStack() as stack:

        async def make(url: str, api_key: str, **options: Any) -> Side:
            made = SIDES[request.param](url, api_key, **options)
            stack.push_async_callback(closing, made)
            return Side(request.param, made)

        yield make


@pytest_asyncio.fixture
async def side(connect: Connect, gateway: Gateway) -> Side:
    """Call the gateway directly."""
    return await connect(str(gateway.http.base_url), gateway.api_key)


@pytest_asyncio.fixture
async def front(gateway: Gateway) -> AsyncIterator[Front]:
    async with before(urlsplit(str(gateway.http.base_url)).port or 0) as standing:
        yield standing


@pytest_asyncio.fixture
async def behind(connect: Connect, front: Front, gateway: Gateway) -> Side:
    """Call the gateway through `front`."""
    return await connect(front.url, gateway.api_key, patience=10.0)


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    """Lend the OpenAPI document, which needs no running gateway."""
    secret = SecretStr("a-secret-of-the-document-not-to-be-shown")
    settings = Settings(
        database_url=SecretStr("postgresql://nobody@localhost/nothing"),
        secret_keys=(secret,),
        kie_api_key=secret,
        admin_key=SecretStr("q8Wm3Zt6Rk1Vx9Lp4Ns7Bd2Hf5Gj0Yc"),
    )
    return create_app(settings, worker=False).openapi()
