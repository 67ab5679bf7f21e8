"""What a stranger may take: bytes, time and connections, over real sockets."""

import asyncio
import contextlib
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from app.api.browsers import HEADERS
from app.api.callers import recognise
from app.cli.processes.edge import LINGER_BYTES, MAX_HEADERS, MAX_URL_BYTES, Bounds, edge
from app.cli.processes.refusing import Refused
from app.log import Sampled
from app.metrics.requests import EDGE_REASONS
from tests.stage import eventually, serving

BOUNDS = Bounds(header_bytes=16384, header_timeout=0.5, body_timeout=1.0, connections=20)
LARGE = 256 * 1024

Connect = Callable[[], Awaitable["Line"]]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the size of the body; 413 at once beyond `LARGE`, with the rest unread.

    404 without a key; who has one is recognised before the body is read.
    """
    known = dict(scope["headers"]).get(b"authorization") == b"right"
    if known:
        recognise(Request(scope))
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        if size > LARGE or not message["more_body"]:
            break
    status = 413 if size > LARGE else 404 if scope["path"] == "/key" and not known else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


class Line:
    """One connection, by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = ""

    async def says(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def status(self) -> int | None:
        """Read an answer's head and return its status; None: hung up without one."""
        try:
            self.head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return int(self.head.split(" ")[1])

    async def problem(self) -> Any:
        return json.loads(await self.reader.read(4096))

    async def is_closed(self) -> bool:
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass
        return True


@pytest.fixture
def counted() -> Counter[str]:
    return Counter()


@asynccontextmanager
async def connecting(
    counted: Counter[str], bounds: Bounds, keep_alive: int
) -> AsyncIterator[Connect]:
    def count(reason: str) -> None:
        counted[reason] += 1

    lines: list[Line] = []
    protocol = edge(bounds, Refused(count))
    async with serving(echo, http=protocol, lifespan="off", timeout_keep_alive=keep_alive) as url:
        host, port = url.removeprefix("http://").split(":")

        async def connect() -> Line:
            lines.append(Line(*await asyncio.open_connection(host, int(port))))
            return lines[-1]

        yield connect
        for line in lines:
            line.writer.transport.abort()


@pytest_asyncio.fixture
async def connect(counted: Counter[str]) -> AsyncIterator[Connect]:
    async with connecting(counted, BOUNDS, 1) as connect:
        yield connect


@pytest_asyncio.fixture
async def patient(counted: Counter[str]) -> AsyncIterator[Connect]:
    """Connect where only the number of connections is bounded."""
    bounds = replace(BOUNDS, header_timeout=60, body_timeout=60)
    async with connecting(counted, bounds, 60) as connect:
        yield connect


def request(*headers: str, path: str = "/", method: str = "GET", body: bytes = b"") -> bytes:
    length = (f"Content-Length: {len(body)}",) if body else ()
    return "\r\n".join((f"{method} {path} HTTP/1.1", *headers, *length, "", "")).encode() + body


HOST = "Host: x"
KEY = "Authorization: right"
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
async def test_refused(connect: Connect, counted: Counter[str], name: str) -> None:
    raw, (status, code) = REFUSED[name]
    line = await connect()
    with contextlib.suppress(ConnectionError):
        await line.says(raw)
    assert await line.status() == status
    for header, value in HEADERS.items():
        assert f"\r\n{header.lower()}: {value}\r\n" in line.head
    assert counted == {code: 1}
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


async def test_a_body_in_chunks_of_any_size_comes_whole(connect: Connect) -> None:
    line = await connect()
    sizes = [1, 100_000, 2, 3, 40_000]
    chunks = b"".join(b"%x\r\n%b\r\n" % (size, bytes(size)) for size in [*sizes, 0])
    await line.says(request(HOST, CHUNKED, method="POST") + chunks)
    assert await line.status() == 200
    assert str(sum(sizes)).encode() in await line.reader.readuntil(b"0\r\n\r\n")


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


async def test_the_one_that_waits_longest_goes_first(
    patient: Connect, counted: Counter[str]
) -> None:
    first = await patient()
    await first.says(b"GET")
    others = [await patient() for _ in range(BOUNDS.connections)]
    assert await first.status() is None
    await others[-1].says(request(HOST))
    assert await others[-1].status() == 200
    assert counted["crowded"] == 1


async def test_who_showed_no_key_makes_way_for_newcomers(
    patient: Connect, counted: Counter[str]
) -> None:
    """However often they come back on the same connections."""
    regular = await patient()
    await regular.says(request(HOST, KEY, path="/key"))
    assert await regular.status() == 200
    newcomer = await patient()
    flood = []
    for _ in range(10 * BOUNDS.connections):
        flood.append(await patient())
        await flood[-1].says(request(HOST, path="/key"))
        assert await flood[-1].status() == 404
    for line in flood[-5:]:
        await line.reader.readuntil(b"0\r\n\r\n")
        await line.says(request(HOST, path="/key"))
        assert await line.status() == 404
    for line in (regular, newcomer):
        await line.reader.read(0)
        await line.says(request(HOST, KEY, path="/key"))
    assert await newcomer.status() == 200
    await regular.reader.readuntil(b"0\r\n\r\n")
    assert await regular.status() == 200
    assert counted["crowded"] >= 9 * BOUNDS.connections


async def test_a_key_that_was_shown_keeps_its_connection_while_the_body_comes(
    patient: Connect,
) -> None:
    sender = await patient()
    await sender.says(request(HOST, KEY, "Content-Length: 4", method="POST") + b"ab")
    crowd = [await patient() for _ in range(2 * BOUNDS.connections)]
    await sender.says(b"cd")
    assert await sender.status() == 200
    assert crowd


async def test_an_answer_under_way_makes_way_for_nobody(connect: Connect) -> None:
    answered = [await connect() for _ in range(3)]
    for line in answered:
        await line.says(request(HOST, method="POST", body=b"x" * 100))
    crowd = [await connect() for _ in range(BOUNDS.connections - 3)]
    assert [await line.status() for line in answered] == [200] * 3
    assert crowd


# -- what strangers write into the log


async def test_a_flood_is_counted_and_one_line(
    connect: Connect, counted: Counter[str], logged: io.StringIO
) -> None:
    for _ in range(30):
        line = await connect()
        await line.says(b"\x16\x03\x01 hello\r\n\r\n")
        assert await line.status() == 400
        line = await connect()
        await line.says(request(HOST, "Connection: Upgrade", "Upgrade: websocket"))
        assert await line.status() == 200
    silent = await connect()
    assert await silent.is_closed()

    async def look() -> bool | None:
        return counted["silent"] > 0 or None

    await eventually(look)
    assert (counted["malformed_request"], counted["upgrade"]) == (30, 30)
    assert set(counted) <= set(EDGE_REASONS)
    said = [json.loads(one) for one in logged.getvalue().splitlines()]
    refused = [one for one in said if one["event"] == "edge.refused"]
    assert Counter(one["reason"] for one in refused) == dict.fromkeys(counted, 1)
    assert all(one["address"] == "127.0.0.1" for one in refused)
    assert "Invalid HTTP" not in logged.getvalue()
    assert "Unsupported upgrade" not in logged.getvalue()


def test_a_sample_says_how_many_it_stands_for() -> None:
    now = 0.0
    sampled = Sampled(every=10.0, clock=lambda: now)
    assert [sampled.admit("a") for _ in range(4)] == [0, None, None, None]
    assert sampled.admit("b") == 0
    now = 9.9
    assert sampled.admit("a") is None
    now = 10.0
    assert (sampled.admit("a"), sampled.admit("a")) == (4, None)


def test_a_sample_forgets_what_was_longest_silent() -> None:
    sampled = Sampled(every=10.0, clock=lambda: 1.0)
    for number in range(5000):
        assert sampled.admit(str(number)) == 0
    assert sampled.admit("4999") is None
    assert len(sampled._seen) <= 1001
