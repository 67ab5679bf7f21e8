"""How long the console's pages take among many tasks: `python -m benchmarks.console [TASKS]`.

A database of its own is seeded, a gateway serves it in this process, and each page is read over
HTTP, the first time and then ten times more: given are the first and the median.
"""

import argparse
import asyncio
import statistics
import time

import httpx
from pydantic import SecretStr

from app.main import create_app
from benchmarks import seed
from benchmarks.against import postgres
from benchmarks.scene import own_database, say
from tests.console.stage import ADMIN_KEY, PAGES, Browser
from tests.fixtures.gateway import settings_of_tests
from tests.stage import serving

TIMES = 10
WANTED = 0.3
"""Seconds that no page should take."""
FILTERED = (
    "/console/tasks?state=failed",
    "/console/tasks?state=queued",
    "/console/tasks?model=vendor/model-7",
    "/console/tasks?model=none",
    "/console/tasks?client=seeded-3&state=failed",
    "/console/deliveries?state=exhausted",
    "/console/clients/seeded-3",
)


async def _measured(dsn: str, tasks: int) -> bool:
    await seed.seed(dsn, tasks)
    settings = settings_of_tests(dsn, "http://127.0.0.1:9", admin_key=SecretStr(ADMIN_KEY))
    async with (
        serving(create_app(settings, worker=False)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http,
    ):
        browser = Browser(http)
        await browser.sign_in()
        newest = (await browser.open("/console/tasks")).split('href="/console/tasks/')[1]
        own = newest.partition('"')[0]
        paths = (*PAGES, *FILTERED, f"/console/tasks/{own}")
        found = [await _page(browser, path) for path in paths]
    return all(median <= WANTED for median in found)


async def _page(browser: Browser, path: str) -> float:
    took = []
    for _ in range(TIMES + 1):
        began = time.perf_counter()
        await browser.open(path)
        took.append(time.perf_counter() - began)
    median = statistics.median(took[1:])
    say(f"{path[:60]:60} first {took[0] * 1000:7.1f} ms, median {median * 1000:7.1f} ms")
    return median


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.console", description=__doc__)
    parser.add_argument("tasks", type=int, nargs="?", default=100_000)
    tasks = parser.parse_args().tasks
    with postgres.server() as server, own_database(server.dsn) as dsn:
        return 0 if asyncio.run(_measured(dsn, tasks)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
