"""From kie.ai's callback to the caller's webhook: how long, and is anything missing or twice.

`python -m benchmarks.deliveries [seconds per phase]`. One process hears kie.ai, another delivers;
tasks are put into `running` by SQL and called back at an even rate; receivers in this process note
when each delivery arrives. A latency is from the callback's sending to the delivery's arrival, so
it has the callback's own way and the receiver's in it.

First 50 and 200 settled tasks a second to one host. Then 20 hosts at 100 a second: all well, and
once more with one that is dead (it takes connections and never answers) and one that is slow (5 s).
"""

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
from typing_extensions import override

from app.domain.callback_url import CallbackUrls, derive
from app.services.clients.vault import Vault
from app.wiring import new_id
from benchmarks.scene import say
from benchmarks.stand import (
    SECRET,
    cpu_seconds,
    database,
    environment,
    numbers,
    percentile,
    process,
    told,
)

RATES = (50.0, 200.0)
HOSTS = 20
HOSTS_RATE = 100.0
SLOW = 5.0
SETTLED_WITHIN = 60.0
"""Seconds that the last deliveries may take after the last callback."""

PUBLISHED = 127.0
"""Milliseconds, p95 at 200 a second: the best figure that a webhook service over PostgreSQL alone
has published."""

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"

SEED = """
INSERT INTO clients (id, name, signing_secret) VALUES ($1, $2, $3)
"""
TASK = """
INSERT INTO tasks (id, client_id, state, model, input, metadata, priority, fingerprint, attempt,
                   kie_task_id, webhook_url, submit_by, submitted_at, due_at, expires_at)
SELECT id, $2, 'running', 'google/nano-banana', '{"prompt": "a cat"}', '{}', 5, '\\x00', 1,
       replace(id::text, '-', ''), url, now(), now(), now() + interval '1 hour',
       now() + interval '1 hour'
FROM unnest($1::uuid[], $3::text[]) AS given (id, url)
"""


@dataclass
class Arrivals:
    """When each task was told of."""

    at: dict[str, float] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)

    def note(self, message: str, task: str) -> None:
        self.at.setdefault(task, time.monotonic())
        self.times[task] += 1
        self.ids.add(message)


class Receiver(asyncio.Protocol):
    """Answers each POST with 204, after a while or never where told so."""

    def __init__(self, arrivals: Arrivals, after: float | None) -> None:
        self._arrivals = arrivals
        self._after = after
        self._heard = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        self._heard += data
        while (found := _request(self._heard)) is not None:
            message, body, self._heard = found
            if self._after is not None:
                self._arrivals.note(message, json.loads(body)["data"]["id"])
                asyncio.get_running_loop().call_later(self._after, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


def _request(heard: bytes) -> tuple[str, bytes, bytes] | None:
    """Take the first whole request: its webhook-id, its body, and what comes after."""
    head, found, rest = heard.partition(b"\r\n\r\n")
    if not found:
        return None
    headers = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
    length = int(headers[b"content-length"])
    if len(rest) < length:
        return None
    return headers[b"webhook-id"].decode(), rest[:length], rest[length:]


@contextlib.asynccontextmanager
async def listening(arrivals: Arrivals, waits: Sequence[float | None]) -> AsyncIterator[list[str]]:
    """Open a receiver for each wait (None: it never answers); yields their URLs."""
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        urls = []
        for wait in waits:
            server = await loop.create_server(partial(Receiver, arrivals, wait), "127.0.0.1", 0)
            stack.callback(server.close)
            urls.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook")
        yield urls


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A gateway, its database, and a client."""

    url: str
    pids: Sequence[int]
    sql: Any
    http: aiohttp.ClientSession
    client: UUID

    @property
    def cpu(self) -> float:
        """CPU seconds of the gateway's processes so far."""
        return sum(cpu_seconds(pid) for pid in self.pids)

    async def told(self, urls: Sequence[str], rate: float, seconds: float) -> dict[str, float]:
        """Settle tasks at the rate, one URL after another; returns when each was called back."""
        ids = [new_id() for _ in range(int(rate * seconds))]
        where = [urls[number % len(urls)] for number in range(len(ids))]
        await self.sql.execute(TASK, ids, self.client, where)
        await self.sql.execute("ANALYZE tasks")
        started, sent, calls = time.monotonic() + 0.1, {}, []
        for number, task in enumerate(ids):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            sent[str(task)] = time.monotonic()
            calls.append(asyncio.create_task(self._call_back(task)))
        heard = await asyncio.gather(*calls)
        return {task: at for (task, at), kept in zip(sent.items(), heard, strict=True) if kept}

    async def _call_back(self, task: UUID) -> bool:
        """Speak as kie.ai; False: the gateway is overloaded, and kie.ai would come again."""
        urls = CallbackUrls([derive(SECRET, "callback-token")], self.url)
        result = json.dumps({"resultUrls": ["https://example.com/1.png"]})
        data = {"taskId": task.hex, "state": "success", "resultJson": result}
        async with self.http.post(str(urls.url(task)), json={"code": 200, "data": data}) as answer:
            return answer.ok


async def _measured(
    scene: Scene, waits: Sequence[float | None], rate: float, seconds: float
) -> list[float]:
    """Run one phase; returns the milliseconds of the hosts that answer at once."""
    arrivals = Arrivals()
    async with listening(arrivals, waits) as urls:
        cpu = scene.cpu
        sent = await scene.told(urls, rate, seconds)
        cpu = scene.cpu - cpu
        well = [urls[number] for number, wait in enumerate(waits) if wait == 0.0]
        expected = await _ids(scene, well) & sent.keys()
        until = time.monotonic() + SETTLED_WITHIN
        while not expected <= arrivals.at.keys() and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # receivers note into a plain dict
        missing = expected - arrivals.at.keys()
        twice = sum(1 for task in expected if arrivals.times[task] > 1)
        say(
            f"{len(sent)} of {int(rate * seconds)} settled at {rate:g}/s, "
            f"{len(well)} of {len(waits)} hosts well: "
            f"missing {len(missing)}, more than once {twice}, "
            f"gateway {1000 * cpu / len(sent):.2f} ms CPU each"
        )
        await _forgotten(scene)
    found = [1000 * (arrivals.at[task] - sent[task]) for task in expected - missing]
    print("    " + told("callback to delivery", found))
    return found


async def _ids(scene: Scene, urls: Sequence[str]) -> set[str]:
    rows = await scene.sql.fetch("SELECT id FROM tasks WHERE webhook_url = ANY($1)", urls)
    return {str(row["id"]) for row in rows}


async def _forgotten(scene: Scene) -> None:
    """Let nothing of this phase be left for the next one."""
    await scene.sql.execute("DELETE FROM deliveries; DELETE FROM delivery_hosts")


@contextlib.asynccontextmanager
async def scene_at(dsn: str, url: str, pids: Sequence[int]) -> AsyncIterator[Scene]:
    sql = await asyncpg.connect(dsn)
    sealed = Vault([SECRET]).seal("whsec_" + "bmV3" * 11)
    client = new_id()
    await sql.execute(SEED, client, f"bench-{client.hex[-8:]}", sealed)
    connector = aiohttp.TCPConnector(limit=0)
    try:
        async with aiohttp.ClientSession(connector=connector) as http:
            yield Scene(url=url, pids=pids, sql=sql, http=http, client=client)
    finally:
        await sql.close()


async def _phases(dsn: str, url: str, pids: Sequence[int], seconds: float) -> None:
    async with scene_at(dsn, url, pids) as scene:
        await _measured(scene, [0.0], 20.0, 3.0)  # to warm up
        found = [await _measured(scene, [0.0], rate, seconds) for rate in RATES]
        p95 = percentile(found[-1], 0.95)
        print(f"    p95 at {RATES[-1]:g}/s: {p95:.0f} ms; published: {PUBLISHED:g}")
        alone = await _measured(scene, [0.0] * HOSTS, HOSTS_RATE, seconds)
        beside = await _measured(scene, [*[0.0] * (HOSTS - 2), None, SLOW], HOSTS_RATE, seconds)
        ratio = percentile(beside, 0.95) / percentile(alone, 0.95)
        print(f"    p95 of the others beside a dead and a slow host: {ratio:.2f} times")


def main(seconds: float) -> None:
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    with database() as dsn:
        settings = environment(
            dsn,
            "http://127.0.0.1:1",
            GATEWAY_KIE_CONFIRM="off",
            GATEWAY_WORKER_LISTEN="127.0.0.1:0",
            GATEWAY_DELIVERY_ALLOW_LOOPBACK="true",
        )
        with (
            process(["serve", "--no-worker"], settings) as (url, receiving),
            process(["worker"], settings) as (_, delivering),
        ):
            asyncio.run(_phases(dsn, url, [receiving, delivering], seconds))


if __name__ == "__main__":
    main(*numbers(__doc__, seconds=20.0))
