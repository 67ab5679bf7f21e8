"""A receiver that the tests of sending share."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from tests.outbound.stage import Receiver
from tests.stage import serving


@pytest_asyncio.fixture(scope="session")
async def serving_receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = Starlette(routes=[Route("/{path:path}", receiver.hear, methods=["GET", "POST"])])
    async with serving(app) as url:
        receiver.url = f"{url}/hook"
        yield receiver


@pytest.fixture
def receiver(serving_receiver: Receiver) -> Receiver:
    serving_receiver.heard.clear()
    serving_receiver.answer = Response
    return serving_receiver
