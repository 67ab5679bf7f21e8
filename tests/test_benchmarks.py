"""Each benchmark runs from its beginning to its end: small here, so its figures say nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = {
    "admission": "cost",
    "console": "500",
    "deliveries": "1",
    "feed": "200 6",
    "floor": "--quick --only floor --only gateway",
    "growth": "--small 100 --large 1000 --queued 100",
    "limits": "20",
    "listing": "2000",
    "neighbours": "--good 1 --every 0.5 --patience 30",
    "retention": "--tasks 500 --rate 5",
    "seed": "500",
    "uploads": "--size 100000 --rounds 1",
    "waiters": "20 50",
}
"""Every one that is run by its name, and what makes it brief."""
WITHIN = 300
"""Seconds."""


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )


def test_every_benchmark_is_among_these() -> None:
    found = (ROOT / "benchmarks").glob("*.py")
    assert {
        one.stem for one in found if 'if __name__ == "__main__"' in one.read_text()
    } == SMALL.keys()


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL)
def test_it_says_what_it_does(name: str) -> None:
    told = _run(f"benchmarks.{name}", "--help")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(f"usage: python -m benchmarks.{name} ")


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL)
def test_it_runs_to_its_end(name: str) -> None:
    """And tells figures; 1 says that one is out of its bounds, as it may be beside other tests."""
    done = _run(f"benchmarks.{name}", *SMALL[name].split())
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert any(char.isdigit() for char in done.stdout)
