import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.simulator.stage import Simulator
from tests.stage import PATIENCE, eventually

ROOT = Path(__file__).parents[2]
SERVE = "from simulator.server import Options, run; run('127.0.0.1', 0, Options())"
LIST_GATEWAY_MODULES = """
import sys, simulator.server
assert 'simulator.vendor' in sys.modules
print(*sorted(name for name in sys.modules if name.partition('.')[0] == 'app'))
"""


@contextlib.asynccontextmanager
async def simulator() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """One in a process of its own, and where it listens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVE,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout
        async with asyncio.timeout(PATIENCE):
            line = (await process.stdout.readline()).decode()
        found = re.fullmatch(r"simulator listening on (http://127\.0\.0\.1:\d+)\n", line)
        assert found, line
        yield process, found[1]
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(PATIENCE):
            await process.communicate()


async def test_runs_in_a_process_of_its_own() -> None:
    async with simulator() as (_, url), httpx.AsyncClient(base_url=url, trust_env=False) as http:
        assert (await http.get("/simulator/ledger")).json()["data"] == []


async def test_closes_connections_under_its_own_loop() -> None:
    async with simulator() as (process, url), Simulator.at(url) as customer:
        for name in ("create-closed-unread", "create-cut-off-after-accept", "create-half-answer"):
            await customer.expect(fault=name)
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await customer.send()
        assert [row["outcome"] for row in await customer.creates()] == [
            "dropped",
            "accepted",
            "accepted",
        ]
        process.terminate()
        _, errors = await process.communicate()
        assert errors == b""


async def test_what_hangs_is_not_answered_when_it_stops() -> None:
    async with simulator() as (process, url), Simulator.at(url) as customer:
        await customer.expect(fault="create-hang-after-accept")
        sending = asyncio.create_task(customer.send(patience=60))

        async def billed() -> bool | None:
            return bool((await customer.ledger())["data"]) or None

        await eventually(billed)
        process.terminate()

        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await sending
        _, errors = await process.communicate()
        assert b"Traceback" not in errors


async def test_loads_nothing_of_the_gateway() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LIST_GATEWAY_MODULES, cwd=ROOT, stdout=subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        modules, _ = await process.communicate()
    assert process.returncode == 0
    assert modules.decode().split() == []
