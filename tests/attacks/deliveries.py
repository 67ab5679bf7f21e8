"""What one client's receivers and repetitions do to another's webhooks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any

import asyncpg
import httpx

from tests.attacks.attack import Target, pause
from tests.attacks.strangers import counted

SLOW = 13.5
"""Seconds after which a slow receiver says 200: within the attempt's 15."""
HOSTS = [f"127.0.0.{number}" for number in range(30, 42)]
TIMES = 90
"""Repetitions for each of the slow hosts."""
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
BODY = {"model": "simulator/any", "input": {"prompt": "a cat"}}


@contextlib.asynccontextmanager
async def _slow_hosts() -> AsyncIterator[list[str]]:
    """Lend the URLs of receivers on twelve addresses."""

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            await pause(SLOW)
            writer.write(ANSWER)
            await writer.drain()
        writer.close()

    async with contextlib.AsyncExitStack() as ending:
        urls = []
        for host in HOSTS:
            listener = await asyncio.start_server(receive, host, 0)
            ending.callback(listener.close)
            urls.append(f"http://{host}:{listener.sockets[0].getsockname()[1]}/")
        yield urls


async def _delivery_of(http: httpx.AsyncClient, url: str) -> str:
    """Create a task, and return its delivery as soon as there is one."""
    created = await http.post("/v1/tasks", json={**BODY, "webhook_url": url})
    path = f"/v1/tasks/{created.json()['id']}/deliveries"
    while True:
        found: list[dict[str, Any]] = (await http.get(path)).json()["data"]
        if found:
            return str(found[0]["id"])
        await pause(0.3)


async def _statuses(calls: list[Awaitable[httpx.Response]]) -> list[str]:
    return [str((await call).status_code) for call in asyncio.as_completed(calls)]


async def slow_hosts(target: Target) -> str:
    """1,080 repetitions to twelve hosts that take 13.5 s for each."""
    async with _slow_hosts() as urls, target.client() as http:
        ids = await asyncio.gather(*(_delivery_of(http, url) for url in urls))
        answers: list[str] = []
        for _ in range(TIMES):
            again = [http.post(f"/v1/deliveries/{one}/redeliver") for one in ids]
            answers += await _statuses(list(again))
            await pause(0.2)
        await pause(10)
    return counted(answers)


async def _of_noisy(target: Target, path: str) -> Mapping[str, Any]:
    """Let a client have one delivery to the host where the victim is notified too."""
    async with target.client() as http:
        return {"delivery": await _delivery_of(http, target.hook.replace("/hook", path))}


async def shared_host(target: Target) -> Mapping[str, Any]:
    """30 webhooks to a path that answers after 16 s, when nobody listens any more."""
    return await _of_noisy(target, "/after-16")


async def shared_host_backlog(target: Target) -> Mapping[str, Any]:
    return await _of_noisy(target, "/after-0.2")


REPEAT = """
INSERT INTO deliveries (id, client_id, task_id, event, url, host, body, state, due_at, origin_id)
SELECT gen_random_uuid(), client_id, task_id, event, url, host, body, 'pending',
       clock_timestamp() - interval '1 minute', id
FROM deliveries, generate_series(1, $2) WHERE id = $1
"""


async def _repeated(target: Target, count: int, seconds: float) -> str:
    """Repeat it so often, whatever the budget, and let it go on for so long."""
    connection = await asyncpg.connect(target.dsn)
    try:
        await connection.execute(REPEAT, target.facts["delivery"], count)
    finally:
        await connection.close()
    await pause(seconds)
    return f"{count} waiting"


async def slow_path(target: Target) -> str:
    return await _repeated(target, 30, 40)


async def repetitions(target: Target) -> str:
    return await _repeated(target, 12_000, 25)
