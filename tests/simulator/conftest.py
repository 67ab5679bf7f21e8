import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest_asyncio

from simulator.server import Options, create_app
from tests.simulator.stage import Receiver, Simulator
from tests.stage import serving

Simulate = Callable[[Options], Awaitable[Simulator]]


@pytest_asyncio.fixture
async def simulate() -> AsyncIterator[Simulate]:
    """Start simulators with the options that a test needs."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(options: Options) -> Simulator:
            url = await stack.enter_async_context(serving(create_app(options)))
            return await stack.enter_async_context(Simulator.at(url))

        yield start


@pytest_asyncio.fixture(scope="session")
async def quick_url() -> AsyncIterator[str]:
    options = Options(duration=0, callback_retry_delay=0.01)
    async with serving(create_app(options)) as url:
        yield url


@pytest_asyncio.fixture
async def simulator(quick_url: str) -> AsyncIterator[Simulator]:
    """One whose tasks are finished at once; shared, and empty at the start of each test."""
    async with Simulator.at(quick_url) as simulator:
        await simulator.http.delete("/simulator/faults")
        await simulator.http.delete("/simulator/ledger")
        yield simulator


@pytest_asyncio.fixture(scope="session")
async def listening() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with serving(receiver.app()) as url:
        receiver.url = f"{url}/callbacks/kie/1?token=%2Ft"
        yield receiver


@pytest_asyncio.fixture
async def receiver(listening: Receiver) -> Receiver:
    """A client's callback URL; it has received nothing at the start of each test."""
    listening.clear()
    return listening
