"""What ends with us, however we end: processes that we started, and their directories.

Who is killed runs no `finally`, and PostgreSQL's postmaster is nobody's child. So a helper, this
file run as a program, hears by a pipe what we have started; when the pipe closes, we have ended,
and it ends what is left. It knows a process by its pid and its start, so never another of the pid.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

PATIENCE = 20.0
"""Seconds that the processes have to end, before their directories go."""


class Leash:
    """What this process has started, as its helper knows it, which starts when it is needed."""

    def __init__(self) -> None:
        self._pipe: int | None = None

    def hold(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Have the process, or its group where it leads one, ended by this signal after us."""
        self._say("process", pid, int(number))

    def hold_directory(self, directory: Path) -> None:
        """Have the directory removed after us; one that is gone by then is no trouble."""
        self._say("directory", directory)

    def _say(self, *words: object) -> None:
        if self._pipe is None:
            self._pipe = _helper()
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, (" ".join(map(str, words)) + "\n").encode())


def _helper() -> int:
    """Start the helper; returns the end of the pipe that only we have."""
    hears, says = os.pipe()
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", __file__],
        {},
        file_actions=[(os.POSIX_SPAWN_DUP2, hears, 0)],
        setsid=True,
    )
    os.close(hears)
    return says


LEASH = Leash()


def started_at(pid: int) -> str:
    """Return when the process began, in ticks since the machine's start; empty: it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _end(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)


def help_out(lines: Iterable[str]) -> None:
    """Hear what was started until there is no more to hear, and end what is left of it."""
    processes: dict[int, tuple[str, int]] = {}
    directories: list[str] = []
    for line in lines:
        kind, _, rest = line.strip().partition(" ")
        if kind == "directory":
            directories.append(rest)
        else:
            pid, number = map(int, rest.split())
            processes[pid] = (started_at(pid), number)
    left = {pid: known for pid, known in processes.items() if known[0]}
    for pid, (began, number) in left.items():
        if started_at(pid) == began:
            _end(pid, number)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and any(started_at(pid) == left[pid][0] for pid in left):
        time.sleep(0.05)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    os.chdir("/")
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    help_out(sys.stdin)
