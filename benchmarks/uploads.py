"""A file of 100 MB through a real `serve`: its memory, and its time beside a direct upload.

`python -m benchmarks.uploads [--size BYTES] [--rounds N] [--pace BYTES_PER_SECOND]`. Direct and
through the gateway in turn, to the same stand-in kie.ai. On loopback the three processes share the
machine's cores, which no network does: with `--pace` the stand-in reads no faster than a line
would let it. Exit status 1 when a bound is missed.
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
from benchmarks.stand import database, environment, process

SIZE = 100_000_000
ROUNDS = 5
PACE = 25_000_000
"""Bytes per second: a line of 200 Mbit/s."""
PIECE = 64 * 1024
HEAD = b"\x89PNG\r\n\x1a\n"
BOUNDARY = "benchmark-of-uploads"
MAY_GROW, MAY_TAKE = 20.0, 1.2
"""MB, and times the direct upload."""


async def form(size: int) -> AsyncIterator[bytes]:
    """Write a form with a picture of so many bytes, as a client with a file would."""
    about = 'name="file"; filename="a.png"'
    yield (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {about}\r\n"
        "Content-Type: image/png\r\n\r\n"
    ).encode() + HEAD
    piece = secrets.token_bytes(PIECE)
    left = size - len(HEAD)
    while left > 0:
        yield piece[:left]
        left -= PIECE
    path = f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="uploadPath"\r\n\r\nbench'
    yield (path + f"\r\n--{BOUNDARY}--\r\n").encode()


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
        }
        data = _without_path(size) if how == "gateway" else form(size)
        began = time.perf_counter()
        async with self._http.post(self._urls[how], data=data, headers=headers) as answered:
            said: dict[str, Any] = await answered.json()
            assert answered.status in (HTTPStatus.OK, HTTPStatus.CREATED), said
            assert said.get("bytes", size) == size, said
        return time.perf_counter() - began


async def _without_path(size: int) -> AsyncIterator[bytes]:
    end = f"\r\n--{BOUNDARY}--\r\n".encode()
    async for piece in form(size):
        yield end if piece.endswith(end) else piece


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
    """Upload in turn; the first of each way warms up."""
    part = "loopback" if pace is None else f"at {pace / 1e6:g} MB/s"
    for how in ("direct", "gateway"):
        await line.upload(how, PIECE, None)
    before = memory(pid)
    took: dict[str, list[float]] = {"direct": [], "gateway": []}
    async with _watched(pid) as seen:
        for _ in range(rounds):
            for how, seconds in took.items():
                seconds.append(await line.upload(how, size, pace))
    direct, through = (statistics.median(took[how]) for how in ("direct", "gateway"))
    return [
        Figure(part=part, name="direct, median", value=f"{direct:.2f} s"),
        Figure(part=part, name="through the gateway, median", value=f"{through:.2f} s"),
        at_most(part, "times the direct upload", through / direct, MAY_TAKE),
        at_most(part, "growth of the gateway's memory", max(seen) - before, MAY_GROW, " MB"),
    ]


@contextlib.contextmanager
def _processes(server: str) -> Iterator[Processes]:
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(own_database(server))
        upstream, _ = stack.enter_context(process(SIMULATOR, {}))
        given = environment(dsn, upstream)
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
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
