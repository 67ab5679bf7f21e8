"""A hundred clients at their limits together: more than the machine can serve."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.attacks.attack import Target, pause
from tests.attacks.strangers import known_url

CLIENTS = 100
CONNECTIONS = 6
"""Of each: together more than GATEWAY_MAX_CONCURRENT_REQUESTS."""
SECONDS = 15.0
BODY = json.dumps({"model": "google/nano-banana", "input": {"prompt": "a cat"}})
AT_ONCE = 10
CALLBACK_EVERY = 0.2


async def clients(target: Target) -> Mapping[str, Any]:
    """Make the clients, and have a task settled whose callback URL is known."""
    operator = {"Authorization": f"Bearer {target.admin_key}"}
    keys: list[str] = []
    async with httpx.AsyncClient(
        base_url=target.url, headers=operator, timeout=60, trust_env=False
    ) as http:

        async def make(number: int) -> None:
            answer = await http.post("/v1/admin/keys", json={"client": f"crowd-{number}"})
            answer.raise_for_status()
            keys.append(answer.json()["api_key"])

        for start in range(0, CLIENTS, AT_ONCE):
            await asyncio.gather(*(make(start + number) for number in range(AT_ONCE)))
    return {**await known_url(target), "keys": keys}


def _requests(key: str) -> list[bytes]:
    """Return what each client asks for by turns: a list, a create, a list with inputs."""
    head = f"HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n"
    lists = [f"GET {path} {head}\r\n".encode() for path in ("/v1/tasks", "/v1/tasks?include=input")]
    sized = f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    create = f"POST /v1/tasks {head}{sized}{BODY}".encode()
    return [lists[0], create, lists[1]]


async def _answer(reader: asyncio.StreamReader) -> str:
    """Read an answer; returns its status, and the code of a refusal."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
    body = await reader.readexactly(length)
    status = head.split(" ", 2)[1]
    return f"{status} {json.loads(body)['code']}" if "problem+json" in head else status


async def _asks(target: Target, key: str, ends: float, answers: Counter[str]) -> None:
    parts = urlsplit(target.url)
    turn = 0
    while time.monotonic() < ends:
        writer = None
        try:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            while time.monotonic() < ends:
                writer.write(_requests(key)[turn % 3])
                turn += 1
                answers[await _answer(reader)] += 1
        except (OSError, asyncio.IncompleteReadError):
            answers["no answer"] += 1
            await pause(0.1)
        finally:
            if writer is not None:
                writer.close()


async def _called_back(target: Target, ends: float, took: list[float]) -> None:
    """Say again and again what kie.ai said, each time on a connection of its own."""
    while time.monotonic() < ends:
        started = time.monotonic()
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            with contextlib.suppress(httpx.HTTPError):
                answer = await http.post(target.facts["url"], content=b"{}")
                if answer.is_success:
                    took.append(time.monotonic() - started)
                    await pause(CALLBACK_EVERY)
                    continue
        took.append(float("inf"))
        await pause(CALLBACK_EVERY)


async def at_their_limits(target: Target) -> str:
    """All ask on six connections each, as fast as they are answered."""
    answers: Counter[str] = Counter()
    took: list[float] = []
    ends = time.monotonic() + SECONDS
    asking = [
        _asks(target, key, ends, answers)
        for key in target.facts["keys"]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.gather(_called_back(target, ends, took), *asking)
    told = ", ".join(f"{count} x {answer}" for answer, count in answers.most_common())
    return f"{told}; callbacks within {max(took):.2f} s"
