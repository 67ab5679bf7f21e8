"""The page about backups: its own lines back a database up, and bring it back without paying."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from app.store import schema
from tests import postgres
from tests.gateway import SECRET, Gateway
from tests.processes.stage import KIE_API_KEY, PATIENCE, Stage
from tests.processes.test_restored import Drill
from tests.upstream import Upstream

PAGE = Path(__file__).parents[2] / "docs" / "running.md"
BLOCK = re.compile(r"^```sh (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.long


@pytest.fixture
def servers() -> Iterator[postgres.Servers]:
    with postgres.servers() as make:
        yield make


def run(name: str, where: Path, programs: Path, environment: Mapping[str, str]) -> str:
    """Run a block of the page as a person would; returns what it prints."""
    lines = dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))[name]
    path = os.pathsep.join([str(Path(sys.executable).parent), str(programs), os.environ["PATH"]])
    done = subprocess.run(  # noqa: S603  # the page's own lines
        ["/bin/bash", "-euo", "pipefail", "-c", lines],
        cwd=where,
        env={**environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_a_backup_comes_back_by_the_lines_of_the_page(
    servers: postgres.Servers, upstream: Upstream, tmp_path: Path
) -> None:
    server = await asyncio.to_thread(servers.new)
    programs = server._programs
    await asyncio.to_thread(schema.upgrade, server.dsn)
    settings = {
        "GATEWAY_DATABASE_URL": server.dsn,
        "GATEWAY_SECRET_KEYS": json.dumps([SECRET]),
        "GATEWAY_KIE_API_KEY": KIE_API_KEY,
        "GATEWAY_KIE_BASE_URL": upstream.url,
        "GATEWAY_LISTEN": "127.0.0.1:0",
    }
    stage = Stage(tmp_path, settings)
    drill = Drill(servers, server, stage, upstream)
    async with drill.serving() as gateway:
        sent = await gateway.create()
        (queued, *_) = await drill.queue(gateway)
    tables = await asyncio.to_thread(run, "backup", tmp_path, programs, stage.environment())
    assert int(tables) > 20
    restored = await asyncio.to_thread(servers.new)
    given = stage.environment(RESTORED_DATABASE_URL=restored.dsn)
    await asyncio.to_thread(run, "restore", tmp_path, programs, given)
    drill.server = restored
    await drill.pause(paused=False)
    before = len(upstream.creates)
    moved = {**settings, "GATEWAY_DATABASE_URL": restored.dsn}
    drill.stage = Stage(tmp_path, moved)
    async with drill.stage.running("serve") as process:
        url = await process.ready()
        async with Gateway.at(url, drill.settings) as again:
            assert (await again.http.get("/readyz")).status_code == 200
            await drill.shows(again, "database_restored")
            assert len(upstream.creates) == before
            given = drill.stage.environment()
            said = await asyncio.to_thread(run, "resume", tmp_path, programs, given)
            assert queued in said
            assert "database_restored" in said
            await drill.create_is_sent(again)
    kept = "SELECT count(*) FROM tasks WHERE kie_task_id = $1"
    assert await asyncio.to_thread(restored.fetch, kept, sent["kie_task_id"]) == 1
    assert stage.leaks() == []
