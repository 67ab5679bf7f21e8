"""The first ten minutes are true: what README, the tour and `dev` itself say to paste works."""

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.processes.stage import Stage, bare_environment, left_behind
from tests.tour import alike, answers, first_calls, steps

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the commands are curl's")

EXPORTED = re.compile(r"^export (\w+)=(\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Dev:
    """A running `dev`: what it printed, and the directory that has its `.kie-gateway`."""

    printed: str
    directory: Path

    @property
    def exported(self) -> dict[str, str]:
        return dict(EXPORTED.findall(self.printed))

    def paste(self, lines: str) -> str:
        """Paste the lines into a new shell in the directory; returns what they printed."""
        done = subprocess.run(  # noqa: S603  # our own pages' lines
            ["/usr/bin/env", "bash", "-euo", "pipefail", "-c", lines],
            env=bare_environment(),
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest_asyncio.fixture(scope="module")
async def running_dev(stage: Stage) -> AsyncIterator[Dev]:
    with tempfile.TemporaryDirectory(prefix="kie-tour-") as directory:
        arguments = ("dev", "--port", "0", "--data-dir", f"{directory}/.kie-gateway")
        async with stage.running(*arguments) as running:
            printed = await running.says("-d '")
            running.log.unlink()  # no log: it shows the key, on purpose
            yield Dev(printed, Path(directory))
            assert await running.end(signal.SIGINT) == 0
        assert left_behind(Path(directory)) == {}
        assert _has_no_environment(Path(directory))


def _has_no_environment(directory: Path) -> bool:
    return not (directory / ".kie-gateway" / "env").exists()


@pytest.fixture
def dev(running_dev: Dev) -> Dev:
    """A `dev` whose stand-in kie.ai begins anew."""
    simulator = running_dev.exported["SIMULATOR"]
    httpx.delete(f"{simulator}/simulator/ledger", trust_env=False).raise_for_status()
    return running_dev


def test_readmes_calls_run_as_pasted(dev: Dev) -> None:
    created, queried, called_back = _documents(dev.paste(first_calls()))

    assert created["state"] in {"submitting", "running"}
    assert (queried["id"], queried["state"]) == (created["id"], "succeeded")
    said = {(one["source"], one["verdict"]) for one in called_back["data"]}
    assert said == {("callback", "unverified"), ("query", "applied")}


def _documents(printed: str) -> list[dict[str, Any]]:
    """Read JSON documents that stand one after the other."""
    found, rest = [], printed.strip()
    while rest:
        document, end = json.JSONDecoder().raw_decode(rest)
        found.append(document)
        rest = rest[end:].strip()
    return found


@pytest.mark.long
def test_the_lines_that_dev_prints_run_as_pasted(dev: Dev) -> None:
    """Its exports are what our own commands read, and every path that it names is there."""
    program = Path(sys.executable).with_name("kie-gateway")
    (listing,) = re.findall(r"^.* tasks list$", dev.printed, re.MULTILINE)
    listing = listing.replace(str(program.relative_to(Path.cwd())), str(program))
    exports = "\n".join(f"export {name}={value}" for name, value in dev.exported.items())
    task_id = json.loads(dev.paste(dev.printed.splitlines()[-1]))["id"]

    assert task_id in dev.paste(f"{exports}\n{listing}")
    assert task_id in dev.paste(f". .kie-gateway/env\n{listing}")
    named = {word.strip("`") for word in dev.printed.split() if str(dev.directory) in word}
    assert {str(dev.directory / ".kie-gateway" / name) for name in ("env", "logs")} == named
    assert all(Path(name).exists() for name in named)


@pytest.mark.long
def test_the_tour(dev: Dev, tmp_path: Path) -> None:
    shown = steps()
    assert len(shown) >= 10
    found = answers(shown, {**bare_environment(), **dev.exported}, tmp_path)
    for step, answer in zip(shown, found, strict=True):
        assert alike(answer) == alike(step.answer), step.command
