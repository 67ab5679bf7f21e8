"""What strangers do to a gateway, and clients whose keys say nothing about their manners."""

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.attacks.attack import Target, pause
from tests.stage import eventually

NOTHING = "no answer"
HOLD = 20.0
"""Seconds for which slow connections are held."""


# -- raw connections


@contextlib.asynccontextmanager
async def _connected(
    target: Target,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    parts = urlsplit(target.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _status(reader: asyncio.StreamReader) -> str:
    """Read the status of an answer; the connection may end, or be reset, before it."""
    with contextlib.suppress(OSError, IndexError, TimeoutError):
        async with asyncio.timeout(10):
            return (await reader.readline()).split()[1].decode()
    return NOTHING


async def _each(count: int, one: Callable[[int], Awaitable[str]]) -> str:
    """Do one thing many times at once; returns the answers, counted."""
    return counted(await asyncio.gather(*(one(number) for number in range(count))))


def counted(answers: list[str]) -> str:
    return ", ".join(f"{count} x {answer}" for answer, count in Counter(answers).most_common())


async def large_headers(target: Target) -> str:
    """Four connections, each with 15 MB of headers."""
    line = b"X-Filler: " + b"a" * 1000 + b"\r\n"

    async def one(_: int) -> str:
        async with _connected(target) as (reader, writer):
            writer.write(b"POST /callbacks/kie/x/y HTTP/1.1\r\nHost: gateway\r\n")
            with contextlib.suppress(OSError):
                for _ in range(150):
                    writer.write(line * 100)
                    await writer.drain()
            return await _status(reader)

    return await _each(4, one)


async def slow_connections(target: Target) -> str:
    """A thousand connections that never send a whole request: silent, half a head, `GE`."""
    beginnings = (b"", b"GET /livez HTTP/1.1\r\nHost: gateway\r\n", b"GE")

    async def one(number: int) -> str:
        try:
            async with _connected(target) as (reader, writer):
                writer.write(beginnings[number % 3])
                async with asyncio.timeout(HOLD):
                    first = await reader.readline()
                return first.split()[1].decode() if first else "closed"
        except TimeoutError:
            return "still open"
        except (OSError, IndexError):
            return "refused or reset"

    return await _each(1000, one)


async def slow_bodies(target: Target) -> str:
    """200 creates whose bodies come at a byte in three seconds."""
    head = (
        f"POST /v1/tasks HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {target.api_key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    ).encode()

    async def one(_: int) -> str:
        async with _connected(target) as (reader, writer):
            writer.write(head)
            answer = asyncio.create_task(reader.readline())
            started = time.monotonic()
            while not answer.done() and time.monotonic() - started < 2 * HOLD:
                with contextlib.suppress(OSError):
                    writer.write(b" ")
                    await writer.drain()
                await asyncio.wait({answer}, timeout=3)
            if not answer.done():
                answer.cancel()
                return "still open"
            with contextlib.suppress(OSError, IndexError):
                return answer.result().split()[1].decode()
            return "closed"

    return await _each(200, one)


# -- keys and tokens that are none


def _flood(seconds: float, ask: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]) -> Any:
    async def act(target: Target) -> str:
        answers: list[str] = []
        ends = time.monotonic() + seconds
        async with target.client() as http:

            async def one() -> None:
                while time.monotonic() < ends:
                    try:
                        answers.append(str((await ask(http)).status_code))
                    except httpx.HTTPError:
                        answers.append(NOTHING)

            await asyncio.gather(*(one() for _ in range(64)))
        return counted(answers)

    return act


async def _with_a_wrong_key(http: httpx.AsyncClient) -> httpx.Response:
    return await http.get("/v1/tasks?limit=1", headers={"Authorization": f"Bearer kgw_{'x' * 43}"})


async def _with_wrong_keys(http: httpx.AsyncClient) -> httpx.Response:
    key = f"kgw_{secrets.token_urlsafe(32)}"
    return await http.get("/v1/tasks?limit=1", headers={"Authorization": f"Bearer {key}"})


async def _with_a_wrong_admin_key(http: httpx.AsyncClient) -> httpx.Response:
    headers = {"Authorization": f"Bearer {secrets.token_urlsafe(20)}"}
    return await http.get("/v1/admin/admission", headers=headers)


async def _with_a_wrong_token(http: httpx.AsyncClient) -> httpx.Response:
    path = f"/callbacks/kie/01890a5d-ac96-774b-bcce-b302099a8057/{secrets.token_urlsafe(16)}"
    return await http.post(path, content=b"{}")


async def _for_metrics(http: httpx.AsyncClient) -> httpx.Response:
    return await http.get("/metrics")


wrong_key = _flood(8, _with_a_wrong_key)
wrong_keys = _flood(8, _with_wrong_keys)
wrong_admin_keys = _flood(8, _with_a_wrong_admin_key)
wrong_tokens = _flood(8, _with_a_wrong_token)
metrics = _flood(8, _for_metrics)


# -- what a caller's own words do


async def backslashes(target: Target) -> str:
    """Show what kie.ai said of a task whose input is 40 kB of backslashes."""
    async with target.client() as http:
        body = {"model": "google/nano-banana", "input": {"prompt": "\\" * 20_000}}
        created = await http.post("/v1/tasks", json=body)
        task = (await http.get(f"/v1/tasks/{created.json()['id']}?wait=20")).json()
        shown = await http.get(f"/v1/tasks/{task['id']}/callbacks")
    return f"{task['state']}, {shown.status_code}"


# -- a callback URL that somebody knows


async def known_url(target: Target) -> Mapping[str, Any]:
    """Have a task settled, and find its callback URL."""
    async with target.client() as http, httpx.AsyncClient(trust_env=False) as kie:
        body = {"model": "google/nano-banana", "input": {"prompt": "a cat"}}
        created = (await http.post("/v1/tasks", json=body)).json()

        async def settled() -> str | None:
            task = (await http.get(f"/v1/tasks/{created['id']}?wait=5")).json()
            return task["kie_task_id"] if task["state"] == "succeeded" else None

        kie_task_id = await eventually(settled, 30)
        creates = (await kie.get(f"{target.kie}/simulator/creates")).json()["data"]
    url = next(one["callBackUrl"] for one in creates if one["taskId"] == kie_task_id)
    return {"url": url, "kie_task_id": kie_task_id}


async def large_callbacks(target: Target) -> str:
    """Post a hundred bodies of 760 kB, each another one, to a known URL."""
    filler = secrets.token_hex(380_000)  # what cannot be compressed

    async def one(number: int) -> str:
        body = {
            "code": 200,
            "data": {"taskId": target.facts["kie_task_id"], "n": number, "x": filler},
        }
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            return str((await http.post(target.facts["url"], json=body)).status_code)

    answers: list[str] = []
    for start in range(0, 100, 10):
        answers += await asyncio.gather(*(one(start + n) for n in range(10)))
    return counted(answers)


async def many_callbacks(target: Target) -> str:
    """Post what says nothing to the URL of a settled task, for eight seconds."""
    answers: list[str] = []
    ends = time.monotonic() + 8
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        while time.monotonic() < ends:
            answers.append(str((await http.post(target.facts["url"], content=b"{}")).status_code))
            await pause(0.01)
    return counted(answers)
