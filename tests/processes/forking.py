"""`python -m tests.processes.forking CHANNEL`: imports the gateway once, forks for each command.

Reads commands from the socket with the descriptor CHANNEL (`tests/processes/forks.py`), and ends
when that is closed. No command runs in this process, no loop and no thread: what a command finds is
what it would have imported itself.
"""

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

IMPORTED = (
    *("app.cli", "app.cli.application", "app.cli.context", "app.cli.processes.server"),
    *("app.main", "app.worker", "app.store.schema", "alembic.command", "httpx"),
    "tests.processes.several",
)
"""What most commands import; the rest they import themselves."""

LENGTH = 4
"""Bytes that a command's own length takes, before it; with them come its descriptors."""

DESCRIPTORS = 4
"""stdin, stdout, stderr, and where the process's id and its end are told."""


def _read(channel: socket.socket) -> tuple[Mapping[str, Any], list[int]] | None:
    head, descriptors, _, _ = socket.recv_fds(channel, LENGTH, DESCRIPTORS)
    if not head:
        return None
    text = b""
    while len(text) < int.from_bytes(head):
        text += channel.recv(int.from_bytes(head) - len(text))
    return json.loads(text), descriptors


def next_command(channel: socket.socket) -> Mapping[str, Any] | None:
    """Fork for each command; returns it in the child, and None at the end of the channel."""
    alive: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd in alive:
                    selector.unregister(key.fd)
                    _tell_its_end(key.fd, *alive.pop(key.fd))
                elif (read := _read(channel)) is None:
                    return None
                else:
                    command, (*streams, told) = read
                    until, life = os.pipe()
                    if (pid := os.fork()) == 0:
                        channel.close()
                        _become(command, streams)
                        return command
                    os.write(told, b"%d\n" % pid)
                    for descriptor in (*streams, life):
                        os.close(descriptor)
                    alive[until] = pid, told
                    selector.register(until, selectors.EVENT_READ)


def _tell_its_end(until: int, pid: int, told: int) -> None:
    """Wait for the process, whose end of the pipe is closed, and say how it ended."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(told, b"%d\n" % status)
    os.close(told)
    os.close(until)


def _become(command: Mapping[str, Any], streams: list[int]) -> None:
    """Take the streams, the environment and the arguments of the command."""
    os.setsid()
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(command["environment"])
    sys.argv[1:] = command["arguments"]


def _main() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # pages that a collection does not write to stay shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is pytest's, which ends the channel
    command = next_command(socket.socket(fileno=int(sys.argv[1])))
    if command is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        runpy.run_module(command["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
