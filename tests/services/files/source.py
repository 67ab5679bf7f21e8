"""A host of result files over a real socket, which does what its path says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256

from tests.stage import closed

PICTURE = bytes(range(256)) * 1000
SHA = sha256(PICTURE).hexdigest()

Serve = Callable[[asyncio.StreamWriter], Awaitable[None]]


def head(status: str, *lines: str) -> bytes:
    """Says that the connection ends, as it does: else a client asks twice on a reused one."""
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *lines, "", ""]).encode()


def whole(body: bytes = PICTURE, kind: str = "image/png", status: str = "200 OK") -> Serve:
    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, f"Content-Type: {kind}", f"Content-Length: {len(body)}") + body)

    return serve


def raw(*parts: bytes) -> Serve:
    """Send these bytes and close."""

    async def serve(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)

    return serve


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(head("200 OK", "Content-Type: video/mp4", "Transfer-Encoding: chunked"))
    while True:
        writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        await writer.drain()


@dataclass
class Source:
    """Serves by path; remembers what it was asked."""

    files: dict[str, Serve] = field(default_factory=dict)
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: answers under /held wait."""
    port: int = 0
    serving: "set[asyncio.Task[None] | None]" = field(default_factory=set)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
                path = request.split(" ")[1]
                self.asked.append((path, headers))
                if path.startswith("/held"):
                    await self.go.wait()
                await self.files.get(path, whole(b"no", status="404 Not Found"))(writer)
                await writer.drain()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()  # before the event loop ends


@asynccontextmanager
async def source() -> AsyncIterator[Source]:
    at = Source()
    listener = await asyncio.start_server(at._serve, "127.0.0.1", 0)
    at.port = listener.sockets[0].getsockname()[1]
    try:
        yield at
    finally:
        await closed(listener)
        left = [task for task in at.serving if task is not None and not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
