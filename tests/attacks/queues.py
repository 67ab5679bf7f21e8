"""What one client does to the account's limits: refreshes, tasks that hang, a queue without end."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx

from tests.attacks.attack import Target

BODY = {"model": "google/nano-banana", "input": {"prompt": "a cat"}}
HANGS = {**BODY, "submit_within": 600}
LASTS = "3600"
"""Seconds that the simulator takes for a task that hangs."""


async def _created(client: httpx.AsyncClient, tasks: int, at_once: int = 20) -> list[str]:
    """Create so many tasks; returns the ids of those that were."""
    places = asyncio.Semaphore(at_once)

    async def one() -> httpx.Response:
        async with places:
            return await client.post("/v1/tasks", json=HANGS)

    answers = await asyncio.gather(*(one() for _ in range(tasks)))
    return [answer.json()["id"] for answer in answers if answer.is_success]


async def _hanging(target: Target, tasks: int) -> list[str]:
    """Have kie.ai begin tasks that do not end; the victim's are as quick as before."""
    async with target.client() as client, httpx.AsyncClient(trust_env=False) as kie:
        rule = {"behaviour": "success", "duration": float(LASTS), "times": tasks}
        scripted = await kie.post(f"{target.kie}/simulator/next", json=rule)
        scripted.raise_for_status()
        return await _created(client, tasks)


async def forty_running(target: Target) -> Mapping[str, Any]:
    return {"ids": await _hanging(target, 40)}


async def refreshes(target: Target) -> str:
    """Refresh 40 running tasks from 20 connections, a thousand times in all."""
    ids = target.facts["ids"]
    statuses: Counter[int] = Counter()
    async with target.client() as client:

        async def one(number: int) -> None:
            for turn in range(50):
                task_id = ids[(number + 20 * turn) % len(ids)]
                statuses[(await client.post(f"/v1/tasks/{task_id}/refresh")).status_code] += 1

        async with asyncio.timeout(60):
            await asyncio.gather(*(one(number) for number in range(20)))
    return ", ".join(f"{count} x {status}" for status, count in statuses.most_common())


async def hanging(target: Target) -> str:
    """Have a hundred tasks running that do not end, and look on for a while."""
    ids = await _hanging(target, 100)
    await asyncio.sleep(15)
    return f"{len(ids)} created"


async def filled(target: Target) -> Mapping[str, Any]:
    """Queue 100,000 tasks, by SQL: to create them would take longer than the attack."""
    async with target.client() as client:
        first = (await client.post("/v1/tasks", json=BODY)).json()["id"]
    return {"id": first}


async def long_queue(target: Target) -> str:
    """Create and read at the end of a queue of 100,000 for ten seconds, from 8 connections."""
    until = time.monotonic() + 10
    statuses: Counter[int] = Counter()
    async with target.client() as client:

        async def one() -> None:
            while time.monotonic() < until:
                made = await client.post("/v1/tasks", json=HANGS)
                statuses[made.status_code] += 1
                if made.is_success:
                    read = await client.get(f"/v1/tasks/{made.json()['id']}")
                    statuses[read.status_code] += 1

        await asyncio.gather(*(one() for _ in range(8)))
    return ", ".join(f"{count} x {status}" for status, count in statuses.most_common())
