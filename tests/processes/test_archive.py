"""Archiving by processes that are killed, and the memory that large files take."""

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from moto.server import ThreadedMotoServer

from app.domain.task import State
from app.wiring import new_id
from tests.processes.conftest import Start
from tests.processes.stage import Running
from tests.services.files.source import Serve, Source, endless, head, raw, source, whole
from tests.stage import eventually
from tests.store.stage import put_client, put_task

TASKS = 500
LARGE = 100 * 2**20
MOST = 40 * 2**20
"""Bytes by which a worker's memory may grow."""

BROKEN = head("200 OK", "Content-Type: image/png", "Content-Length: 1000") + b"x" * 500
AWAY = head("302 Found", "Location: http://169.254.169.254/", "Content-Length: 0")
FAULTS: dict[str, Serve] = {
    "broken": raw(BROKEN),
    "endless": endless,
    "redirect": raw(AWAY),
    "gone": whole(b"no", status="410 Gone"),
    "refused": whole(b"no", status="403 Forbidden"),
    "late": whole(b"no", status="503 Service Unavailable"),
    "open": raw(head("200 OK", "Connection: close") + b"x" * 500),
}


@pytest_asyncio.fixture
async def at() -> AsyncIterator[Source]:
    async with source() as at:
        yield at


async def owe(sql: Any, client: UUID, *urls: str) -> UUID:
    """Store a task that has succeeded with these files."""
    instants = {"finished_at": 0.0, "submitted_at": -1.0}
    task = await put_task(sql, client, State.SUCCEEDED, at=instants, id=new_id())
    await sql.executemany(
        "INSERT INTO artifacts (task_id, n, client_id, kind, source_url, digest, due_at)"
        " VALUES ($1, $2, $3, 'url', $4, $5, clock_timestamp())",
        [(task, n, client, url, sha256(url.encode()).digest()) for n, url in enumerate(urls, 1)],
    )
    return task


async def none_owed(sql: Any, *, patience: float) -> None:
    async def look() -> bool | None:
        left = await sql.fetchval("SELECT count(*) FROM artifacts WHERE due_at IS NOT NULL")
        return left == 0 or None

    await eventually(look, patience)


def settings(url: str, **more: str) -> dict[str, str]:
    return {
        "GATEWAY_ARCHIVE_URL": url,
        "GATEWAY_ARCHIVE_ALLOW_LOOPBACK": "true",
        "GATEWAY_ARCHIVE_SCHEDULE": "[0, 0.2, 0.5]",
        "GATEWAY_ARCHIVE_MAX_BYTES": str(LARGE),
        **more,
    }


@pytest.mark.long
async def test_workers_that_are_killed_store_each_file_once(
    start: Start, sql: Any, at: Source, tmp_path: Path
) -> None:
    """500 tasks with two files each, a third of them with a fault; eight workers die."""
    client = await put_client(sql)
    truth: dict[str, str] = {}
    for number in range(TASKS):
        urls = []
        for n in (1, 2):
            kind = [*FAULTS, *["whole"] * 14][(2 * number + n) % 21]
            path = f"/{number}-{n}-{kind}"
            body = f"{path} ".encode() * 5000
            at.files[path] = FAULTS.get(kind) or whole(body)
            urls.append(at.url(path))
            truth[urls[-1]] = "" if kind in FAULTS else sha256(body).hexdigest()
        await owe(sql, client, *urls)
    directory = tmp_path / "archive"
    given = settings(f"file://{directory}", GATEWAY_ARCHIVE_MAX_BYTES="1000000")
    workers: list[Running] = [await start("worker", **given) for _ in range(2)]
    for death in range(8):
        stored = 80 * (death + 1)

        async def some(stored: int = stored) -> bool | None:
            query = "SELECT count(*) FROM artifacts WHERE state = 'stored'"
            return await sql.fetchval(query) >= stored or None

        await eventually(some, 120)
        await workers[death % 2].end(signal.SIGKILL)
        # Its leases are over, and with them some of the living one's.
        await sql.execute("UPDATE artifacts SET leased_until = NULL")
        workers[death % 2] = await start("worker", **given)
    await none_owed(sql, patience=180)
    for worker in workers:
        await worker.end()
    rows = await sql.fetch("SELECT * FROM artifacts")
    objects = {
        str(path.relative_to(directory)): sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file() and "#" not in path.name  # of a put that a kill cut off
    }
    assert len(rows) == 2 * TASKS
    for row in rows:
        wanted = truth[row["source_url"]]
        assert (row["state"] == "stored") == bool(wanted), dict(row)
        assert bool(row["reason"]) != bool(wanted), dict(row)
        if wanted:
            assert row["sha256"].hex() == wanted == objects.pop(row["object"])
    assert objects == {}
    events = await sql.fetch(
        "SELECT task_id, count(*) FROM task_events WHERE kind = 'archived' GROUP BY 1"
    )
    assert len(events) == TASKS
    assert {row["count"] for row in events} == {1}


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    if request.param == "file":
        yield f"file://{tmp_path}/archive", {}
        return
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    httpx.put(f"http://{host}:{port}/results", trust_env=False).raise_for_status()
    yield (
        "s3://results",
        {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "an-id",
            "AWS_SECRET_ACCESS_KEY": "a-key-of-the-tests",
            "AWS_ALLOW_HTTP": "true",
        },
    )
    server.stop()


def _figure(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


@pytest.mark.long
async def test_large_files_are_not_held_in_memory(
    start: Start, sql: Any, at: Source, url: tuple[str, dict[str, str]]
) -> None:
    """Six files of 100 MB, of which four are copied at once."""
    piece = bytes(range(256)) * 4096

    async def large(writer: asyncio.StreamWriter) -> None:
        writer.write(head("200 OK", "Content-Type: video/mp4", f"Content-Length: {LARGE}"))
        for _ in range(LARGE // len(piece)):
            writer.write(piece)
            await writer.drain()

    archive, environment = url
    worker = await start("worker", **settings(archive, **environment))
    await worker.ready()
    idle = _figure(worker.pid, "VmRSS")
    client = await put_client(sql)
    at.files = {f"/{n}": large for n in range(6)}
    await owe(sql, client, *map(at.url, at.files))
    await none_owed(sql, patience=120)
    rows = await sql.fetch("SELECT state, reason, bytes, sha256 FROM artifacts")
    digest = sha256(piece * (LARGE // len(piece))).digest()
    assert {tuple(row) for row in rows} == {("stored", None, LARGE, digest)}
    grown = _figure(worker.pid, "VmHWM") - idle
    print(json.dumps({"idle": idle >> 20, "grown": grown >> 20}))  # noqa: T201  # a figure to quote
    assert grown <= MOST
