"""Receivers that mean harm, or are broken: bounded in time and memory, and their status counts."""

import asyncio
import gzip
import ssl
import time
from collections.abc import Mapping
from typing import Any

from tests import memory
from tests.each import each
from tests.outbound.stage import Serve, pace, post, raw, request, sending

PATIENCE = 0.4
"""Seconds that an attempt may take in these tests."""

OK = b"HTTP/1.1 200 OK\r\n"
BOMB = gzip.compress(gzip.compress(bytes(50_000_000)))
MEGABYTE = 1 << 20


def says(*chunks: bytes, times: int = 1, pause: float = 0.0, ends: bool = True) -> Serve:
    """Answer with the first chunk, then with the others again and again."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(chunks[0] if chunks else b"")
        for _ in range(times):
            for chunk in chunks[1:]:
                writer.write(chunk)
                await writer.drain()
                await pace(pause)
        if not ends:
            await asyncio.Event().wait()
        writer.close()
        await writer.wait_closed()

    return serve


async def silent(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


EITHER = 0
"""200, or an error: that depends on whether the head comes in one piece with the nonsense."""

X = b"x" * 65_536
RECEIVERS: Mapping[str, tuple[Serve, int | None]] = {
    "a body without an end": (
        says(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + X + b"\r\n", times=9**9),
        200,
    ),
    "a body byte by byte": (
        says(OK + b"Content-Length: 1000\r\n\r\n", b"x", times=1000, pause=0.02),
        200,
    ),
    "no body where one was announced": (says(OK + b"Content-Length: 9\r\n\r\n", ends=False), 200),
    "a body that is short": (says(OK + b"Content-Length: 1000\r\n\r\nshort"), 200),
    "a body that is short, of a refusal": (
        says(b"HTTP/1.1 503 Busy\r\nContent-Length: 1000\r\n\r\nshort"),
        503,
    ),
    "a refusal without an end": (
        says(b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n", ends=False),
        500,
    ),
    "gone without an end": (
        says(b"HTTP/1.1 410 Gone\r\nContent-Length: 99\r\n\r\n", ends=False),
        410,
    ),
    "chunks that are none": (says(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nxx"), EITHER),
    "a chunk of 2**60 bytes": (
        says(OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFF\r\nx", ends=False),
        200,
    ),
    "headers byte by byte": (says(OK, b"X", times=1000, pause=0.02), None),
    "a header of 50 MB": (says(OK + b"X: ", X, times=800), None),
    "400,000 headers": (says(OK, b"X-Y: z\r\n" * 1000, times=400), None),
    "a status line without an end": (says(b"HTTP/1.1 200 ", X, times=800), None),
    "trailers without an end": (
        says(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 1000, times=400),
        EITHER,
    ),
    "200,000 times 100 Continue": (
        says(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, times=200),
        None,
    ),
    "a bomb": (
        says(OK + b"Content-Encoding: gzip, gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
        200,
    ),
    "garbage": (says(bytes(range(256)) * 40), None),
    "another protocol": (says(b"SSH-2.0-OpenSSH_9.6\r\n"), None),
    "silence": (silent, None),
    "a length below zero": (says(OK + b"Content-Length: -1\r\n\r\n"), None),
    "two lengths": (says(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"), None),
    "a length of 10**30": (says(OK + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\n"), None),
    "patience of 10**20 seconds": (
        says(b"HTTP/1.1 503 Busy\r\nRetry-After: 1" + b"0" * 20 + b"\r\nContent-Length: 0\r\n\r\n"),
        503,
    ),
    "patience until the year 9999": (
        says(
            b"HTTP/1.1 429 Slow\r\nRetry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n"
            b"Content-Length: 0\r\n\r\n"
        ),
        429,
    ),
    "a type of control characters": (
        says(OK + b"Content-Type: \xff\xfe\x80text\r\nContent-Length: 0\r\n\r\n"),
        200,
    ),
}


@each("name", RECEIVERS)
async def test_a_hostile_receiver_is_bounded(name: str) -> None:
    serve, status = RECEIVERS[name]
    async with raw(serve) as port, sending(loopback=True, patience=PATIENCE) as sender:
        url = f"http://127.0.0.1:{port}/hook"
        before, started = memory.in_use(), time.monotonic()
        sent = await post(sender, url)
        took, grown = time.monotonic() - started, memory.peak() - before
    assert sent.address == "127.0.0.1"
    assert sent.status == status or (status is EITHER and sent.status in {200, None}), sent
    assert took < PATIENCE + 1.0
    assert grown < 10 * MEGABYTE
    assert len(sent.answer) <= 1024
    assert (sent.answer_bytes or 0) <= 16_384
    assert (sent.error is None) == (sent.status is not None)
    assert (sent.answer_type or "").isascii()


async def test_a_reset_after_the_head_changes_nothing() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK + b"Content-Length: 1000\r\n\r\nbegun")
        await writer.drain()
        writer.transport.abort()

    async with raw(serve) as port, sending(loopback=True) as sender:
        sent = await post(sender, f"http://127.0.0.1:{port}/hook")
    assert (sent.status, sent.error) == (200, None)


async def test_an_early_answer_to_a_body_that_nobody_reads() -> None:
    """The rest of the request has nowhere to go: the connection is given up, the status kept."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.Event().wait()

    async with raw(serve) as port, sending(loopback=True, patience=2.0) as sender:
        url, large = f"http://127.0.0.1:{port}/hook", bytes(20 * MEGABYTE)
        started = time.monotonic()
        assert (await sender.post(url, large, {})).status == 413
        assert time.monotonic() - started < 1.5


async def test_tls_on_a_plain_port_and_the_reverse(tls: ssl.SSLContext) -> None:
    plain: Any = says(OK + b"Content-Length: 0\r\n\r\n")
    async with raw(silent) as port, sending(loopback=True, patience=PATIENCE) as sender:
        unanswered = await post(sender, f"https://127.0.0.1:{port}/hook")
    async with raw(_hello_refused) as port, sending(loopback=True, patience=PATIENCE) as sender:
        wrong = await post(sender, f"https://127.0.0.1:{port}/hook")
    async with raw(plain, tls=tls) as port, sending(loopback=True, patience=PATIENCE) as sender:
        reverse = await post(sender, f"http://127.0.0.1:{port}/hook")
    assert unanswered.error == f"could not connect within {PATIENCE:g} s"
    assert (wrong.error or "").startswith("TLS failed: ")
    assert [one.status for one in (unanswered, wrong, reverse)] == [None] * 3
    assert {one.address for one in (unanswered, wrong, reverse)} == {"127.0.0.1"}


async def _hello_refused(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
