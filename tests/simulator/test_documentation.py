import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.faults import FAULTS, Fault
from simulator.server import Options
from tests.simulator.conftest import Simulate
from tests.stage import PATIENCE

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def parameters(fault: Fault) -> str:
    return ", ".join(
        f"`{name}` {'for ever' if value is None else f'{value:.10g}'}"
        for name, value in fault.defaults.items()
    )


async def run(*command: str, cwd: Path, patience: float) -> tuple[int | None, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    async with asyncio.timeout(patience):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


def test_the_table_is_the_faults() -> None:
    table = PAGE.partition("## The faults")[2].partition("## The account")[0]

    rows = [line for line in table.splitlines() if line.startswith("| `")]

    assert rows == [
        f"| `{fault.name}` | {fault.description} | {parameters(fault)} |"
        for fault in FAULTS.values()
    ]


async def test_each_command_works(simulate: Simulate, tmp_path: Path) -> None:
    simulator = await simulate(Options())
    commands = blocks("sh")
    assert len(commands) > 5

    for command in commands:
        here = command.replace("http://127.0.0.1:8100", "127.0.0.1:8100").replace(
            "127.0.0.1:8100", simulator.url
        )
        status, output = await run("bash", "-euc", here, cwd=tmp_path, patience=PATIENCE)
        assert status == 0, output
        assert '"errors"' not in output
        assert '"code":404' not in output


@pytest.mark.parametrize("name", ["kie-gateway simulator --port 8100", "kie-gateway serve"])
def test_the_page_says_how_to_start(name: str) -> None:
    assert any(f"$ {name}" in block for block in blocks("console"))


async def test_the_fixture_works(tmp_path: Path) -> None:
    (example,) = blocks("python")
    (tmp_path / "test_mine.py").write_text(example, encoding="utf-8")

    status, output = await run(
        sys.executable, "-m", "pytest", "-q", ".", cwd=tmp_path, patience=3 * PATIENCE
    )

    assert status == 0, output
    assert "1 passed" in output
