"""A file of 100 MB through a real `serve`: its memory, and its time beside a direct upload.

`python -m benchmarks.uploads [--size BYTES] [--rounds N] [--pace BYTES_PER_SECOND]`. Direct and
through the gateway in pairs, to the same stand-in kie.ai: what else the machine does meets both of
a pair. On loopback the three processes share the machine's cores, which no network does: with
`--pace` the stand-in reads no faster than a line would let it. Exit status 1 when a bound is
missed.
"""

import argparse
import asyncio
import contextlib
import secrets
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.figures import Figure, at_most, table
from benchmarks.scene import SIMULATOR, Processes, Scene, own_database, say
from benchmarks.stand import cpu_seconds, database, environment, process

SIZE = 100_000_000
ROUNDS = 9
WAYS = ("direct", "gateway")
PACE = 25_000_000
"""Bytes per second: a line of 200 Mbit/s."""
PIECE = 64 * 1024
HEAD = b"\x89PNG\r\n\x1a\n"
BOUNDARY = "benchmark-of-uploads"
MAY_GROW, MAY_TAKE = 20.0, 1.2
"""MB, and times the direct upload."""


def around(how: str) -> tuple[bytes, bytes]:
    """Return what a form has before and behind the file; only kie.ai's own has a path."""
    about = 'name="file"; filename="a.png"'
    before = (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {about}\r\n"
        "Content-Type: image/png\r\n\r\n"
    )
    named = f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="uploadPath"\r\n\r\nbench'
    behind = (named if how == "direct" else "") + f"\r\n--{BOUNDARY}--\r\n"
    return before.encode(), behind.encode()


async def form(how: str, size: int) -> AsyncIterator[bytes]:
    """Write a form with a picture of so many bytes, as a client with a file would."""
    before, behind = around(how)
    yield before + HEAD
    piece = secrets.token_bytes(PIECE)
    left = size - len(HEAD)
    while left > 0:
        yield piece[:left]
        left -= PIECE
    yield behind


def memory(pid: int) -> float:
    """Return a process's memory in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


class Line:
    """One client of both hosts."""

    def __init__(self, http: aiohttp.ClientSession, host: str, gateway: str, key: str) -> None:
        self._http = http
        self._host = host
        self._urls = {"direct": f"{host}/api/file-stream-upload", "gateway": f"{gateway}/v1/files"}
        self._key = key

    async def upload(self, how: str, size: int, pace: int | None) -> float:
        """Upload a file; returns the seconds."""
        if pace is not None:
            await self._http.post(
                f"{self._host}/simulator/uploads", json={"bytes_per_second": pace}
            )
        headers = {
            "Authorization": f"Bearer {self._key if how == 'gateway' else 'simulated'}",
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            "Content-Length": str(size + sum(map(len, around(how)))),
        }
        data = form(how, size)
        began = time.perf_counter()
        async with self._http.post(self._urls[how], data=data, headers=headers) as answered:
            said: dict[str, Any] = await answered.json()
            assert answered.status in (HTTPStatus.OK, HTTPStatus.CREATED), said
            assert said.get("bytes", size) == size, said
        return time.perf_counter() - began


@contextlib.asynccontextmanager
async def _watched(pid: int) -> AsyncIterator[list[float]]:
    """Lend what the process's memory is, ten times a second."""
    seen: list[float] = []

    async def watch() -> None:
        while True:
            seen.append(memory(pid))
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        watching.cancel()


async def measured(line: Line, pid: int, size: int, rounds: int, pace: int | None) -> list[Figure]:
    """Upload in pairs, of which either way begins in turn; the first of each way warms up."""
    part = "loopback" if pace is None else f"at {pace / 1e6:g} MB/s"
    for how in WAYS:
        await line.upload(how, PIECE, None)
    before, busy = memory(pid), cpu_seconds(pid)
    took: dict[str, list[float]] = {how: [] for how in WAYS}
    async with _watched(pid) as seen:
        for number in range(rounds):
            for how in WAYS[:: -1 if number % 2 else 1]:
                took[how].append(await line.upload(how, size, pace))
    busy = (cpu_seconds(pid) - busy) / rounds
    times = statistics.median(b / a for a, b in zip(took["direct"], took["gateway"], strict=True))
    return [
        Figure(part=part, name=f"{how}, median", value=f"{statistics.median(seconds):.3f} s")
        for how, seconds in took.items()
    ] + [
        Figure(part=part, name="the gateway's CPU for each", value=f"{busy:.3f} s"),
        at_most(part, "times the direct upload, median of pairs", times, MAY_TAKE),
        at_most(part, "growth of the gateway's memory", max(seen) - before, MAY_GROW, " MB"),
    ]


@contextlib.contextmanager
def _processes(server: str) -> Iterator[Processes]:
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(own_database(server))
        upstream, _ = stack.enter_context(process(SIMULATOR, {}))
        given = environment(dsn, upstream, GATEWAY_CLIENT_UPLOADS_PER_MINUTE="10000")
        url, pid = stack.enter_context(process(["serve"], given))
        yield Processes(dsn=dsn, upstream=upstream, url=url, pids=[pid])


async def _benchmark(
    processes: Processes, size: int, rounds: int, pace: int | None
) -> list[Figure]:
    async with Scene.over(processes) as scene:
        caller = await scene.client("uploads")
        line = Line(scene.http, processes.upstream, processes.url, caller.api_key)
        found = await measured(line, processes.pids[0], size, rounds, pace)
        rows = await scene.sql.fetchval("SELECT count(*) FROM files")
        assert rows == rounds + 1, rows
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.uploads", description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--pace", type=int, default=PACE)
    given = parser.parse_args()
    with database() as server:
        found: list[Figure] = []
        for pace in (None, given.pace):
            with _processes(server) as processes:
                found += asyncio.run(_benchmark(processes, given.size, given.rounds, pace))
    say(table(found))
    return 1 if any(figure.good is False for figure in found) else 0


if __name__ == "__main__":
    sys.exit(main())
