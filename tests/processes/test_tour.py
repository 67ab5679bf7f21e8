"""The tour's page is true: every command of it runs, and answers what the page says."""

import re
import shutil
from pathlib import Path

import pytest

from tests.processes.conftest import Start
from tests.processes.stage import bare_environment
from tests.tour import alike, answers, steps

EXPORTED = re.compile(r"^export (GATEWAY|SIMULATOR|KEY)=(\S+)$", re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the tour's commands are curl's")
async def test_the_tour(start: Start, tmp_path: Path) -> None:
    dev = await start("dev", "--port", "0", "--data-dir", str(tmp_path / "data"))
    said = await dev.says("\ncurl ")
    environment = {**bare_environment(), **dict(EXPORTED.findall(said))}
    shown = steps()
    assert len(shown) >= 10
    dev.log.unlink()  # no log: it shows the key, on purpose
    found = answers(shown, environment, tmp_path)
    for step, answer in zip(shown, found, strict=True):
        assert alike(answer) == alike(step.answer), step.command
