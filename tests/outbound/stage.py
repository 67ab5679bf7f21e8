"""Senders for tests: names that answer as told, receivers over real sockets."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from aiohttp.abc import AbstractResolver, ResolveResult
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from app.outbound.connections import session
from app.outbound.guard import Guard, PrivateNetworks
from app.outbound.sender import Sender, Sent
from tests.outbound.addresses import BLOCKED

BODY = b'{"type":"task.succeeded"}'
TIMEOUT = 5.0


class Names(AbstractResolver):
    """A resolver that answers as a test says: each question has the next answer, the last stays."""

    def __init__(self, *answers: Sequence[str] | OSError) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in answer
        ]

    @override
    async def close(self) -> None:
        pass


@asynccontextmanager
async def sending(
    *answers: Sequence[str] | OSError,
    loopback: bool = False,
    patience: float = TIMEOUT,
    ca_bundle: str | None = None,
    private: PrivateNetworks = PrivateNetworks.OPEN,
    connect: float = 2.0,
) -> AsyncIterator[Sender]:
    """Lend a sender; with `answers`, names stand for them instead of what the system says."""
    guard = Guard(allow_loopback=loopback, blocked=BLOCKED, private=private)
    resolver = Names(*answers) if answers else None
    async with session(guard, connect=connect, resolver=resolver, ca_bundle=ca_bundle) as http:
        yield Sender(http, guard, patience)


async def post(sender: Sender, url: str, headers: Mapping[str, str] | None = None) -> Sent:
    return await sender.post(url, BODY, headers or {})


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw(
    serve: Serve, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve connections as `serve` does; lends the port. What is left over is ended with it."""
    under_way: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.transport.abort()
        under_way.discard(task)

    server = await asyncio.start_server(accepted, host, 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in list(under_way):
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def request(reader: asyncio.StreamReader) -> bytes:
    """Read one request of `post`; returns its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(BODY))
    return head


class Receiver:
    """Remembers what it was sent; answers as a test says."""

    def __init__(self) -> None:
        self.url = ""
        self.heard: list[tuple[Mapping[str, str], bytes]] = []
        self.answer: Callable[[], Response] = Response

    async def hear(self, request: Request) -> Response:
        self.heard.append((dict(request.headers), await request.body()))
        return self.answer()

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1].split("/")[0])


async def pace(seconds: float) -> None:
    """Be as slow as a receiver, or wait until it has done what it does by the clock."""
    await asyncio.sleep(seconds)


def is_blocked(sent: Sent) -> bool:
    return sent.status is None and (sent.error or "").startswith("blocked: ")


@asynccontextmanager
async def speaking(*said: bytes) -> AsyncIterator[str]:
    """Serve whoever comes with these bytes, one after another, and then with silence."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for chunk in said:
            writer.write(chunk)
            await writer.drain()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        over.set()
