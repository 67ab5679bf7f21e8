"""What `make test` leaves out because it takes long: `python -m tests.long [--within SECONDS]`.

The parts come in the order of `docs/promises.md`: what breaks a promise on purpose, before it what
shows the promise for longer, and last what belongs to none. With a budget, a part that
is not expected to end in it is left out, and named; CI has one, a night has none. So is a part
that turns out slower and is cut off as the budget ends: it stops at its first failure, so until
then nothing failed.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTEST = ("pytest", "-q", "-n", "auto", "--maxprocesses", "4", "--dist", "worksteal")
IN_PROCESS = (
    *("tests/domain", "tests/kie", "tests/outbound", "tests/store", "tests/services", "tests/api"),
    "tests/console",
    *("tests/simulator", "tests/dropin", "tests/faults/test_limits.py", "tests/test_config.py"),
    *("tests/test_log.py", "tests/test_metrics.py", "tests/test_schema.py"),
)
"""Tests that run the code in their own process, where it is seen."""
PROPERTIES = (
    *("tests/domain", "tests/kie", "tests/outbound", "tests/services/tasks/test_any_order.py"),
    "tests/services/spend/test_any_spend.py",
    *("tests/api/test_schema.py", "tests/api/test_hostile_bodies.py", "tests/api/test_admin.py"),
)
EVENTS = "tests/faults/test_database_events.py"
"""What is measured in them is spoilt by other tests beside them."""
OTHERS = (
    *("tests/domain", "tests/store", "tests/services/account", "tests/services/tasks"),
    *("tests/test_embedded.py", "tests/test_linear_time.py", "tests/test_postgres.py"),
    "tests/test_benchmarks.py",
    *("tests/test_schema.py", "tests/outbound"),
)
"""Where tests are that `make test` leaves out, beside those of faults, processes and the API."""
CLEARING = 20.0
"""Seconds for which a part that is cut off may clear away its servers."""
ALL_EXAMPLES = {"KIE_GATEWAY_TESTS_EXAMPLES": "full"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A run of `python -m`, and the seconds that it takes on two cores."""

    name: str
    seconds: int
    command: tuple[str, ...]
    promise: int | None = None
    """The first of the promises that it is about."""
    environment: dict[str, str] = field(default_factory=dict)


def _sabotaged(promise: int, seconds: int) -> Part:
    return Part(
        name=f"promise {promise} broken on purpose",
        seconds=seconds,
        command=("tests.sabotage", str(promise)),
        promise=promise,
    )


PARTS = (
    _sabotaged(1, 180),
    _sabotaged(2, 90),
    Part(
        name="the fault lab's short form, deaths, crowds: promises 3 to 7, 10 and 11",
        seconds=560,
        command=(
            *("pytest", "-q", "-n", "2", "-m", "long", "tests/faults", "tests/processes"),
            "tests/services/spend",
            "tests/api",
            "tests/console",
            "tests/client",
            f"--ignore={EVENTS}",
        ),
        promise=3,
    ),
    _sabotaged(3, 300),
    _sabotaged(4, 60),
    _sabotaged(5, 60),
    _sabotaged(6, 300),
    Part(
        name="attacks of strangers and neighbours: promises 7 and 11",
        seconds=720,
        command=("tests.attacks",),
        promise=7,
    ),
    _sabotaged(7, 150),
    _sabotaged(8, 170),
    _sabotaged(9, 60),
    Part(
        name="what a database goes through, one event after the other: promise 10",
        seconds=840,
        command=("pytest", "-q", "-m", "long", EVENTS),
        promise=10,
    ),
    _sabotaged(10, 240),
    _sabotaged(11, 150),
    _sabotaged(12, 90),
    _sabotaged(13, 150),
    Part(
        name="what else takes long: races, plans, hostile text, benchmarks",
        seconds=380,
        command=("pytest", "-q", "-n", "2", "-m", "long", *OTHERS),
    ),
    Part(
        name="coverage, with its floor",
        seconds=300,
        command=(*PYTEST, "-m", "not long", "--cov", "--cov-report=term:skip-covered", *IN_PROCESS),
    ),
    Part(
        name="properties with all examples",
        seconds=180,
        command=(*PYTEST, "-m", "not long", *PROPERTIES),
        environment=ALL_EXAMPLES,
    ),
    Part(
        name="the store and admission with JIT and without statistics",
        seconds=90,
        command=("tests.jit",),
    ),
    Part(
        name="the image's files, made without an engine, and a gateway from them",
        seconds=200,
        command=("tests.image.check",),
    ),
    Part(
        name="the documentation's site",
        seconds=40,
        command=("pytest", "-q", "-m", "long", "tests/test_site.py"),
    ),
)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.long", description=__doc__)
    parser.add_argument("--within", type=float, help="seconds for all; default: as many as needed")
    within = parser.parse_args(arguments).within
    ends = None if within is None else time.monotonic() + within
    failed, left_out = [], []
    for part in PARTS:
        left = None if ends is None else ends - time.monotonic()
        passed = None if left is not None and part.seconds > left else _passes(part, left)
        if passed is None:
            left_out.append(part.name)
        elif not passed:
            failed.append(part.name)
    for name in left_out:
        _say(f"left out for want of time: {name}")
    for name in failed:
        _say(f"FAILED: {name}")
    return 1 if failed else 0


def _passes(part: Part, left: float | None) -> bool | None:
    """Carry a part out; None: it was cut off after the `left` seconds."""
    _say(f"== {part.name} (some {part.seconds} s)")
    started = time.monotonic()
    hurried = {} if left is None else {"PYTEST_ADDOPTS": "--maxfail=1"}
    process = subprocess.Popen(  # noqa: S603  # our own tools
        [sys.executable, "-m", *part.command],
        cwd=ROOT,
        env={**os.environ, **part.environment, **hurried},
        start_new_session=True,
    )
    try:
        status = process.wait(left)
    except subprocess.TimeoutExpired:
        _end(process)
        _say(f"== {part.name}: cut off after {time.monotonic() - started:.0f} s")
        return None
    except KeyboardInterrupt:
        _end(process)
        raise
    _say(f"== {part.name}: {time.monotonic() - started:.0f} s, status {status}")
    return status == 0


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Interrupt all of its processes as a terminal would, and kill what is left of them."""
    for number, patience in ((signal.SIGINT, CLEARING), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
