"""A caller's webhook endpoint over a real socket: it goes down, hangs, says what a test says."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook

from tests.stage import closed

Answer = tuple[int, Mapping[str, str]]
"""A status, and headers."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def event(self) -> str:
        return str(self.json["type"])

    def verified_by(self, secret: str) -> bool:
        """Let the specification's own library judge; it raises where it objects."""
        return bool(Webhook(secret).verify(self.body, dict(self.headers)) == self.json)


@dataclass
class Caller:
    """Hears POSTs at any path of one port."""

    heard: list[Heard] = field(default_factory=list)
    answer: Callable[[Heard], Answer] = lambda _: (200, {})
    body: bytes = b"thanks"
    go: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: answers wait."""
    at_once: int = 0
    most_at_once: int = 0
    _port: int = 0
    _server: asyncio.Server | None = None
    _lines: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/hook"

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    @property
    def ids(self) -> list[str]:
        return [heard.id for heard in self.heard]

    @property
    def events(self) -> list[str]:
        return [heard.event for heard in self.heard]

    def says(self, status: int, **headers: str) -> None:
        """Answer everything from now on like this; `Retry_After` is Retry-After."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = lambda _: (status, named)

    async def comes_up(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def goes_down(self) -> None:
        """Hang up on everyone; whoever comes is refused."""
        if self._server is not None:
            await closed(self._server)
            for line in self._lines:
                line.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines.add(writer)
        try:
            while True:
                await self._hear(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._lines.discard(writer)
            writer.close()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers["content-length"]))
        heard = Heard(head[0].split(" ")[1], headers, body)
        self.heard.append(heard)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.go.wait()
        finally:
            self.at_once -= 1
        status, more = self.answer(heard)
        lines = [f"HTTP/1.1 {status} So", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in more.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + self.body)
        await writer.drain()


@asynccontextmanager
async def listening() -> AsyncIterator[Caller]:
    caller = Caller()
    caller.go.set()
    await caller.comes_up()
    try:
        yield caller
    finally:
        caller.go.set()
        await caller.goes_down()
