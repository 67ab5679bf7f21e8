"""What an operation costs here, beside a floor and peers: `make bench`.

`python -m benchmarks.floor [--quick] [--only NAME] [--checkout PATH] [--keep before|after]`. The
floor is a raw ASGI program that does only the durable minimum of the same operation; the peers
store nothing. Load is open-loop, latencies count from the intended start, and each figure is the
median of five runs. The figures are written to build/bench.json too.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp
import asyncpg
import psutil

from benchmarks.against import page
from benchmarks.against.operations import OPERATIONS, Figures, Scene, create
from benchmarks.against.page import Measured, Measurements
from benchmarks.against.postgres import MOST, Server, server
from benchmarks.against.raw import TABLES
from benchmarks.against.subjects import (
    HERE,
    SUBJECTS,
    Place,
    Running,
    SkippedError,
    Subject,
    free_port,
    run,
)
from benchmarks.scene import say

OUTPUT = HERE / "build" / "bench.json"
RUNS = 5
MEGA = 1_000_000

_numbers = itertools.count()


@contextlib.contextmanager
def stand_in() -> Iterator[str]:
    """Run the cheap kie.ai; yields its URL."""
    port = free_port()
    serving = ["-m", "uvicorn", "--no-access-log", "--log-level", "warning", "--port", str(port)]
    command = [sys.executable, *serving, "benchmarks.against.kie:app"]
    url = f"http://127.0.0.1:{port}"
    with run(command, {"PATH": "/usr/bin:/bin"}, f"{url}/", HERE):
        yield url


@contextlib.contextmanager
def own_database(server: Server) -> Iterator[str]:
    """Lend an empty database with the floor's tables."""
    name = f"bench_{next(_numbers)}"
    asyncio.run(_execute(server.dsn, f"CREATE DATABASE {name}"))
    head, _, query = server.dsn.partition("?")
    dsn = f"{head.rpartition('/')[0]}/{name}?{query}"
    if server.counts:
        asyncio.run(_execute(dsn, "CREATE EXTENSION pg_stat_statements"))
    asyncio.run(_execute(dsn, TABLES))
    try:
        yield dsn
    finally:
        asyncio.run(_execute(server.dsn, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def measured(server: Server, subject: Subject, given: argparse.Namespace) -> Measured:
    """Run the subject's operations; raises `SkippedError`."""
    with own_database(server) as dsn, stand_in() as kie:
        place = Place(dsn=dsn, kie=kie, checkout=given.checkout)
        with subject.started(place) as running:
            return asyncio.run(_all_runs(server, place, subject, running, given))


async def _all_runs(
    server: Server, place: Place, subject: Subject, running: Running, given: argparse.Namespace
) -> Measured:
    # Shorter than servers keep them: who sends just then would be cut off.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
    sql = await asyncpg.connect(place.dsn)
    try:
        async with aiohttp.ClientSession(connector=connector) as http:
            scene = Scene(
                running=running, kie=place.kie, http=http, sql=sql, server=server, scale=given.scale
            )
            return await _operated(scene, subject, given)
    finally:
        await sql.close()


async def _operated(scene: Scene, subject: Subject, given: argparse.Namespace) -> Measured:
    """Warm up once, then run every operation so many times; returns the medians."""
    chosen = [one for one in OPERATIONS if one in subject.operations and one != "idle"]
    warm = dataclasses.replace(scene, scale=scene.scale / 4)
    if "create" in chosen:  # the first of all compile statements: gently
        await create(dataclasses.replace(scene, scale=0.0), rate=5)
    memory = psutil.Process(scene.running.pid).memory_info().rss / MEGA
    for name in chosen:
        await OPERATIONS[name](warm)
    # As autovacuum does within a minute: else plans for empty tables are kept, or not, by chance.
    await scene.sql.execute("ANALYZE")
    scene.tasks, scene.open = warm.tasks, warm.open
    runs: defaultdict[str, list[Figures]] = defaultdict(list)
    for number in range(given.runs):
        for name in chosen:
            runs[name].append(await OPERATIONS[name](scene))
            say(f"{subject.name}, run {number + 1}, {name}: {page.short(runs[name][-1])}")
    if "idle" in subject.operations:
        runs["idle"].append(await OPERATIONS["idle"](scene) | {"memory": memory})
        say(f"{subject.name}, idle: {page.short(runs['idle'][-1])}")
    if given.statements:
        for row in await scene.sql.fetch(MOST):
            print(*row, sep="\t")
    return {name: _medians(found) for name, found in runs.items()}


def _medians(runs: Sequence[Figures]) -> Figures:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def all_measured(given: argparse.Namespace) -> Measurements:
    found: dict[str, Measured] = {}
    skipped: dict[str, str] = {}
    with server() as postgres:
        for subject in SUBJECTS:
            if given.only and subject.name not in given.only:
                continue
            try:
                found[subject.name] = measured(postgres, subject, given)
            except SkippedError as error:
                skipped[subject.name] = str(error)
                say(f"{subject.name}: skipped: {error}")
        version = postgres.version
    return Measurements(found=found, skipped=skipped, postgres=version, runs=given.runs)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor", description=__doc__)
    names = [subject.name for subject in SUBJECTS]
    parser.add_argument("--only", action="append", choices=names, help="repeatable")
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument(
        "--checkout", type=Path, default=HERE, help="measure the gateway of these, by their .venv"
    )
    parser.add_argument("--keep", choices=("before", "after"), help="for docs/performance.md")
    parser.add_argument("--statements", action="store_true", help="show what PostgreSQL was asked")
    given = parser.parse_args()
    given.runs, given.scale = (1, 0.25) if given.quick else (RUNS, 1.0)
    given.checkout = given.checkout.resolve()
    found = all_measured(given)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(dataclasses.asdict(found), indent=1) + "\n")
    print(page.text(found))
    if given.keep:
        page.keep(given.keep, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
