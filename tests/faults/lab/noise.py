"""A noisy client beside the callers: it asks for all that it may, and for more, without end.

It creates as they do, and its tasks are audited with theirs. A few creates of a run are new; all
others repeat them, as of one who believes no answer, or are refused: bad ones, and those beyond its
limit of requests. It lists large pages, opens streams, and has its tasks refreshed and its
deliveries repeated, as often as it is answered.
"""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.faults.lab.audit import Told
from tests.faults.lab.patience import passed

CONNECTIONS = 4
PAUSE = 0.02
"""Seconds between two requests of a connection: all share two cores."""
TASKS = 6
"""New tasks in a run: each is sent, called back, settled and delivered beside the callers'."""
REQUESTS_PER_SECOND = 25
"""Its limit, far below what it tries."""
STREAMED = 0.5
"""Seconds for which it listens to a stream."""
BODY: Mapping[str, Any] = {"model": "google/nano-banana", "input": {"prompt": "noise " * 2000}}
NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"
REQUESTS: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/v1/tasks", BODY),
    ("GET", "/v1/tasks?limit=200&include=input", None),
    ("POST", "/v1/tasks/{task}/refresh", None),
    ("POST", "/v1/tasks", {"model": "", "input": {}}),
    ("GET", "/v1/tasks/{task}?wait=1", None),
    ("POST", "/v1/deliveries/redeliver", {"state": "delivered"}),
    ("GET", "/v1/events?limit=200", None),
    ("STREAM", "/v1/events", None),
)


class Noise:
    """Made for the length of a block; `answers` are counted by status, 0 is none."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.answers: Counter[int] = Counter()
        self.told: dict[str, Told] = {}
        """By the keys of this run."""
        self._prefix = ""
        self._body = BODY

    @property
    def is_done(self) -> bool:
        """Whether all its new tasks were answered: from now on it only repeats."""
        return len(self.told) == TASKS

    def begin(self, prefix: str, webhook_url: str | None) -> None:
        """Create under keys that begin so from now on; what was told before is forgotten.

        `webhook_url`: where it is notified; None: nowhere.
        """
        self.told = {}
        self._prefix = prefix
        self._body = BODY if webhook_url is None else {**BODY, "webhook_url": webhook_url}

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
        for turn in itertools.count(2 * first):
            method, path, body = REQUESTS[turn % len(REQUESTS)]
            status = 0
            with contextlib.suppress(httpx.TransportError):
                if method == "STREAM":
                    status = await self._listen(path)
                elif body is BODY:
                    status = await self._create(turn)
                else:
                    named = path.format(task=self._any_task(turn))
                    status = (await self._http.request(method, named, json=body)).status_code
            self.answers[status] += 1
            await passed(PAUSE)

    def _any_task(self, turn: int) -> str:
        tasks = [told.task_id for told in self.told.values()]
        return tasks[turn % len(tasks)] if tasks else NOBODY

    async def _create(self, turn: int) -> int:
        """Create one that is new, or again one that was answered; no answer means to repeat."""
        keys = [f"{self._prefix}{number}" for number in range(TASKS)]
        new = [key for key in keys if key not in self.told]
        key = (new or keys)[turn % len(new or keys)]
        answer = await self._http.post(
            "/v1/tasks",
            json=self._body,
            headers={"Idempotency-Key": key},
        )
        if answer.is_success:
            told = Told(key=key, task_id=answer.json()["id"], status=answer.status_code)
            self.told.setdefault(key, told)
        return answer.status_code

    async def _listen(self, path: str) -> int:
        headers = {"Accept": "text/event-stream"}
        async with self._http.stream("GET", path, headers=headers) as answer:
            if answer.is_success:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STREAMED):
                        async for _ in answer.aiter_bytes():
                            pass
            return answer.status_code
