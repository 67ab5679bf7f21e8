"""What benchmarks stand on: a database of their own, real processes, percentiles."""

import argparse
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.embedded import running
from app.store import schema
from tests.leash import LEASH

SECRET = "a-secret-for-benchmarks-alone"  # noqa: S105
LISTENING = re.compile(r"^(?=.*listening).*?(http://127\.0\.0\.1:\d+)", re.MULTILINE)
START_WITHIN = 60.0


def numbers(about: str | None, **usual: float) -> list[Any]:
    """Read a benchmark's numbers from the command line, in this order; `--help` tells `about`."""
    module = sys.modules["__main__"].__spec__
    parser = argparse.ArgumentParser(prog=f"python -m {module and module.name}", description=about)
    for name, value in usual.items():
        told = f"usually {value:,}"
        parser.add_argument(name, nargs="?", type=type(value), default=value, help=told)
    return list(vars(parser.parse_args()).values())


@contextlib.contextmanager
def database() -> Iterator[str]:
    """Lend a migrated database: GATEWAY_BENCH_DATABASE_URL's, or an embedded one."""
    given = os.environ.get("GATEWAY_BENCH_DATABASE_URL")
    if given:
        schema.upgrade(given)
        yield given
        return
    with (
        tempfile.TemporaryDirectory(prefix="kie-gateway-bench-") as folder,
        running(Path(folder)) as dsn,
    ):
        LEASH.hold_directory(Path(folder))
        LEASH.hold(postmaster(Path(folder)), signal.SIGQUIT)
        schema.upgrade(dsn)
        yield dsn


def postmaster(folder: Path) -> int:
    """Return the pid of the embedded server over this folder."""
    return int((folder / "postgres/postmaster.pid").read_text().split()[0])


def environment(dsn: str, upstream: str, **settings: str) -> dict[str, str]:
    """Return the settings of a gateway before a stand-in kie.ai."""
    return {
        "GATEWAY_DATABASE_URL": dsn,
        "GATEWAY_SECRET_KEYS": json.dumps([SECRET]),
        "GATEWAY_KIE_API_KEY": "simulated",
        "GATEWAY_KIE_BASE_URL": upstream,
        "GATEWAY_KIE_UPLOAD_URL": upstream,
        "GATEWAY_PUBLIC_URL": "http://127.0.0.1:1",
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_LOG_LEVEL": "info",
        "GATEWAY_CLIENT_REQUESTS_PER_SECOND": "100000",  # what is measured is not the limits
        "GATEWAY_CLIENT_STREAMS": "1000",
        "GATEWAY_CLIENT_WAITS": "1000",
        **settings,
    }


@contextlib.contextmanager
def process(arguments: Sequence[str], settings: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Run one of our commands; yields the URL that it listens at, and its pid."""
    ours = {n: v for n, v in os.environ.items() if not n.startswith("GATEWAY_")}
    with tempfile.TemporaryFile("w+") as said:
        one = subprocess.Popen(  # noqa: S603  # our own command
            [sys.executable, "-m", "app.cli", *arguments],
            env={**ours, **settings},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        LEASH.hold(one.pid)
        try:
            yield _url(one, said.fileno()), one.pid
        finally:
            one.send_signal(signal.SIGTERM)
            one.wait()


def _url(one: "subprocess.Popen[bytes]", said: int) -> str:
    deadline = time.monotonic() + START_WITHIN
    while time.monotonic() < deadline and one.poll() is None:
        text = os.pread(said, 1_000_000, 0).decode()
        if found := LISTENING.search(text):
            return found[1]
        time.sleep(0.05)
    message = f"did not start: {os.pread(said, 1_000_000, 0).decode()}"
    raise SystemExit(message)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far (user and system, of all threads)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def told(name: str, values: Sequence[float], unit: str = "ms") -> str:
    """Write a distribution in one line."""
    shares = "  ".join(f"p{int(100 * s)} {percentile(values, s):.1f}" for s in (0.5, 0.95, 0.99))
    return f"{name}: {shares}  max {max(values):.1f} {unit}  (mean {statistics.mean(values):.1f})"
