"""The stage's own watch over secrets: what it is to find, it finds."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.leash import started_at
from tests.processes.stage import Stage
from tests.stage import eventually

KEY = "kgw_" + "x" * 43
TOKEN_URL = "https://gateway.test/callbacks/kie/01a204bf-a4e0-72a9-9d40-8898834665fc/"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"Bearer {KEY}", True),
        (f"{TOKEN_URL}t0ken", True),
        ("my own secret", True),
        ("kgw_[redacted]", False),
        (f"{TOKEN_URL}[redacted]", False),
        ("kgw_xxxxxx… revoked", False),
    ],
)
def test_leaks(tmp_path: Path, line: str, found: bool) -> None:  # noqa: FBT001  # a table's column
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.log").write_text(f"harmless\n{line}\n")
    stage = Stage(tmp_path, {}, secrets={"my own secret"})

    assert stage.leaks() == ([f"a.log: {line}"] if found else [])


STARTS = """
import os, pathlib, subprocess, sys
from tests.leash import LEASH
one = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
LEASH.hold(one.pid)
LEASH.hold_directory(pathlib.Path(sys.argv[1]))
print(one.pid, flush=True)
sys.stdin.read()
"""


async def test_what_was_started_ends_with_who_started_it(tmp_path: Path) -> None:
    """Who is killed runs no `finally`."""
    directory = tmp_path / "data"
    (directory / "inner").mkdir(parents=True)
    starter = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STARTS, str(directory)), stdin=PIPE, stdout=PIPE
    )
    assert starter.stdout is not None
    pid = int(await starter.stdout.readline())
    assert started_at(pid)
    starter.kill()
    await starter.wait()

    async def is_over() -> bool | None:
        return (not started_at(pid) and not directory.exists()) or None

    await eventually(is_over)
