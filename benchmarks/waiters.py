"""A thousand waiters on a thousand tasks in one process: how long from the commit to the answer.

`python -m benchmarks.waiters [tasks] [settled per second]`. The waiters hold `?wait=55` at one
process; kie.ai's callbacks go to another, so every wake-up travels by NOTIFY. A latency is the
answer's arrival less `finished_at`, which PostgreSQL sets just before the commit. Half of the tasks
are settled so; then the listening connections are cut and the rest is settled: polling has to find
what the wake-ups did not tell.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import aiohttp
import asyncpg

from app.domain.callback_url import CallbackUrls, derive
from benchmarks.stand import SECRET, cpu_seconds, database, environment, numbers, process, told

ATTEMPTS = 40
SIMULATOR = (
    *("simulator", "--port", "0", "--duration", "3600", "--credits", "1000000"),
    *("--creates-per-window", "100000"),
)
UNBOUNDED = {
    "GATEWAY_KIE_CREATES_PER_10S": "10000",
    "GATEWAY_KIE_MAX_RUNNING": "100000",
    "GATEWAY_MAX_CONCURRENT_REQUESTS": "2000",
    "GATEWAY_KIE_CONFIRM": "off",
}
"""Every task is at kie.ai once it is created, and all waiters may come at once."""

SIDES = 50
"""Creates under way at once while the stage is set."""

LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query ~ '^(LISTEN|SELECT pg_notify)'"


def main(count: int, rate: float) -> None:
    with (
        database() as dsn,
        process(SIMULATOR, {}) as (upstream, _),
    ):
        settings = environment(dsn, upstream, **UNBOUNDED)
        with (
            process(["serve"], settings) as waiting,
            process(["serve", "--no-worker"], settings) as (telling, _),
        ):
            asyncio.run(_measured(dsn, waiting, telling, _key(settings), count, rate))


def _key(settings: dict[str, str]) -> str:
    command = [sys.executable, "-m", "app.cli", "keys", "create", "bench", "--json"]
    made = subprocess.run(command, env=settings, check=True, capture_output=True)  # noqa: S603
    key: str = json.loads(made.stdout)["api_key"]
    return key


async def _measured(
    dsn: str, waiting: tuple[str, int], telling: str, key: str, count: int, rate: float
) -> None:
    url, pid = waiting
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers=headers
    ) as http:
        tasks = await _created(http, url, count)
        waiters = [asyncio.create_task(_wait(http, url, task["id"])) for task in tasks]
        await asyncio.sleep(3)  # until all of them wait
        half = count // 2
        before = cpu_seconds(pid)
        await _settled(http, telling, tasks[:half], rate)
        print(told(f"{half} of {count} waiters, woken", await asyncio.gather(*waiters[:half])))
        print(
            f"CPU of the waiting process: {1000 * (cpu_seconds(pid) - before) / half:.2f} ms each"
        )
        print(f"listening connections of two processes: {await _listeners(dsn, cut=True)}; cut now")
        await _settled(http, telling, tasks[half:], rate)
        print(told(f"{count - half} waiters, LISTEN cut", await asyncio.gather(*waiters[half:])))
        print(f"listening connections afterwards: {await _listeners(dsn, cut=False)}")


async def _created(http: aiohttp.ClientSession, url: str, count: int) -> list[dict[str, str]]:
    gate = asyncio.Semaphore(SIDES)

    async def create() -> dict[str, str]:
        async with (
            gate,
            http.post(f"{url}/v1/tasks", json={"model": "m", "input": {"a": 1}}) as made,
        ):
            task: dict[str, str] = await made.json()
            return task

    return list(await asyncio.gather(*(create() for _ in range(count))))


async def _wait(http: aiohttp.ClientSession, url: str, task_id: str) -> float:
    """Return the milliseconds from the end of the task to its answer."""
    for _ in range(ATTEMPTS):
        async with http.get(f"{url}/v1/tasks/{task_id}?wait=55") as answer:
            body = await answer.json()
            assert answer.ok, body
            arrived = time.time()
        if body["finished_at"]:
            return 1000 * (arrived - datetime.fromisoformat(body["finished_at"]).timestamp())
    message = f"{task_id} never ended"
    raise SystemExit(message)


async def _settled(
    http: aiohttp.ClientSession, url: str, tasks: Sequence[dict[str, str]], rate: float
) -> None:
    """Call back as kie.ai, at an even rate."""
    urls = CallbackUrls([derive(SECRET, "callback-token")], url)
    started = time.monotonic()

    async def call(task: dict[str, str]) -> None:
        result = json.dumps({"resultUrls": ["https://example.com/1.png"]})
        data = {"taskId": task["kie_task_id"], "state": "success", "resultJson": result}
        async with http.post(
            str(urls.url(UUID(task["id"]))), json={"code": 200, "data": data}
        ) as done:
            done.raise_for_status()

    calls = []
    for number, task in enumerate(tasks):
        await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
        calls.append(asyncio.create_task(call(task)))
    await asyncio.gather(*calls)


async def _listeners(dsn: str, *, cut: bool) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        pids = [row["pid"] for row in await connection.fetch(LISTENERS)]
        for pid in pids if cut else ():
            await connection.execute("SELECT pg_terminate_backend($1)", pid)
        return len(pids)
    finally:
        await connection.close()


if __name__ == "__main__":
    main(*numbers(__doc__, tasks=1000, settled_per_second=100.0))
