"""What one client does to the account's limits: refreshes, tasks that hang, a queue without end."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg
import httpx

from tests.attacks.attack import Target, pause

BODY = {"model": "google/nano-banana", "input": {"prompt": "a cat"}}
HANGS = 3600.0
"""Seconds that kie.ai takes for a task that hangs."""
LASTS = 20.0
"""Seconds that an attack lasts at most."""
QUEUED = 100_000
CREATES = 60
"""What kie.ai takes in ten seconds of a long queue."""
_SENT = "SELECT count(*) FROM tasks WHERE state <> 'queued'"


async def _hanging(target: Target, tasks: int) -> list[str]:
    """Have so many tasks that do not end, as many of them at kie.ai as the gateway sends."""
    async with target.client() as client, httpx.AsyncClient(trust_env=False) as kie:
        rule = {"duration": HANGS, "count": tasks}
        (await kie.post(f"{target.kie}/simulator/next", json=rule)).raise_for_status()
        made = [await client.post("/v1/tasks", json=BODY) for _ in range(tasks)]
        ids = [answer.json()["id"] for answer in made if answer.is_success]
        running = (await client.get("/v1/tasks?state=running&limit=200")).json()["data"]
        for _ in range(tasks - len(running)):  # what was not sent must not hang for the victim
            await kie.post(
                f"{target.kie}/api/v1/jobs/createTask",
                headers={"Authorization": "Bearer sk-simulator"},
                json=BODY,
            )
    return ids


async def forty_hang(target: Target) -> Mapping[str, Any]:
    return {"ids": await _hanging(target, 40)}


async def hundred_hang(target: Target) -> Mapping[str, Any]:
    return {"ids": await _hanging(target, 100)}


async def queue_filled(target: Target) -> Mapping[str, Any]:
    """Queue 100,000 tasks by SQL: to create them would take longer than the attack.

    They are sent for two windows of kie.ai's limit before anybody looks: its first burst is over.
    """
    connection = await asyncpg.connect(target.dsn)
    try:
        with contextlib.suppress(asyncpg.UndefinedColumnError):  # there was no bound before
            await connection.execute("UPDATE clients SET queued_tasks = 1000000")
        await connection.execute(
            "INSERT INTO tasks (id, client_id, state, model, input, metadata, priority,"
            " fingerprint, submit_by, due_at) SELECT gen_random_uuid(), clients.id, 'queued',"
            " 'google/nano-banana', '{\"prompt\": \"a cat\"}', '{}', 5, '\\x00',"
            " now() + interval '1 day', now() FROM clients, generate_series(1, $1::int)"
            " WHERE name = 'noisy'",
            QUEUED,
        )
        await connection.execute("ANALYZE tasks")
        while await connection.fetchval(_SENT) <= 2 * CREATES:
            await pause(0.2)
    finally:
        await connection.close()
    return {}


async def _counted(each: Callable[[int], Awaitable[list[int]]], at_once: int) -> str:
    """Do it on so many connections until the time is over; returns the statuses, counted."""
    until = time.monotonic() + LASTS
    statuses: Counter[int] = Counter()

    async def one(number: int) -> None:
        turn = number
        while time.monotonic() < until:
            statuses.update(await each(turn))
            turn += at_once

    await asyncio.gather(*(one(number) for number in range(at_once)))
    return ", ".join(f"{count} x {status}" for status, count in statuses.most_common())


async def refreshes(target: Target) -> str:
    """Refresh the 40 tasks from 20 connections, as often as it is answered."""
    ids = target.facts["ids"]
    async with target.client() as client:

        async def one(turn: int) -> list[int]:
            path = f"/v1/tasks/{ids[turn % len(ids)]}/refresh"
            return [(await client.post(path)).status_code]

        return await _counted(one, 20)


async def hanging(target: Target) -> str:
    """Do nothing more: the tasks are there."""
    await pause(LASTS / 2)
    return f"{len(target.facts['ids'])} accepted"


async def long_queue(target: Target) -> str:
    """Create and read at the end of the queue, from 4 connections."""
    async with target.client() as client:

        async def one(_: int) -> list[int]:
            made = await client.post("/v1/tasks", json={**BODY, "submit_within": 604_800})
            if not made.is_success:
                return [made.status_code]
            read = await client.get(f"/v1/tasks/{made.json()['id']}")
            return [made.status_code, read.status_code]

        return await _counted(one, 4)
