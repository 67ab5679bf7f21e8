"""Large bodies: one client's own tasks, listed over and over by many connections."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx

from tests.attacks.attack import Act, Prepare, Target

MODEL = "google/nano-banana"
TEXT = {"prompt": "a" * 1_000_000}
NUMBERS = {"numbers": [n / 8 for n in range(90_000)]}
"""0.75 MB of JSON, each number of which is read into an object of a hundred bytes."""


def with_tasks(count: int, written: Mapping[str, Any]) -> Prepare:
    """Have so many tasks with this input: canceled or sent, they are listed alike."""

    async def prepare(target: Target) -> Mapping[str, Any]:
        async with target.client() as http:
            for _ in range(count):
                answer = await http.post("/v1/tasks", json={"model": MODEL, "input": written})
                answer.raise_for_status()
        return {}

    return prepare


async def _path(http: httpx.AsyncClient, *, with_input: bool) -> str:
    """Return the list to ask for; gateways from before `include` have the inputs in all lists."""
    known = (await http.get("/v1/tasks?limit=1&include=input")).is_success
    return "/v1/tasks?limit=200" + ("&include=input" if with_input and known else "")


def lists(connections: int, *, with_input: bool = False, seconds: float = 0.0) -> Act:
    """List by so many connections: for so many seconds, or once each."""

    async def act(target: Target) -> str:
        answers: Counter[str] = Counter()
        largest = 0
        ends = time.monotonic() + seconds
        async with target.client() as http:
            path = await _path(http, with_input=with_input)

            async def one() -> None:
                nonlocal largest
                while True:
                    try:
                        answer = await http.get(path)
                        answers[str(answer.status_code)] += 1
                        largest = max(largest, len(answer.content))
                    except httpx.HTTPError:
                        answers["no answer"] += 1
                    if time.monotonic() >= ends:
                        return

            await asyncio.gather(*(one() for _ in range(connections)))
        told = ", ".join(f"{count} x {status}" for status, count in answers.most_common())
        return f"{told} of up to {largest / 1e6:.1f} MB"

    return act
