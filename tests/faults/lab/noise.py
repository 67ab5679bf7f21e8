"""A noisy client beside the callers: it lists, creates badly, refreshes and repeats without end.

Its creates are refused: what kie.ai is asked to do in a run is the callers' and the faults' only.
"""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.faults.lab.patience import passed

CONNECTIONS = 4
PAUSE = 0.02
"""Seconds between two requests of a connection: all share two cores."""
NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"
REQUESTS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/v1/tasks?limit=200&include=input", None),
    ("POST", "/v1/tasks", {"model": "", "input": {}}),
    ("POST", f"/v1/tasks/{NOBODY}/refresh", None),
    ("POST", "/v1/deliveries/redeliver", {"state": "exhausted"}),
    ("GET", "/v1/events?limit=200", None),
)


class Noise:
    """Made for the length of a block; `answers` are counted by status, 0 is none."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.answers: Counter[int] = Counter()

    @asynccontextmanager
    async def made(self) -> AsyncIterator[None]:
        making = [asyncio.create_task(self._make(number)) for number in range(CONNECTIONS)]
        try:
            yield
        finally:
            for one in making:
                one.cancel()
            await asyncio.gather(*making, return_exceptions=True)

    async def _make(self, first: int) -> None:
        for turn in itertools.count(first):
            method, path, body = REQUESTS[turn % len(REQUESTS)]
            status = 0
            with contextlib.suppress(httpx.TransportError):
                status = (await self._http.request(method, path, json=body)).status_code
            self.answers[status] += 1
            await passed(PAUSE)
