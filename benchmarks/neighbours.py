"""One client's bad creates next to another client's good ones: what the other waits.

`python -m benchmarks.neighbours [--good N] [--every S]`. A stand-in kie.ai answers every create of
one model with words that nobody knows, under code 500, and accepts all others; limits and latency
are the real ones. Each part has a gateway of its own: by itself, next to bad creates that come one
after the other, next to as many at once, and next to a client that lists, streams, creates and
repeats beyond its limits. Exit status 1 when a bound is missed.
"""

import argparse
import asyncio
import contextlib
import itertools
import random
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiohttp import web

from benchmarks.creating import LATENCY
from benchmarks.figures import Figure, at_most, table
from benchmarks.noise import noisy
from benchmarks.scene import Caller, Processes, Scene, own_database, say
from benchmarks.stand import database, environment, percentile, process

CREATES = 60
BAD_MODEL, GOOD_MODEL = "misspelt", "m"
WITHIN = 1.0
"""Seconds by which the other's p95 may exceed its quiet figure."""

WAITED = "SELECT extract(epoch FROM submitted_at - created_at)::float FROM tasks WHERE id = $1"
HELD = "SELECT hold_reason IS NOT NULL FROM kie_account"
SENT = "SELECT count(*) FROM tasks WHERE model = $1 AND attempt > 0"


class StandIn:
    """Answers as kie.ai does; one model it does not know."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/api/v1/jobs/createTask", self._create)
        app.router.add_get("/api/v1/jobs/recordInfo", self._record)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        await asyncio.sleep(random.uniform(*LATENCY))  # noqa: S311  # no secret
        if body["model"] == BAD_MODEL:
            return _answer(500, "an answer that no table has", None)
        return _answer(200, "success", {"taskId": f"{next(self._numbers):032x}"})

    async def _record(self, request: web.Request) -> web.Response:
        record = {"taskId": request.query["taskId"], "state": "generating"}
        return _answer(200, "success", record)


def _answer(code: int, message: str, data: Mapping[str, Any] | None) -> web.Response:
    return web.json_response({"code": code, "msg": message, "data": data})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What the one client does; `like` names the part whose p95 the other's may exceed a little."""

    name: str
    creates: int
    model: str = BAD_MODEL
    at_once: bool = False
    like: str | None = None
    noise: bool = False
    """A noisy client is beside all the time."""

    async def crowd(self, scene: Scene, caller: Caller) -> None:
        made = [scene.create(caller, model=self.model) for _ in range(self.creates)]
        if self.at_once:
            await asyncio.gather(*made)
        else:
            for one in made:
                await one


PARTS = (
    Part(name="by itself", creates=0, like="by itself"),
    Part(name=f"{CREATES} bad, one by one", creates=CREATES, like="by itself"),
    Part(name=f"{CREATES} good, at once", creates=CREATES, model=GOOD_MODEL, at_once=True),
    Part(
        name=f"{CREATES} bad, at once",
        creates=CREATES,
        at_once=True,
        like=f"{CREATES} good, at once",
    ),
    Part(name="a noisy client", creates=0, like="by itself", noise=True),
)


async def _waits(scene: Scene, part: Part, given: argparse.Namespace) -> tuple[list[float], bool]:
    """Create a good task every so often; returns its waits, and whether the account was held."""
    good, crowd = [await scene.client(name) for name in ("good", "crowd")]
    beside = asyncio.create_task(part.crowd(scene, crowd))
    waits, held = [], False
    for _ in range(given.good):
        await asyncio.sleep(given.every)
        task = await scene.create(good)
        async with asyncio.timeout(given.patience):
            while (waited := await scene.sql.fetchval(WAITED, UUID(task["id"]))) is None:
                held |= await scene.sql.fetchval(HELD)
                await asyncio.sleep(0.02)
        held |= await scene.sql.fetchval(HELD)
        waits.append(waited)
    await beside
    return waits, held


async def _run(dsn: str, part: Part, given: argparse.Namespace) -> tuple[list[float], bool, int]:
    async with StandIn().serving() as upstream:
        settings = environment(dsn, upstream, GATEWAY_PUBLIC_URL="")
        settings = {name: value for name, value in settings.items() if value}
        with process(["serve"], settings) as (url, pid):
            processes = Processes(dsn=dsn, upstream=upstream, url=url, pids=[pid])
            async with Scene.over(processes) as scene:
                async with noisy(scene) if part.noise else contextlib.nullcontext():
                    waits, held = await _waits(scene, part, given)
                return waits, held, await scene.sql.fetchval(SENT, BAD_MODEL)


def measured(server: str, given: argparse.Namespace) -> Iterator[Figure]:
    p95: dict[str, float] = {}
    for part in PARTS:
        say(part.name)
        with own_database(server) as dsn:
            waits, held, sent = asyncio.run(_run(dsn, part, given))
        p95[part.name] = percentile(waits, 0.95)
        name = "the other's wait, p95"
        if part.like is None:
            yield Figure(part=part.name, name=name, value=f"{p95[part.name]:.3g} s")
        else:
            bound = round(p95[part.like] + WITHIN, 2)
            yield at_most(part.name, name, p95[part.name], bound, " s")
        yield Figure(part=part.name, name="the same, most", value=f"{max(waits):.2f} s")
        yield at_most(part.name, "times the account was seen held", held, 0)
        yield Figure(part=part.name, name="bad creates that were sent", value=str(sent))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbours", description=__doc__)
    parser.add_argument("--good", type=int, default=24, help="good creates in each part")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between them")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds for one to start")
    given = parser.parse_args()
    with database() as server:
        found = list(measured(server, given))
    print(table(found))
    return 1 if any(figure.good is False for figure in found) else 0


if __name__ == "__main__":
    sys.exit(main())
