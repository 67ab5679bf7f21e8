"""Connections that their receivers close: the attempt is made all the same, and once."""

import asyncio
import socket
import struct

import pytest

from tests.outbound.stage import BODY, pace, post, raw, request, sending

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
RESET = struct.pack("ii", 1, 0)


class Closing:
    """Answers the first request of a connection, and ends it in its way at the second."""

    def __init__(self, second: bytes = b"", *, reset: bool = False, first: bytes = OK) -> None:
        self.second, self.reset, self.first = second, reset, first
        self.connections = 0
        self.heard: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.heard.append(await request(reader))
        writer.write(self.first)
        if not self.first:
            return
        self.heard.append(await request(reader))
        writer.write(self.second)
        await writer.drain()
        if self.reset:
            own = writer.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.close()


@pytest.mark.parametrize("reset", [False, True])
async def test_a_reused_connection_that_ends_is_followed_by_a_fresh_one(reset: bool) -> None:  # noqa: FBT001  # a parameter
    receiver = Closing(reset=reset)
    async with raw(receiver) as port, sending(loopback=True) as sender:
        sent = [await post(sender, f"http://127.0.0.1:{port}/hook") for _ in range(4)]
    assert [one.status for one in sent] == [200] * 4
    assert {one.address for one in sent} == {"127.0.0.1"}
    assert receiver.connections == 4
    assert len(receiver.heard) == 7  # the second, third and fourth twice


async def test_the_one_after_is_never_another_that_was_open() -> None:
    """Three idle connections, all about to end: none of them is the second try."""
    receiver = Closing()
    async with raw(receiver) as port, sending(loopback=True) as sender:
        url = f"http://127.0.0.1:{port}/hook"
        first = await asyncio.gather(*(post(sender, url) for _ in range(3)))
        assert receiver.connections == 3
        second = await post(sender, url)
    assert [one.status for one in (*first, second)] == [200] * 4
    assert receiver.connections == 4


async def test_a_fresh_connection_that_ends_is_not_tried_again() -> None:
    receiver = Closing(first=b"")
    async with raw(receiver) as port, sending(loopback=True) as sender:
        sent = await post(sender, f"http://127.0.0.1:{port}/hook")
    assert (sent.status, receiver.connections) == (None, 1)
    assert sent.address == "127.0.0.1"


async def test_an_answer_that_had_begun_is_not_asked_for_again() -> None:
    receiver = Closing(b"HTTP/1.1 2")
    async with raw(receiver) as port, sending(loopback=True) as sender:
        sent = [await post(sender, f"http://127.0.0.1:{port}/hook") for _ in range(2)]
    assert [one.status for one in sent] == [200, None]
    assert (receiver.connections, sent[1].address) == (1, "127.0.0.1")


@pytest.mark.parametrize("delay", [0.0, 0.005, 0.3])
async def test_receivers_that_close_after_their_answer(delay: float) -> None:
    """At the worst moments: just before, while and just after the connection is closed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK)
        await writer.drain()
        await pace(delay)

    async with raw(serve) as port, sending(loopback=True) as sender:
        url = f"http://127.0.0.1:{port}/hook"
        statuses = []
        for step in range(-2, 3):
            for _ in range(2 if delay > 0.1 else 12):
                statuses.append((await post(sender, url)).status)
                await pace(max(0.0, delay + step * 0.0005))
    assert set(statuses) == {200}


async def test_a_large_body_is_sent_again_whole() -> None:
    large = b'{"x":"' + b"y" * 400_000 + b'"}'
    sizes: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")

    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        sizes.append(len(await reader.readexactly(len(large))))
        writer.write(OK)

    ways = [serve, whole]

    async def next_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ways.pop(0)(reader, writer)

    async with (
        raw(next_way) as port,
        sending(loopback=True) as sender,
    ):
        url = f"http://127.0.0.1:{port}/hook"
        assert (await sender.post(url, BODY, {})).status == 200
        assert (await sender.post(url, large, {})).status == 200
    assert sizes == [len(large)]
