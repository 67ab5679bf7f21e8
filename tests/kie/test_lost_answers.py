"""What each way of losing an answer proves: that nothing was sent, or nothing at all."""

import asyncio
import contextlib
import gzip
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.domain.report import NoAnswer
from app.domain.submission import Accepted, Unknown, Unsent
from tests.each import each
from tests.kie.stage import (
    CREATED,
    KEY,
    MAX_ANSWER,
    Connection,
    Script,
    answering,
    closing,
    create,
    hanging,
    http,
    kie,
    pouring,
    serving,
)

LOST: dict[str, tuple[Script, str]] = {
    "all read, no answer": (answering(b""), "ServerDisconnectedError"),
    "half a status line": (answering(b"HTTP/1.1 2"), "ServerDisconnectedError"),
    "half the headers": (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX-"),
        "ServerDisconnectedError",
    ),
    "half the body": (
        answering(http(200, CREATED)[:-1]),
        "ClientPayloadError",
    ),
    "half a chunked body": (
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"),
        "ClientPayloadError",
    ),
    "a bad chunk": (
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}"),
        "ClientResponseError",
    ),
    "a bad compression": (
        answering(http(200, CREATED, "Content-Encoding: gzip")),
        "EncodedAnswerError",
    ),
    "garbage": (answering(b"\x00\xff\xfe garbage\r\n\r\n"), "ClientResponseError"),
    "a redirect to nowhere": (
        answering(http(302, b"", "Location: http://host:no-port/")),
        "HTTP 302 without a kie.ai envelope",
    ),
    "a body that swells": (
        answering(http(200, gzip.compress(b" " * 64 * MAX_ANSWER), "Content-Encoding: gzip")),
        "EncodedAnswerError",
    ),
    "an endless body": (pouring, "OversizedAnswerError"),
    "a long body": (answering(http(200, b" " * (MAX_ANSWER + 1))), "OversizedAnswerError"),
}


@each("name", LOST)
async def test_a_lost_answer_is_unknown(name: str) -> None:
    script, reason = LOST[name]
    async with serving(script) as server, kie(server.url()) as client:
        assert await create(client) == Unknown(reason=reason)
        assert len(server.requests) == 1  # and never sent again
        assert await client.record_info("t1") == NoAnswer(reason=reason)


async def test_an_answer_that_came_while_the_process_stood_still_is_read() -> None:
    """Its time was over by then; it holds the id of what was paid."""

    async def answering_before_a_standstill(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(http(200, CREATED))
        threading.Event().wait(1.2)  # all of the loop, the client too

    async with (
        serving(answering_before_a_standstill) as server,
        kie(server.url(), total=0.3, read=None) as client,
    ):
        assert await create(client) == Accepted(kie_task_id="t1")


async def test_an_answer_may_be_as_long_as_the_bound() -> None:
    raw = http(200, CREATED.ljust(MAX_ANSWER))
    async with serving(answering(raw)) as server, kie(server.url()) as client:
        assert await create(client) == Accepted(kie_task_id="t1")


async def test_silence_is_unknown_after_the_total() -> None:
    async with serving(hanging) as server, kie(server.url(), total=0.05) as client:
        assert await create(client) == Unknown(reason="TimeoutError")
        assert await client.record_info("t1") == NoAnswer(reason="TimeoutError")
    assert len(server.requests) == 2


async def test_silence_is_unknown_after_the_read_timeout() -> None:
    async with serving(hanging) as server, kie(server.url(), read=0.05) as client:
        assert await create(client) == Unknown(reason="SocketTimeoutError")


async def test_a_trickle_ends_at_the_total() -> None:
    """Each byte resets the read timeout, none resets the total."""

    async def trickling(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not connection.reader.at_eof():
            await connection.send(b" ")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connection.reader.read(1), 0.01)

    async with serving(trickling) as server, kie(server.url(), total=0.1, read=0.05) as client:
        assert await create(client) == Unknown(reason="TimeoutError")


async def test_hanging_up_at_once_is_unknown() -> None:
    """Which exception it is depends on who is faster; that nothing is proved does not."""
    async with serving(closing) as server, kie(server.url()) as client:
        for _ in range(20):
            assert isinstance(await create(client), Unknown)


async def test_a_reset_with_the_request_unread_is_unknown() -> None:
    loop = asyncio.get_running_loop()
    with listening() as listener:
        port = listener.getsockname()[1]
        async with kie(f"http://127.0.0.1:{port}") as client:
            creating = asyncio.create_task(create(client))
            accepted, _ = await loop.sock_accept(listener)
            readable = loop.create_future()
            loop.add_reader(accepted, readable.set_result, None)
            await readable
            loop.remove_reader(accepted)
            accepted.close()  # with bytes unread, so the kernel answers with a reset
            reason = "ClientOSError: Connection reset by peer"
            assert await creating == Unknown(reason=reason)


async def test_a_refused_connection_is_unsent() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # held, and nobody listens
        port = bound.getsockname()[1]
        reason = f"ClientConnectorError: Connect call failed ('127.0.0.1', {port})"
        async with kie(f"http://127.0.0.1:{port}") as client:
            assert await create(client) == Unsent(reason=reason)
            assert await client.record_info("t1") == NoAnswer(reason=reason)
            assert await client.credit() == NoAnswer(reason=reason)


async def test_a_name_that_does_not_resolve_is_unsent() -> None:
    async with kie("https://nonexistent.invalid") as client:
        outcome = await create(client)
    assert isinstance(outcome, Unsent)
    assert outcome.reason.partition(":")[0] == "ClientConnectorDNSError"


async def test_a_failed_tls_handshake_is_unsent() -> None:
    async def plain(connection: Connection) -> None:
        await connection.reader.read(1)
        await connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await connection.hung_up()

    async with serving(plain) as server, kie(server.url("https")) as client:
        outcome = await create(client)
    assert isinstance(outcome, Unsent)
    assert outcome.reason.partition(":")[0] == "ClientConnectorSSLError"


async def test_hanging_up_during_the_tls_handshake_is_unsent() -> None:
    async def half_a_handshake(connection: Connection) -> None:
        await connection.reader.read(65_536)

    async with serving(half_a_handshake) as server, kie(server.url("https")) as client:
        outcome = await create(client)
    assert isinstance(outcome, Unsent)
    assert outcome.reason.partition(":")[0] == "ClientConnectorError"


async def test_a_connect_timeout_is_unsent() -> None:
    with listening(backlog=0) as listener, contextlib.ExitStack() as fillers:
        address = listener.getsockname()
        for _ in range(4):  # more than the queue holds: what comes next gets no answer to its SYN
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)  # socket's own signature
            filler.connect_ex(address)
        async with kie(f"http://127.0.0.1:{address[1]}", connect=0.05) as client:
            assert await create(client) == Unsent(reason="ConnectionTimeoutError")


@pytest.mark.parametrize(
    ("base_url", "reason"),
    [("ftp://127.0.0.1", "NonHttpUrlClientError"), ("http://127.1", "InvalidUrlClientError")],
)
async def test_an_address_that_aiohttp_refuses_is_unsent(base_url: str, reason: str) -> None:
    async with kie(base_url) as client:
        assert await create(client) == Unsent(reason=reason)


async def test_a_proxy_that_is_not_there_is_unsent() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        async with kie("http://127.0.0.1:1", proxy=f"http://127.0.0.1:{port}") as client:
            reason = f"ClientProxyConnectionError: Connect call failed ('127.0.0.1', {port})"
            assert await create(client) == Unsent(reason=reason)


async def test_a_proxy_that_refuses_the_tunnel_is_unsent() -> None:
    async with serving(answering(http(403, b"no"))) as proxy:
        url = f"http://user:p%40ss@127.0.0.1:{proxy.port}"
        async with kie("https://api.example", proxy=url) as client:
            assert await create(client) == Unsent(reason="ClientHttpProxyError")
    lines = proxy.requests[0].decode().splitlines()
    assert lines[0] == "CONNECT api.example:443 HTTP/1.1"
    assert "Proxy-Authorization: Basic dXNlcjpwQHNz" in lines
    assert KEY not in proxy.requests[0].decode()


async def test_a_lost_answer_behind_a_proxy_is_unknown() -> None:
    async with (
        serving(answering(b"")) as proxy,
        kie("http://api.example", proxy=proxy.url()) as client,
    ):
        assert await create(client) == Unknown(reason="ServerDisconnectedError")


async def test_an_untrusted_certificate_is_unsent(tls: ssl.SSLContext) -> None:
    async with serving(hanging, tls=tls) as server, kie(server.url("https")) as client:
        outcome = await create(client)
    assert isinstance(outcome, Unsent)
    assert outcome.reason.partition(":")[0] == "ClientConnectorCertificateError"
    assert server.requests == []


async def test_a_ca_bundle_is_trusted_and_a_loss_within_tls_is_unknown(
    tls: ssl.SSLContext, certificate: Path
) -> None:
    async with (
        serving(answering(http(200, CREATED)), answering(b""), tls=tls) as server,
        kie(server.url("https"), ca_bundle=str(certificate)) as client,
    ):
        assert await create(client) == Accepted(kie_task_id="t1")
        assert await create(client) == Unknown(reason="ServerDisconnectedError")


@contextlib.contextmanager
def listening(backlog: int = 1) -> Iterator[socket.socket]:
    """A listening socket on which nothing is accepted unless the test does it."""
    with socket.socket() as listener:
        listener.setblocking(False)  # socket's own signature
        listener.bind(("127.0.0.1", 0))
        listener.listen(backlog)
        yield listener
