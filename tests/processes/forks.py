"""Commands as processes that were forked, so that what they import is imported once for all.

Importing the gateway takes two to four seconds of CPU time, most of what a short test of a process
took. Such a process has its own pid, session, streams, environment and signals. What it does not
show is that a command starts from nothing: `tests/cli/test_imports.py`, `demo` and `dev` do.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from tests.processes.forking import LENGTH


class Forked:
    """What the tests use of `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, reader: asyncio.StreamReader) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ends = asyncio.create_task(self._end(reader))

    async def _end(self, reader: asyncio.StreamReader) -> int:
        self.returncode = int(await reader.readline())
        return self.returncode

    async def wait(self) -> int:
        return await asyncio.shield(self._ends)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class Forks:
    """The process that imported the gateway, and forks."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    async def start(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        streams: Sequence[IO[bytes]],
    ) -> Forked:
        """Run `python -m MODULE ARGUMENTS` with these files as stdin, stdout and stderr."""
        ours, theirs = socket.socketpair()
        command = {"module": module, "arguments": arguments, "environment": dict(environment)}
        text = json.dumps(command).encode()
        with theirs:
            head = len(text).to_bytes(LENGTH)
            socket.send_fds(
                self._channel, [head], [*(each.fileno() for each in streams), theirs.fileno()]
            )
            self._channel.sendall(text)
        reader, writer = await asyncio.open_connection(sock=ours)
        forked = Forked(int(await reader.readline()), reader)
        forked._ends.add_done_callback(lambda _: writer.close())
        return forked


@contextlib.contextmanager
def forks(environment: Mapping[str, str]) -> Iterator[Forks]:
    """Import the gateway for the length of the block; what it forked may outlive it."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(  # noqa: S603  # our own module
                [sys.executable, "-m", "tests.processes.forking", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        yield Forks(ours)
        ours.shutdown(socket.SHUT_RDWR)
        process.wait()
