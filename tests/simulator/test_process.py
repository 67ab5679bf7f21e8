import asyncio
import re
import subprocess
import sys
from pathlib import Path

import httpx

from tests.stage import PATIENCE

ROOT = Path(__file__).parents[2]
SERVE = "from app.simulator.server import Options, run; run('127.0.0.1', 0, Options())"
LIST_ROOMS = """
import sys, app.simulator.server
print(*sorted({name.split('.')[1] for name in sys.modules if name.startswith('app.')}))
"""


async def test_runs_in_a_process_of_its_own() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout
        async with asyncio.timeout(PATIENCE):
            line = (await process.stdout.readline()).decode()
        found = re.fullmatch(r"simulator listening on (http://127\.0\.0\.1:\d+)\n", line)
        assert found, line
        async with httpx.AsyncClient(base_url=found[1], trust_env=False) as http:
            assert (await http.get("/simulator/ledger")).json()["data"] == []
    finally:
        process.terminate()
        async with asyncio.timeout(PATIENCE):
            await process.wait()


async def test_shares_nothing_with_the_rest() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LIST_ROOMS, cwd=ROOT, stdout=subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        rooms, _ = await process.communicate()
    assert rooms.decode().split() == ["simulator"]
