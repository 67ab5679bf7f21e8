"""The long form: `python -m tests.faults.lab` plays every combination and writes the report."""

import argparse
import asyncio
import logging
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.lab import report
from tests.faults.lab.course import Bench, Order, everything
from tests.faults.lab.outages import own_postgres
from tests.faults.lab.scenario import Result

ROOT = Path(__file__).parents[3]
SUMMARY = "docs/fault-report.md"
DETAILS = "build/fault-report.md"


def main(arguments: Sequence[str]) -> int:
    logging.getLogger("simulator").setLevel(logging.ERROR)  # it is hung up on all the time
    return asyncio.run(_play(_read(arguments)))


def _read(arguments: Sequence[str]) -> Order:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.lab",
        description="Kill processes at every message, stop PostgreSQL, let kie.ai misbehave; audit "
        "what is left. Writes "
        f"{SUMMARY} and {DETAILS} when nothing is left out; exits 1 on findings.",
    )
    parser.add_argument(
        "--replicas", type=int, choices=(1, 3), help="only this many; default: one, and three"
    )
    parser.add_argument(
        "--only", metavar="PATTERN", default="", help="combinations whose name has this regex"
    )
    parser.add_argument("--tasks", type=int, default=10, help="tasks at once in a run; default 10")
    parser.add_argument("--seed", type=int, default=0, help="of all that is chosen by chance")
    parser.add_argument(
        "--stops", type=int, default=12, help="deaths of PostgreSQL for each number of replicas"
    )
    given = parser.parse_args(arguments)
    return Order(
        replicas=(given.replicas,) if given.replicas else (1, 3),
        only=re.compile(given.only),
        tasks=given.tasks,
        seed=given.seed,
        stops=given.stops,
    )


async def _play(order: Order) -> int:
    """Play the numbers of replicas beside each other: a run waits more than it works."""
    started = time.monotonic()
    results: list[Result] = []
    leaks = await asyncio.gather(*(_course(order, each, results) for each in order.replicas))
    for leak in (line for lines in leaks for line in lines):
        _say(f"a secret in a log: {leak}")
    found = sum(len(result.findings) for result in results)
    tasks = sum(sum(result.states.values()) for result in results)
    _say(f"{len(results)} runs, {tasks} tasks, {found} findings")
    if order.is_all:
        await _write(order, results, time.monotonic() - started)
    return 1 if found or any(leaks) or not results else 0


async def _course(order: Order, replicas: int, results: list[Result]) -> list[str]:
    with own_postgres() as postgres:
        bench = Bench(postgres, order)
        async for result in everything(bench, replicas):
            results.append(result)
            _say(f"{len(results):>4}  {result}")
            for finding in result.findings:
                _say(f"      {finding}")
        return bench.leaks


async def _write(order: Order, results: list[Result], seconds: float) -> None:
    with own_postgres() as postgres:
        setting = await report.setting(postgres.dsn, seed=order.seed, seconds=seconds)
    results.sort(key=lambda result: result.combination.replicas)
    pages = {SUMMARY: report.summary(results, setting, DETAILS), DETAILS: report.details(results)}
    for name, page in pages.items():
        path = ROOT / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(page, encoding="utf-8")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
