"""A noisy client beside what is measured: the one of the fault lab, at its limit and beyond."""

import contextlib
from collections.abc import AsyncIterator

import httpx

from app.services.clients.settings import ClientChange
from benchmarks.scene import Scene
from tests.faults.lab.noise import REQUESTS_PER_SECOND, Noise
from tests.gateway import OPERATOR

NAME = "noisy"


@contextlib.asynccontextmanager
async def noisy(scene: Scene) -> AsyncIterator[Noise]:
    """Have it beside for the length of the block; it creates six tasks, and repeats them."""
    caller = await scene.client(NAME)
    limit = frozenset({"requests_per_second"})
    change = ClientChange(given=limit, requests_per_second=REQUESTS_PER_SECOND)
    await scene.services.clients.change(OPERATOR, NAME, change)
    async with httpx.AsyncClient(
        base_url=scene.processes.url,
        headers={"Authorization": f"Bearer {caller.api_key}"},
        trust_env=False,
        timeout=30,
    ) as http:
        noise = Noise(http)
        noise.begin("noise ", None)
        async with noise.made():
            yield noise
