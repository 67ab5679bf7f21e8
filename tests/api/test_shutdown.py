"""From the signal to the end: requests are answered, and nothing more is started."""

import asyncio
from collections.abc import Callable

from app.config import Settings
from app.main import create_app
from app.services.services import Services
from app.worker import at_work, loops
from tests.fixtures.gateway import Wire
from tests.gateway import Gateway
from tests.stage import serving
from tests.upstream import Upstream


async def test_what_comes_after_the_signal_is_stored_and_left_to_others(
    wire: Wire, make_settings: Callable[..., Settings], upstream: Upstream
) -> None:
    settings = make_settings()
    app = create_app(settings, worker=True)
    async with serving(app) as url, Gateway.at(url, settings) as gateway:
        await gateway.create()
        ending: Services = app.state.services

        ending.shutdown.begin()
        created, waiting = await asyncio.gather(gateway.post(), gateway.post(wait=20))
        ready, live = [await gateway.http.get(path) for path in ("/readyz", "/livez")]

        for answer in (created, waiting):
            assert (answer.status_code, answer.json()["state"]) == (201, "queued")
        assert len(upstream.creates) == 1
        assert {one.headers["connection"] for one in (created, waiting, ready, live)} == {"close"}
        assert (ready.status_code, list(ready.json()["checks"])) == (503, ["shutdown"])
        assert live.status_code == 200

        other = await wire()
        async with at_work(other, loops(other)):
            for answer in (created, waiting):
                assert await gateway.reaches(answer.json()["id"], "running")
    assert len(upstream.creates) == 3
