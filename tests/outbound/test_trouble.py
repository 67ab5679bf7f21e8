"""Errors name their true cause, and the address where it happened."""

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fixtures.tls import signed_for
from tests.outbound.stage import post, raw, request, sending

SOON, PAST = datetime(2120, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)
CERTIFICATES: Mapping[str, tuple[str, datetime, bool, str]] = {
    # name: for whom, until when, whether its authority is trusted, what is said
    "expired": ("127.0.0.1", PAST, True, "certificate refused: certificate has expired"),
    "self-signed": ("127.0.0.1", SOON, False, "certificate refused: self-signed certificate"),
    "another address": (
        "127.0.0.9",
        SOON,
        True,
        "certificate refused: IP address mismatch, certificate is not valid for '127.0.0.1'.",
    ),
}


@pytest.mark.parametrize("name", CERTIFICATES)
async def test_a_certificate_is_refused_for_its_own_reason(name: str, tmp_path: Path) -> None:
    whose, until, trusted, said = CERTIFICATES[name]
    path = signed_for(whose, tmp_path / "certificate.pem", until)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)

    async def serve(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    bundle = str(path) if trusted else None
    async with (
        raw(serve, tls=context) as port,
        sending(loopback=True, ca_bundle=bundle) as sender,
    ):
        sent = await post(sender, f"https://127.0.0.1:{port}/a-secret-in-the-path")
    assert (sent.status, sent.error, sent.address) == (None, said, "127.0.0.1")
    assert sent.obstacle is None


@contextmanager
def full() -> Iterator[int]:
    """Lend the port of a listener whose queue is full: the next connection gets no answer."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize(("connect", "patience"), [(0.2, 5.0), (5.0, 0.2)])
async def test_a_connection_that_is_not_made_is_said_to_be_that(
    connect: float, patience: float
) -> None:
    with full() as port:
        async with sending(loopback=True, connect=connect, patience=patience) as sender:
            sent = await post(sender, f"http://127.0.0.1:{port}/hook")
    assert (sent.error, sent.address) == ("could not connect within 0.2 s", "127.0.0.1")


async def test_silence_on_an_open_connection_has_its_address() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await request(reader)
        await asyncio.Event().wait()

    async with raw(serve) as port, sending(loopback=True, patience=0.3) as sender:
        sent = [await post(sender, f"http://127.0.0.1:{port}/hook") for _ in range(2)]
    assert [one.status for one in sent] == [204, None]
    assert [one.address for one in sent] == ["127.0.0.1"] * 2
    assert sent[1].error == "no answer within 0.3 s"
