"""What a stranger may take: bytes, time and connections, over real sockets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from starlette.types import Receive, Scope, Send

from app.cli.processes.edge import LINGER_BYTES, MAX_HEADERS, MAX_URL_BYTES, Bounds, edge
from tests.stage import serving

BOUNDS = Bounds(header_bytes=16384, header_timeout=0.5, body_timeout=1.0, connections=20)
LARGE = 256 * 1024

Connect = Callable[[], Awaitable["Line"]]


async def echo(_: Scope, receive: Receive, send: Send) -> None:
    """Answer with the size of the body; 413 at once beyond `LARGE`, with the rest unread."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        if size > LARGE or not message["more_body"]:
            break
    status = 413 if size > LARGE else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


class Line:
    """One connection, by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def says(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def status(self) -> int | None:
        """Read an answer's head and return its status; None: hung up without one."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return int(head.split(b" ")[1])

    async def problem(self) -> Any:
        return json.loads(await self.reader.read(4096))

    async def is_closed(self) -> bool:
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass
        return True


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    lines: list[Line] = []
    async with serving(echo, http=edge(BOUNDS), lifespan="off", timeout_keep_alive=1) as url:
        host, port = url.removeprefix("http://").split(":")

        async def connect() -> Line:
            lines.append(Line(*await asyncio.open_connection(host, int(port))))
            return lines[-1]

        yield connect
        for line in lines:
            line.writer.transport.abort()


def request(*headers: str, path: str = "/", method: str = "GET", body: bytes = b"") -> bytes:
    length = (f"Content-Length: {len(body)}",) if body else ()
    return "\r\n".join((f"{method} {path} HTTP/1.1", *headers, *length, "", "")).encode() + body


HOST = "Host: x"
CHUNKED = "Transfer-Encoding: chunked"
MALFORMED = (400, "malformed_request")
TOO_LARGE = (431, "headers_too_large")
TOO_SLOW = (408, "request_timeout")
REFUSED = {
    "no host": (request(), MALFORMED),
    "two hosts": (request(HOST, HOST), MALFORMED),
    "an odd encoding": (request(HOST, "Transfer-Encoding: gzip, chunked"), MALFORMED),
    "an encoding twice": (request(HOST, CHUNKED, CHUNKED), MALFORMED),
    "an encoding and a length": (request(HOST, CHUNKED, "Content-Length: 3"), MALFORMED),
    "no HTTP": (b"\x16\x03\x01 hello\r\n\r\n", MALFORMED),
    "a long URL": (request(HOST, path="/" + "x" * MAX_URL_BYTES), (414, "url_too_long")),
    "a large header": (request(HOST, "X: " + "x" * 20_000), TOO_LARGE),
    "many headers": (request(HOST, *(f"X{one}: 1" for one in range(MAX_HEADERS))), TOO_LARGE),
    "headers without end": (request(HOST)[:-2] + b"X: y\r\n" * 3000, TOO_LARGE),
    "one header without end": (request(HOST)[:-2] + b"X: " + b"y" * 40_000, TOO_LARGE),
    "half a head": (b"GET / HTTP/1.1\r\nHost: x\r\n", TOO_SLOW),
    "half a body": (request(HOST, "Content-Length: 9", method="POST") + b"half", TOO_SLOW),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused(connect: Connect, name: str) -> None:
    raw, (status, code) = REFUSED[name]
    line = await connect()
    with contextlib.suppress(ConnectionError):
        await line.says(raw)
    assert await line.status() == status
    problem = await line.problem()
    assert (problem["status"], problem["code"]) == (status, code)
    line.writer.write_eof()
    assert await line.is_closed()


async def test_what_is_in_bounds_is_answered_and_the_connection_kept(connect: Connect) -> None:
    """Headers are counted for each message alone."""
    line = await connect()
    for _ in range(5):
        await line.says(request(HOST, "X: " + "x" * 10_000, method="POST", body=b"12345"))
        assert await line.status() == 200
        assert b"5" in await line.reader.readuntil(b"0\r\n\r\n")


@pytest.mark.parametrize("last", [(), ("Connection: close",)])
async def test_who_sends_too_much_reads_why(connect: Connect, last: tuple[str, ...]) -> None:
    """The answer comes while the body is still on its way, and no reset takes it back."""
    line = await connect()
    await line.says(request(HOST, *last, f"Content-Length: {40 * LARGE}", method="POST"))
    for _ in range(40):
        await line.says(b"x" * LARGE)
    assert await line.status() == 413


@pytest.mark.parametrize("last", [(), ("Connection: close",)])
async def test_what_is_thrown_away_has_an_end(connect: Connect, last: tuple[str, ...]) -> None:
    line = await connect()
    await line.says(request(HOST, *last, CHUNKED, method="POST"))
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 4 * LINGER_BYTES:
            await line.says(chunk)
            sent += len(chunk)
    assert sent < 4 * LINGER_BYTES


@pytest.mark.parametrize("raw", [b"", b"G", b"GET / HTTP/1.1\r\n"])
async def test_silent_connections_are_closed(connect: Connect, raw: bytes) -> None:
    line = await connect()
    await line.says(raw)
    async with asyncio.timeout(5):
        assert await line.is_closed()


async def test_the_one_that_waits_longest_goes_first(connect: Connect) -> None:
    first = await connect()
    await first.says(b"GET")
    others = [await connect() for _ in range(BOUNDS.connections)]
    assert await first.status() is None
    await others[-1].says(request(HOST))
    assert await others[-1].status() == 200


async def test_an_answer_under_way_makes_way_for_nobody(connect: Connect) -> None:
    answered = [await connect() for _ in range(3)]
    for line in answered:
        await line.says(request(HOST, method="POST", body=b"x" * 100))
    crowd = [await connect() for _ in range(BOUNDS.connections - 3)]
    assert [await line.status() for line in answered] == [200] * 3
    assert crowd
