"""Answers of kie.ai's, or of something on the way, that would unfold to more than they are."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache

import pytest

from app.domain.report import NoAnswer
from app.domain.submission import Unknown
from tests import memory
from tests.each import each
from tests.kie.stage import (
    CREATED,
    Connection,
    Script,
    answering,
    create,
    http,
    kie,
    serving,
)

MEGABYTE = 1 << 20
UNFOLDED = 150_000_000


@cache
def once(window: int) -> bytes:
    """Return 150 MB of zeros, as gzip (31) or zlib (15) has them."""
    packing = zlib.compressobj(wbits=window)
    packed = [packing.compress(bytes(MEGABYTE)) for _ in range(UNFOLDED // MEGABYTE)]
    return b"".join((*packed, packing.flush()))


def twice() -> bytes:
    found = gzip.compress(once(31), 9)
    assert len(found) < 1000
    return found


BOMBS: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    "gzip": (lambda: once(31), "gzip"),
    "x-gzip": (lambda: once(31), "X-GZIP"),
    "deflate": (lambda: once(15), "deflate"),
    "br": (b"\x9b" + bytes(400), "br"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(400), "zstd"),
    "twice": (twice, "gzip, gzip"),
    "beside identity": (twice, "identity, gzip"),
    "unheard of": (CREATED, "aws-chunked"),
    "no bomb at all": (gzip.compress(CREATED), "gzip"),
}


@asynccontextmanager
async def _watched() -> AsyncIterator[list[float]]:
    """Measure for how long the loop does nothing else; the longest is in the list afterwards."""
    loop, gaps = asyncio.get_running_loop(), [0.0]
    watching = True

    def beat(due: float) -> None:
        gaps[0] = max(gaps[0], loop.time() - due)
        if watching:
            loop.call_later(0.005, beat, loop.time() + 0.005)

    beat(loop.time())
    try:
        yield gaps
    finally:
        watching = False


@each("status", [200, 402, 429])
@each("name", BOMBS)
async def test_a_compressed_answer_is_not_unpacked_and_proves_nothing(
    name: str, status: int
) -> None:
    """429 and 402 prove, where they are read, that nothing was created: not here."""
    made, coding = BOMBS[name]
    body = made if isinstance(made, bytes) else made()
    script = answering(http(status, body, f"Content-Encoding: {coding}"))
    async with serving(script) as server, kie(server.url()) as client, _watched() as gaps:
        before = memory.in_use()
        assert await create(client) == Unknown(reason="EncodedAnswerError")
        assert await client.record_info("t1") == NoAnswer(reason="EncodedAnswerError")
        grown = memory.peak() - before
    assert len(server.requests) == 2
    assert grown < 20 * MEGABYTE
    assert gaps[0] < 0.5


async def test_identity_is_no_coding() -> None:
    script = answering(http(200, CREATED, "Content-Encoding: Identity"))
    async with serving(script) as server, kie(server.url()) as client:
        assert not isinstance(await create(client), Unknown)


def _pouring(head: bytes, more: bytes, times: int) -> Script:
    async def script(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\n" + head)
        for _ in range(times):
            await connection.send(more)

    return script


HEADS = {
    "50 MB of one header": (b"X: ", b"x" * 65_536, 800),
    "400,000 headers": (b"", b"X-Y: z\r\n" * 1000, 400),
    "a reason without an end": (b"", b"x" * 65_536, 800),
}


@pytest.mark.parametrize("name", HEADS)
async def test_headers_are_bounded(name: str) -> None:
    async with serving(_pouring(*HEADS[name])) as server, kie(server.url()) as client:
        before = memory.in_use()
        outcome = await create(client)
        grown = memory.peak() - before
    assert isinstance(outcome, Unknown)
    assert len(server.requests) == 1
    assert grown < 20 * MEGABYTE
