"""Our own commands as processes: started with a known environment, stopped gently."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx

START_WITHIN = 30.0
STOP_WITHIN = 10.0
LAST_WORDS = 2000
"""Characters of a log that are shown when its process ends."""

Seen = TypeVar("Seen")


class ProcessFailedError(Exception):
    """A process ended or stayed silent; the text says which and shows the end of its log."""


class Process:
    """One of our commands, under way, its output in a file."""

    def __init__(self, name: str, log: Path, popen: "subprocess.Popen[bytes]") -> None:
        self._name = name
        self._log = log
        self._popen = popen

    def until(self, look: Callable[[], Seen | None]) -> Seen:
        """Look again until there is something to see; raises `ProcessFailedError`."""
        deadline = time.monotonic() + START_WITHIN
        while (seen := look()) is None:
            self.require_alive()
            if time.monotonic() > deadline:
                raise self._failure(how=f"did not start within {START_WITHIN:g} s")
            time.sleep(0.05)
        return seen

    def first_line(self) -> str | None:
        lines = self._log.read_text().splitlines(keepends=True)
        return lines[0].strip() if lines and lines[0].endswith("\n") else None

    def require_alive(self) -> None:
        if self._popen.poll() is not None:
            raise self._failure(how=f"ended with status {self._popen.returncode}")

    def stop(self) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def _failure(self, *, how: str) -> ProcessFailedError:
        message = f"{self._name} {how}:\n{self._log.read_text()[-LAST_WORDS:]}"
        return ProcessFailedError(message)


@contextmanager
def process(
    name: str, log: Path, arguments: list[str], environment: Mapping[str, str]
) -> Iterator[Process]:
    """Run one of our commands for the length of the block, without the shell's own settings."""
    inherited = {n: v for n, v in os.environ.items() if not n.upper().startswith("GATEWAY_")}
    with (
        log.open("wb") as output,
        subprocess.Popen(  # noqa: S603  # our own commands
            [sys.executable, "-m", "app.cli.processes.child", *arguments],
            env={**inherited, **environment},
            stdin=subprocess.PIPE,  # closed when we die: see app/cli/processes/child.py
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only us, and we stop them in order
        ) as popen,
    ):
        started = Process(name, log, popen)
        try:
            yield started
        finally:
            started.stop()


def is_ready(url: str) -> bool | None:
    """Return True where a gateway there is ready, None where it is not yet."""
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).is_success or None
    except httpx.HTTPError:
        return None


def claimed_port(port: int) -> int:
    """Return the port, or a free one for 0; raises OSError when somebody listens there."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        found: int = listener.getsockname()[1]
        return found


def kept_secret(path: Path) -> str:
    """Return a secret that is made once: what it sealed or opened, it must open next time."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32))
    return path.read_text().strip()
