"""The operations: how each is driven, and what is read of it."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import psutil

from benchmarks.against import kie
from benchmarks.against.load import Shot, closed_loop, open_loop
from benchmarks.against.postgres import Counts, Server, counts
from benchmarks.against.subjects import Running
from benchmarks.stand import percentile

Figures = dict[str, float]

SIDES = 8
"""Connections of the closed loop."""

FOR_NOW = (429, 503)
"""What a machine that is busy with other things makes a gateway answer."""
AGAIN = 20
"""How often a request is sent again at most."""
AGAIN_AFTER = 0.25
"""Seconds."""

PATIENCE = 30.0
"""Seconds for the last webhook to arrive."""


@dataclass(kw_only=True)
class Scene:
    """A subject under way, and what looks on."""

    running: Running
    kie: str
    http: aiohttp.ClientSession
    sql: "asyncpg.Connection[asyncpg.Record]"
    server: Server
    scale: float = 1.0
    """Of each operation's usual length."""
    tasks: list[str] = field(default_factory=list)
    """Ids that the subject gave."""
    open: dict[str, str] = field(default_factory=dict)
    """Callback URLs by kie.ai's ids, of tasks that have not ended."""
    refused: int = 0
    """Requests that were refused for now, and sent again."""

    async def measured(
        self, number: int, act: Callable[[], Awaitable[list[Shot]]]
    ) -> tuple[list[Shot], Figures]:
        """Drive `number` requests; returns the cost of one, in milliseconds and statements."""
        before, refused = await self.meters(), self.refused
        shots = await act()
        await asyncio.sleep(0.3)  # what was begun after the answers belongs to them
        after = await self.meters()
        done = after.counts.since(before.counts)
        return shots, {
            "cpu": 1000 * (after.own - before.own) / number,
            "postgres_cpu": 1000 * (after.postgres - before.postgres) / number,
            "postgres_time": done.ms / number,
            "statements": done.statements / number,
            "transactions": done.transactions / number,
            "refused": self.refused - refused,
        } | latencies(shots)

    async def meters(self) -> "Meters":
        return Meters(
            own=cpu(self.running.pid),
            postgres=self.server.cpu(),
            counts=await counts(self.sql, self.server),
        )

    async def noted(self) -> Mapping[str, Any]:
        """Show and forget what the stand-in has noted."""
        async with self.http.get(f"{self.kie}/noted") as shown:
            found: Mapping[str, Any] = await shown.json()
            return found

    def many(self, number: int) -> int:
        return max(10, round(self.scale * number))

    async def get(self, url: str) -> None:
        async with self.http.get(url, headers=self.running.headers) as answer:
            text = await answer.read()
            assert answer.ok, text

    async def post(self, url: str, body: object, headers: Mapping[str, str]) -> Any:  # noqa: ANN401
        """Send it as a careful caller does: what is refused for now is sent again.

        The latency still counts from the intended start, so that a refusal shows in it.
        """
        status, found = await self._posted(url, body, headers)
        for _ in range(AGAIN):
            if status not in FOR_NOW:
                break
            self.refused += 1
            await asyncio.sleep(AGAIN_AFTER)
            status, found = await self._posted(url, body, headers)
        assert status < HTTPStatus.BAD_REQUEST, (status, found)
        return found

    async def _posted(self, url: str, body: object, headers: Mapping[str, str]) -> tuple[int, Any]:
        async with self.http.post(url, json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meters:
    """What was spent so far, in seconds of CPU, and what the database has done."""

    own: float
    postgres: float
    counts: Counts


def latencies(shots: Sequence[Shot]) -> Figures:
    """Return percentiles in milliseconds."""
    seconds = [shot.latency for shot in shots]
    return {f"p{share}": 1000 * percentile(seconds, share / 100) for share in (50, 95)}


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process and of what it started."""
    return sum(_cpu(one.pid) for one in _family(pid))


def _family(pid: int) -> list[psutil.Process]:
    own = psutil.Process(pid)
    return [own, *own.children(recursive=True)]


def _cpu(pid: int) -> float:
    """Read the process's own clock (Linux: to the nanosecond, ended threads included)."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def livez(scene: Scene) -> Figures:
    return await _got(scene, [f"{scene.running.url}/livez"])


async def read(scene: Scene) -> Figures:
    return await _got(scene, [f"{scene.running.url}/v1/tasks/{one}" for one in scene.tasks])


async def _got(scene: Scene, urls: list[str]) -> Figures:
    """Take the cost from `SIDES` who ask without a pause, and the latencies from open-loop load.

    So few requests a second that the process sleeps before each would cost the waking up as well,
    which is more than the floor's own work.
    """
    number = scene.many(800)
    asked = [urls[place % len(urls)] for place in range(number)]
    _, found = await scene.measured(number, lambda: closed_loop(asked, SIDES, scene.get))
    shots = await open_loop(asked[: number // 4], 100, scene.get)
    return found | latencies(shots)


async def create(scene: Scene, rate: float = 50) -> Figures:
    number = scene.many(300)
    body: dict[str, Any] = {"model": "m", "input": {"prompt": "a cat on a mat", "size": "1:1"}}
    url = f"{scene.running.url}{scene.running.create}"
    headers = scene.running.headers
    bodies = [{**body, **scene.running.extra}] * number
    await scene.noted()
    shots, found = await scene.measured(
        number, lambda: open_loop(bodies, rate, lambda one: scene.post(url, one, headers))
    )
    for shot in shots:
        if "id" in shot.outcome:
            scene.tasks.append(shot.outcome["id"])
    scene.open |= (await scene.noted())["created"]
    found["added_p50"] = found["p50"] - 1000 * kie.LATENCY
    found["added_p95"] = found["p95"] - 1000 * kie.LATENCY
    return found


async def callback(scene: Scene) -> Figures:
    """Call back for every task that is open, and wait for the webhooks where there are some."""
    called, scene.open = scene.open, {}
    begun: dict[str, float] = {}

    async def one(kie_id: str) -> str:
        begun[kie_id] = time.monotonic()
        body = {"code": 200, "msg": "success", "data": kie.ended(kie_id)}
        await scene.post(called[kie_id], body, scene.running.signed(kie_id))
        return kie_id

    hooks: dict[str, float] = {}

    async def all_of_them() -> list[Shot]:
        shots = await open_loop(list(called), 200, one)
        if scene.running.extra:
            async with asyncio.timeout(PATIENCE):
                while len(hooks) < len(called):
                    await asyncio.sleep(0.1)
                    hooks.update({kie_id: at for at, kie_id in (await scene.noted())["hooks"]})
        return shots

    await scene.noted()
    shots, found = await scene.measured(len(called), all_of_them)
    if hooks:
        waits = [1000 * (hooks[shot.outcome] - shot.intended) for shot in shots]
        found |= {"webhook_p50": percentile(waits, 0.5), "webhook_p95": percentile(waits, 0.95)}
    return found


async def idle(scene: Scene) -> Figures:
    """Watch a process that has nothing to do."""
    seconds = max(2.0, 10 * scene.scale)
    await asyncio.sleep(min(5.0, seconds))  # what the load before left is done
    before = await scene.meters()
    await asyncio.sleep(seconds)
    after = await scene.meters()
    return {
        "statements_per_second": after.counts.since(before.counts).statements / seconds,
        "cpu_percent": 100 * (after.own - before.own) / seconds,
    }


OPERATIONS: Mapping[str, Callable[[Scene], Awaitable[Figures]]] = {
    "livez": livez,
    "create": create,
    "read": read,
    "callback": callback,
    "idle": idle,
}
"""In the order of a run: creates come before what needs tasks."""
