"""Every process is replaced in turn behind nginx, under load, and no request fails."""

import asyncio
import itertools
import signal
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from tests.gateway import BODY, Gateway
from tests.processes import nginx
from tests.processes.conftest import At, Start
from tests.processes.stage import Running
from tests.stage import eventually
from tests.upstream import Upstream, accepted, succeeded

CALLERS, POSTERS = 4, 4
LINGER = 5.0
"""Seconds: the default, for which the nginx of the page is made."""


@dataclass
class Load:
    """Callers that create, wait and read through nginx, and kie.ai that calls back through it."""

    gateway: Gateway
    upstream: Upstream
    durations: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    settled: int = 0
    _over: bool = False

    async def sent(self, request: Coroutine[Any, Any, httpx.Response]) -> httpx.Response | None:
        """Note how a request went; None: it failed."""
        started = time.monotonic()
        try:
            answer = await request
        except httpx.HTTPError as error:
            self.failed.append(repr(error))
            return None
        self.durations.append(time.monotonic() - started)
        if not answer.is_success:
            self.failed.append(f"{answer.request.method} {answer.request.url}: {answer.text}")
            return None
        return answer

    async def caller(self, number: int) -> None:
        """Every other create has a key; each task is followed to its end."""
        for turn in itertools.count():
            if self._over:
                return
            key = f"{number}-{turn}" if turn % 2 else None
            created = await self.sent(self.gateway.post(BODY, key=key))
            while created is not None and not self._over:
                task = created.json()
                if task["state"] == "succeeded":
                    self.settled += 1
                    break
                http = self.gateway.http
                created = await self.sent(http.get(f"/v1/tasks/{task['id']}?wait=2"))

    async def poster(self, task_id: str) -> None:
        """POST one after the other: nginx does not repeat one that was sent."""
        http, body = self.gateway.http, {"ids": [task_id], "timeout": 0}
        while not self._over:
            await self.sent(http.post("/v1/tasks/wait", json=body))

    def calls_back(self, group: asyncio.TaskGroup) -> None:
        """Have kie.ai call back for each create, at about the time of its answer."""

        async def create(body: Mapping[str, Any]) -> Response:
            kie_task_id = self.upstream.next_id()
            group.create_task(self._call_back(body["callBackUrl"], kie_task_id))
            return accepted(kie_task_id)

        self.upstream.on_create = create

    async def _call_back(self, url: str, kie_task_id: str) -> None:
        self.upstream.records[kie_task_id] = succeeded(kie_task_id)
        path = url.split("gateway.test/base", 1)[1]
        await self.sent(self.gateway.call_back(path, succeeded(kie_task_id)))

    async def goes_on(self, requests: int = 150) -> None:
        """Wait until so many more are answered."""
        enough = len(self.durations) + requests

        async def look() -> bool | None:
            return len(self.durations) >= enough or bool(self.failed) or None

        await eventually(look, 60)

    def end(self) -> None:
        self._over = True


@pytest.mark.long
@pytest.mark.skipif(
    nginx.NGINX is None, reason="nginx is not installed (apt-get install nginx-light)"
)
async def test_each_process_is_replaced_and_no_request_fails(
    start: Start, at: At, upstream: Upstream, tmp_path: Path
) -> None:
    ports = nginx.free_ports(3)

    async def serve(port: int) -> Running:
        process = await start(
            *("serve", "--port", str(port)),
            GATEWAY_SHUTDOWN_LINGER=str(LINGER),
            GATEWAY_SUBMIT_WAIT="0",
            GATEWAY_KIE_CREATES_PER_10S="10000",
            GATEWAY_KIE_MAX_RUNNING="10000",
        )
        await process.ready()
        return process

    old = [await serve(port) for port in ports[:2]]
    async with nginx.before(ports, tmp_path) as proxy:
        load = Load(await at(proxy.url), upstream)
        async with asyncio.TaskGroup() as group:
            load.calls_back(group)
            for number in range(CALLERS):
                group.create_task(load.caller(number))
            known = (await load.gateway.create())["id"]
            for _ in range(POSTERS):
                group.create_task(load.poster(known))
            await load.goes_on()
            for port, leaving in zip((ports[2], ports[0]), old, strict=True):
                new = await serve(port)
                await load.goes_on()
                assert await leaving.end(signal.SIGTERM) == 0
                await load.goes_on()
                assert new.process.returncode is None
            load.end()
        sent, slowest = len(load.durations), max(load.durations)
        middle = sorted(load.durations)[sent // 2]
        print(  # noqa: T201  # the figures, with -s
            f"{sent} requests, {len(load.failed)} failed, {load.settled} tasks settled,"
            f" {proxy.repeated} tried at a second process, p50 {middle * 1000:.0f} ms,"
            f" slowest {slowest:.2f} s"
        )
        assert load.failed == []
        assert load.settled > 100
        assert proxy.repeated > 0  # nginx did meet processes that were gone
