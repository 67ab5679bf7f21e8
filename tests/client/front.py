"""Stands before a gateway and loses requests and answers, as a network may."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.stage import closed

END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Passes:
    """The request goes to the gateway, and its answer back."""


@dataclass(frozen=True, slots=True)
class Drops:
    """Hangs up before the gateway has heard anything."""


@dataclass(frozen=True, slots=True)
class Loses:
    """The gateway answers, and nobody hears of it."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """Hangs up once these bytes were seen in the answer."""

    after: bytes


@dataclass(frozen=True, slots=True)
class Says:
    """Something on the way answers."""

    status: int
    body: bytes = b""
    headers: tuple[str, ...] = ()

    def written(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} Said", f"Content-Length: {len(self.body)}"]
        lines += ["Connection: close", *self.headers]
        return "\r\n".join(lines).encode() + END + self.body


Turn = Passes | Drops | Loses | Cuts | Says


@dataclass
class Front:
    """What becomes of the next requests, and which came."""

    port: int
    """The gateway's."""
    url: str = ""
    turns: "deque[Turn]" = field(default_factory=deque)
    """One for each request; none: it passes."""
    requests: list[bytes] = field(default_factory=list)

    def values(self, header: str) -> list[str]:
        """Return the header's value in each request that has it."""
        name = header.lower() + ": "
        heads = [request.partition(END)[0].decode("latin-1") for request in self.requests]
        lines = [line for head in heads for line in head.split("\r\n")]
        return [line[len(name) :] for line in lines if line.lower().startswith(name)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(END)
        self.requests.append(head)
        (length,) = self.values("Content-Length")[-1:] if b"ontent-" in head else ("0",)
        body = await reader.readexactly(int(length))
        self.requests[-1] += body
        turn = self.turns.popleft() if self.turns else Passes()
        if isinstance(turn, Says):
            writer.write(turn.written())
        elif not isinstance(turn, Drops):
            await self._pass(head[:-2] + b"Connection: close" + END + body, turn, writer)

    async def _pass(self, request: bytes, turn: Turn, writer: asyncio.StreamWriter) -> None:
        back, there = await asyncio.open_connection("127.0.0.1", self.port)
        there.write(request)
        seen = b""
        while piece := await back.read(65536):
            seen += piece
            if isinstance(turn, Cuts) and turn.after in seen:
                whole = seen.index(turn.after) + len(turn.after)
                writer.write(piece[: len(piece) - (len(seen) - whole)])
                break
            if not isinstance(turn, Loses):
                writer.write(piece)
        there.close()


@contextlib.asynccontextmanager
async def before(port: int) -> AsyncIterator[Front]:
    """Stand before the gateway at a port of this machine."""
    front = Front(port)
    listener = await asyncio.start_server(front.serve, "127.0.0.1", 0)
    front.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield front
    await closed(listener)
