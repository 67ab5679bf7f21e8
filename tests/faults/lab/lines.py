"""Lines between a process and what it talks to: every message passes a point on its way."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from tests.faults.lab.points import Mortal, Side, StruckError, Watch
from tests.stage import closed

CHUNK = 65536

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Carrier(Protocol):
    """What one connection carries; each method returns what is passed on by now."""

    def outgoing(self, chunk: bytes) -> bytes: ...

    def incoming(self, chunk: bytes) -> bytes: ...

    def rest(self) -> bytes: ...


Join = Callable[[Streams], Awaitable[tuple[Streams, Carrier]]]
"""Connects the near side, which it is given, to the far one; an `OSError` hangs up on the near."""

_NAMED = (
    (re.compile(rb"POST \S*/createTask "), "kie createTask"),
    (re.compile(rb"GET \S*/recordInfo\?"), "kie recordInfo"),
    (re.compile(rb"POST /v1/tasks "), "gateway create"),
    (re.compile(rb"POST /callbacks/"), "gateway callback"),
    (re.compile(rb"POST /hook "), "caller webhook"),
)
_TASK = re.compile(rb"/callbacks/kie/([0-9a-f-]{36})/")


class Talk:
    """HTTP: a request counts when its first bytes arrive, and its answer when that does."""

    def __init__(self, watch: Watch, owner: Mortal) -> None:
        self._watch = watch
        self._owner = owner
        self._asked: str | None = None
        self._creates: str | None = None

    def outgoing(self, chunk: bytes) -> bytes:
        what = next((name for named, name in _NAMED if named.match(chunk)), None)
        if what is not None:
            self._asked, self._creates = what, None
            self._watch.reached(Side.BEFORE, what, self._owner)
        if self._asked == "kie createTask" and (found := _TASK.search(chunk)):
            self._creates = found[1].decode()
        return chunk

    def incoming(self, chunk: bytes) -> bytes:
        what, self._asked = self._asked, None
        if what is not None:
            self._watch.reached(Side.AFTER, what, self._owner)
        if self._creates is not None:
            self._watch.answered[self._creates] = self._owner.pid
        return chunk

    def rest(self) -> bytes:
        return b""


def opened() -> asyncio.Event:
    """Make a gate that lets everything through; while it is clear, its lines stand still."""
    gate = asyncio.Event()
    gate.set()
    return gate


@contextlib.asynccontextmanager
async def line(join: Join, gate: asyncio.Event | None = None) -> AsyncIterator[int]:
    """Listen on this machine and carry every connection; yields the port.

    Nothing passes, in either direction, while the gate is clear: a network that stands still.
    """
    gate = gate or opened()
    carried: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        carried.add(task)
        with contextlib.suppress(asyncio.CancelledError):  # asyncio would log it
            await _carry((reader, writer), join, gate)
        carried.discard(task)

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        await closed(listener)
        under_way = list(carried)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _carry(near: Streams, join: Join, gate: asyncio.Event) -> None:
    ends = [near[1]]
    try:
        far, carrier = await join(near)
        ends.append(far[1])
        ways = (
            asyncio.create_task(_pump(near[0], far[1], gate, carrier.outgoing)),
            asyncio.create_task(_pump(far[0], near[1], gate, carrier.incoming, carrier.rest)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
    except OSError:
        pass  # nobody is there: whoever connected is hung up on
    finally:
        for end in ends:
            end.close()


async def _pump(
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
    gate: asyncio.Event,
    passed: Callable[[bytes], bytes],
    rest: Callable[[], bytes] = bytes,
) -> None:
    with contextlib.suppress(StruckError, OSError):
        while chunk := await source.read(CHUNK):
            await gate.wait()
            target.write(passed(chunk))
            await target.drain()
        target.write(rest())
