"""A gateway with an admin key, and a browser in front of it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest_asyncio
from pydantic import SecretStr

from tests.console.stage import ADMIN_KEY, Browser
from tests.gateway import Gateway

StartGateway = Callable[..., Awaitable[Gateway]]
Browse = Callable[..., Awaitable[Browser]]


@pytest_asyncio.fixture
async def admin_gateway(start_shared: StartGateway) -> Gateway:
    return await start_shared(admin_key=SecretStr(ADMIN_KEY))


@pytest_asyncio.fixture
async def browse(admin_gateway: Gateway) -> AsyncIterator[Browse]:
    """Open browsers that have yet to sign in."""
    async with AsyncExitStack() as stack:

        async def open_(gateway: Gateway = admin_gateway, key: str | None = None) -> Browser:
            http = httpx.AsyncClient(base_url=gateway.http.base_url, trust_env=False, timeout=30)
            browser = Browser(await stack.enter_async_context(http))
            if key is not None:
                assert (await browser.sign_in(key)).status_code == 303
            return browser

        yield open_


@pytest_asyncio.fixture
async def browser(browse: Browse) -> Browser:
    """Lend a browser whose operator has signed in with the first admin key."""
    return await browse(key=ADMIN_KEY)
