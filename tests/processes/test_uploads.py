"""A file of 100 MB through a `serve`: its memory hardly grows, and it may take its time."""

import asyncio
import hashlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from simulator.server import Options, create_app
from tests.processes.conftest import At, Connection, Start
from tests.stage import eventually, serving
from tests.uploads import Host

SIZE = 100_000_000
MAY_GROW = 20_000
"""KiB."""
PIECE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 255
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
FORM = {"Content-Type": "multipart/form-data; boundary=b"}


async def form(pieces: int, *, pause: float = 0.0) -> AsyncIterator[bytes]:
    yield HEAD
    for _ in range(pieces):
        yield PIECE
        if pause:
            await asyncio.sleep(pause)
    yield b"\r\n--b--\r\n"


def memory(pid: int) -> int:
    """Return the most memory that a process has had, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.mark.long
async def test_a_large_file_takes_no_memory_and_one_that_is_killed_leaves_nothing(
    start: Start, at: At, sql: Connection
) -> None:
    async with (
        serving(create_app(Options())) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        host = Host(http)
        # A body may take 2 s there, and an upload may not stand still for 3.
        bounds = {"GATEWAY_BODY_TIMEOUT": "2", "GATEWAY_UPLOAD_STALL_TIMEOUT": "3"}
        serving_it = await start("serve", GATEWAY_KIE_UPLOAD_URL=url, **bounds)
        gateway = await at(await serving_it.ready())
        slow = form(60, pause=0.05)
        small = await gateway.http.post("/v1/files", content=slow, headers=FORM)
        assert small.status_code == 201, small.text  # it took more than 2 s
        before = memory(serving_it.pid)
        pieces = SIZE // len(PIECE)
        large = await gateway.http.post("/v1/files", content=form(pieces), headers=FORM)
        assert large.status_code == 201, large.text
        assert large.json()["sha256"] == hashlib.sha256(PIECE * pieces).hexdigest()
        assert memory(serving_it.pid) - before < MAY_GROW

        cut = asyncio.create_task(
            gateway.http.post("/v1/files", content=form(10_000, pause=0.01), headers=FORM)
        )

        async def it_has_begun() -> bool | None:
            metrics = (await gateway.http.get("/metrics")).text
            return 'kie_gateway_held{kind="upload"} 1.0' in metrics or None

        await eventually(it_has_begun)
        serving_it.send(signal.SIGKILL)
        await asyncio.gather(cut, return_exceptions=True)

        async def it_was_cut_off() -> bool | None:
            return await host.cut_off() == 1 or None

        await eventually(it_was_cut_off)
        assert len(await host.has()) == 2
        assert await sql.fetchval("SELECT count(*) FROM files") == 2
