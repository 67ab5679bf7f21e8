"""Both ends of a call: a client, and a TCP server that does what a script says."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

from app.domain import exact_json
from app.domain.submission import Outcome
from app.kie.client import KieClient, http_client
from tests.stage import closed

KEY = "sk-not-to-be-shown"
MAX_ANSWER = 1024 * 1024
CALLBACK = "https://gateway.example/callbacks/kie/1/token-not-to-be-shown"


class Connection:
    """One accepted connection, as a script sees it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: list[bytes]
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._requests = requests

    async def read_request(self) -> None:
        """Read one whole request and remember its bytes."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
        self._requests.append(head + await self.reader.readexactly(int(length[1]) if length else 0))

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def hung_up(self) -> None:
        """Wait until the far side closes."""
        while await self.reader.read(65_536):
            pass


Script = Callable[[Connection], Awaitable[None]]


class Server:
    """What the tests look at: where it listens and what it was sent."""

    def __init__(self, scripts: tuple[Script, ...]) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._scripts = scripts
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        task = asyncio.ensure_future(self._run(script, reader, writer))
        self._tasks.add(task)
        await task

    async def _run(
        self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # The far side may hang up at any point: that is what the scripts are for.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await script(Connection(reader, writer, self.requests))
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    async def drained(self) -> None:
        await asyncio.gather(*self._tasks)


@contextlib.asynccontextmanager
async def serving(*scripts: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve the first connection by the first script and so on, all further ones by the last."""
    server = Server(scripts)
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        await closed(listener)
        await listener.wait_closed()
        await server.drained()


def http(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Because", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def envelope(code: int, data: object = None, msg: str = "because") -> bytes:
    return exact_json.render({"code": code, "msg": msg, "data": data}).encode()


def answering(raw: bytes) -> Script:
    """Read a request, send these bytes, hang up."""

    async def script(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(raw)

    return script


async def hanging(connection: Connection) -> None:
    """Read a request and say nothing."""
    await connection.read_request()
    await connection.hung_up()


async def closing(connection: Connection) -> None:
    """Hang up as soon as the connection stands."""


async def pouring(connection: Connection) -> None:
    """Read a request and answer without end, until the far side has had enough."""
    await connection.read_request()
    await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await connection.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


CREATED = envelope(200, {"taskId": "t1", "recordId": "t1"}, "success")


@contextlib.asynccontextmanager
async def kie(
    base_url: str,
    *,
    total: float = 5,
    connect: float = 5,
    read: float | None = 5,
    proxy: str | None = None,
    ca_bundle: str | None = None,
) -> AsyncIterator[KieClient]:
    """A client with ample timeouts unless a test is about one."""
    async with http_client(connect=connect, read=read, pool=5, ca_bundle=ca_bundle) as client:
        yield KieClient(
            client,
            base_url=base_url,
            api_key=KEY,
            timeout=total,
            max_answer=MAX_ANSWER,
            proxy=proxy,
        )


async def create(client: KieClient) -> Outcome:
    return await client.create_task("m", {"prompt": "p"}, CALLBACK)
