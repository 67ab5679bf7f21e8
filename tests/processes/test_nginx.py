"""The nginx of `docs/nginx.conf` before a gateway: bounds, streams, addresses, and no tokens."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.log import EVERY
from tests.api.stage import NOBODY
from tests.gateway import BODY
from tests.processes import nginx
from tests.processes.conftest import At, Start
from tests.stage import eventually
from tests.upstream import Upstream, succeeded

CALLER, SPOOFED = "127.0.0.2", "203.0.113.66"
"""Where our caller connects from, and what it claims."""
MiB = 1024 * 1024

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        nginx.NGINX is None, reason="nginx is not installed (apt-get install nginx-light)"
    ),
]


async def first_event(http: httpx.AsyncClient, create: Any) -> float:
    """Return the seconds from a create to its first event on an open stream."""
    loop = asyncio.get_running_loop()
    headers = {"Accept": "text/event-stream"}
    async with http.stream("GET", "/v1/events", headers=headers) as stream:
        lines = stream.aiter_lines()
        await anext(lines)  # the comment that opens it
        begun = loop.time()
        await create()
        async for line in lines:
            if line.startswith("event: task."):
                return loop.time() - begun
    raise AssertionError


async def flood(url: str, path: str, count: int) -> set[int]:
    """Send all requests at once on one connection, and return the statuses of the answers."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    one = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
    last = f"{one}Connection: close\r\n\r\n"
    writer.write((f"{one}\r\n" * (count - 1) + last).encode())
    answers = await reader.read(-1)
    writer.close()
    return {int(status) for status in re.findall(rb"^HTTP/1.1 (\d+)", answers, re.MULTILINE)}


async def caller(process: Any, guess: Callable[[], Awaitable[httpx.Response]]) -> str:
    """Guess a callback URL until the log has it, which names few of many; returns whose it says."""

    async def look() -> str | None:
        answer = await guess()
        assert answer.status_code == 404
        asked = answer.request.headers["x-request-id"]
        lines = [json.loads(line) for line in process.said.splitlines() if line[:1] == "{"]
        found = [one["address"] for one in lines if one.get("request_id") == asked]
        return found[0] if found else None

    return await eventually(look, 2 * EVERY)


async def test_a_gateway_behind_the_page(
    start: Start, at: At, upstream: Upstream, tmp_path: Path
) -> None:
    process = await start("serve", GATEWAY_TRUSTED_PROXIES='["127.0.0.1/32"]')
    port = int((await process.ready()).rpartition(":")[2])
    async with (
        nginx.before([port] * 3, tmp_path) as proxy,
        httpx.AsyncClient(
            base_url=proxy.url,
            transport=httpx.AsyncHTTPTransport(local_address=CALLER),
            timeout=30,
        ) as outside,
    ):
        gateway = await at(proxy.url)
        assert await first_event(gateway.http, gateway.create) < 1.0

        # a callback settles its task, and a token is in no log
        task = await gateway.create()
        path = "/callbacks/" + upstream.callback_path.split("/callbacks/")[1]
        upstream.records[task["kie_task_id"]] = succeeded(task["kie_task_id"])
        told = await outside.post(path, json=succeeded(task["kie_task_id"]))
        assert told.status_code == 200
        assert told.headers["x-content-type-options"] == "nosniff"
        settled = await gateway.task(task["id"], wait=10)
        assert settled["state"] == "succeeded"
        token = path.rpartition("/")[2]
        for odd in (
            path,
            f"{proxy.url}/{path}",
            path.replace("callbacks", "%63allbacks"),
            path + "?x=1",
        ):
            await outside.get(odd)
            await outside.post(odd, content=b"x" * (17 * MiB))
        assert proxy.said
        assert token not in proxy.said
        assert token not in process.said

        # what is too large is refused, and the gateway does not hear of it
        large = await outside.post(path, content=b"x" * (17 * MiB))
        assert large.status_code == 413
        assert (await gateway.post(b"x" * (MiB + 1))).status_code == 413
        for size, statuses in ((7_000, {200}), (70_000, {400, 414, 431})):
            answer = await outside.get("/livez", headers={"X": "x" * size})
            assert answer.status_code in statuses
        assert (await outside.get("/metrics")).status_code == 404

        # nginx says who calls, and not the caller itself
        wrong = f"/callbacks/kie/{NOBODY}/wrong"
        forged = {"X-Forwarded-For": SPOOFED, "X-Request-ID": "a-forged-one"}
        assert (
            await caller(process, partial(outside.post, wrong, json={}, headers=forged)) == CALLER
        )
        direct = f"http://127.0.0.1:{port}{wrong}"
        forged = {"X-Forwarded-For": f"{SPOOFED}, {CALLER}", "X-Request-ID": "another"}
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(local_address="127.0.0.3")
        ) as around:
            guess = partial(around.post, direct, json={}, headers=forged)
            assert await caller(process, guess) == "127.0.0.3"

        # a flood of guesses from one address is turned away there, and nobody else notices
        assert await flood(proxy.url, wrong, 800) == {404, 429}
        assert (await gateway.post(BODY)).status_code == 201
    assert await process.end() == 0
