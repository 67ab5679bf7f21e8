"""One attempt over real sockets: bounded, by itself, and refused where it must not go."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from socket import gaierror
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import RedirectResponse, Response, StreamingResponse

from app.domain.delivery import Obstacle
from app.outbound.connections import session
from app.outbound.guard import Guard
from app.outbound.sender import MAX_ANSWER, Sender
from tests.outbound.addresses import CLASSES, FORBIDDEN_V4, forbidden, forbidden_hosts
from tests.outbound.stage import BODY, TIMEOUT, Names, Receiver, is_blocked, post, sending, speaking
from tests.stage import eventually

# -- where it must not go


@pytest.mark.parametrize("kind", CLASSES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
async def test_a_name_that_stands_for_a_forbidden_address(kind: str, data: st.DataObject) -> None:
    address = data.draw(forbidden(kind))
    async with sending([address]) as sender:
        sent = await post(sender, "http://innocent.example/hook")
    assert is_blocked(sent), (address, sent)
    assert sent.address == address


@pytest.mark.parametrize("kind", FORBIDDEN_V4)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
async def test_a_forbidden_host_in_any_spelling(kind: str, data: st.DataObject) -> None:
    """The system's own resolver reads these; some are refused before it is asked."""
    host = data.draw(forbidden_hosts(kind))
    async with sending() as sender:
        sent = await post(sender, f"http://{host}/hook")
    assert sent.status is None
    assert is_blocked(sent) or sent.error == "InvalidUrlClientError", (host, sent)


OBSTACLES: Mapping[str, tuple[str, Sequence[str] | OSError, Obstacle | None]] = {
    "no URL": ("playground", [], Obstacle.URL),
    "half a URL": ("http://[", [], Obstacle.URL),
    "another scheme": ("ftp://shop.example/", [], Obstacle.URL),
    "this machine": ("http://localhost:3000/", [], Obstacle.URL),
    "not the client's host": ("http://other.example/", [], Obstacle.URL),
    "a forbidden address": ("http://shop.example/", ["127.0.0.1"], Obstacle.ADDRESS),
    "only forbidden ones": ("http://shop.example/", ["::1", "127.0.0.1"], Obstacle.ADDRESS),
    "no such name": ("http://shop.example/", gaierror(socket.EAI_NONAME, "no"), Obstacle.NAME),
    "no name just now": ("http://shop.example/", gaierror(socket.EAI_AGAIN, "later"), None),
}


@pytest.mark.parametrize("name", OBSTACLES)
async def test_what_lies_in_the_url_is_told_from_trouble(name: str) -> None:
    url, answer, obstacle = OBSTACLES[name]
    async with sending(answer, patience=0.3) as sender:
        sent = await sender.post(url, BODY, {}, ["shop.example", "localhost"])
    assert (sent.status, sent.obstacle) == (None, obstacle)
    assert sent.error


async def test_one_allowed_address_is_somewhere_to_go() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # held, and nobody listens
        port = bound.getsockname()[1]
        async with sending(["169.254.169.254", "127.0.0.1"], loopback=True) as sender:
            sent = await post(sender, f"http://shop.example:{port}/")
    assert (sent.status, sent.obstacle) == (None, None)


async def test_loopback_is_refused_whatever_its_name(receiver: Receiver) -> None:
    hosts = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "0x7f000001", "2130706433"]
    async with sending() as sender:
        for host in [*hosts, "0.0.0.0", "[::]", "①②⑦.0.0.1"]:  # noqa: S104  # it is not bound
            sent = await post(sender, f"http://{host}:{receiver.port}/hook")
            assert sent.status is None, host
            assert is_blocked(sent) or "Url" in (sent.error or ""), (host, sent)
    assert receiver.heard == []


async def test_loopback_when_told(receiver: Receiver) -> None:
    async with sending(loopback=True) as sender:
        assert (await post(sender, receiver.url)).status == 200
        assert (await post(sender, receiver.url.replace("127.0.0.1", "localhost"))).status == 200
    assert [body for _, body in receiver.heard] == [BODY] * 2


async def test_a_large_body_arrives_as_it_is(receiver: Receiver) -> None:
    large = b'{"transcript":"' + b"The quick brown fox. " * 100_000 + b'"}'
    async with sending(loopback=True) as sender:
        sent = await sender.post(receiver.url, large, {"Content-Type": "application/json"})
    assert sent.status == 200
    [(headers, body)] = receiver.heard
    assert body == large
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(large))
    assert "content-disposition" not in headers


async def test_a_name_that_changes_its_answer_after_it_was_looked_at(receiver: Receiver) -> None:
    """Create finds nothing wrong with the name; what counts is what the socket is made for."""
    guard = Guard(allow_loopback=False, blocked=())
    names = Names(["10.0.0.7"], ["127.0.0.1"])
    url = f"http://rebound.example:{receiver.port}/hook"
    assert guard.objection_to_url(url) is None
    (checked,) = await names.resolve("rebound.example", receiver.port)
    assert guard.objection_to_address(checked["host"]) is None
    async with session(guard, connect=2.0, resolver=names) as http:
        sent = await post(Sender(http, guard, TIMEOUT), url)
    assert is_blocked(sent)
    assert receiver.heard == []


async def test_each_connection_resolves_anew(receiver: Receiver) -> None:
    """What was allowed an attempt ago is judged again: no answer is remembered."""
    guard = Guard(allow_loopback=True, blocked=())
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    receiver.answer = lambda: Response(headers={"Connection": "close"})
    url = f"http://rebound.example:{receiver.port}/hook"
    async with session(guard, connect=2.0, resolver=names) as http:
        first = await post(Sender(http, guard, TIMEOUT), url)
        second = await post(Sender(http, guard, TIMEOUT), url)
    assert (first.status, first.address) == (200, "127.0.0.1")
    assert is_blocked(second)
    assert names.asked == ["rebound.example"] * 2


async def test_of_several_addresses_only_the_allowed_are_tried(receiver: Receiver) -> None:
    answers = ["169.254.169.254", "fe80::1", "127.0.0.1"]
    async with sending(answers, loopback=True) as sender:
        sent = await post(sender, f"http://mixed.example:{receiver.port}/hook")
    assert (sent.status, sent.address) == (200, "127.0.0.1")


async def test_of_several_forbidden_addresses_none_is_tried(receiver: Receiver) -> None:
    async with sending(["127.0.0.1", "::1", "169.254.169.254"]) as sender:
        sent = await post(sender, f"http://mixed.example:{receiver.port}/hook")
    assert is_blocked(sent), sent
    assert receiver.heard == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/", "{url}"])
async def test_a_redirect_is_not_followed(status: int, target: str, receiver: Receiver) -> None:
    to = target.format(url=receiver.url)
    receiver.answer = lambda: RedirectResponse(to, status)
    async with sending(loopback=True) as sender:
        sent = await post(sender, receiver.url)
    assert (sent.status, len(receiver.heard)) == (status, 1)


@pytest.mark.parametrize("address", ["10.255.255.1", "172.16.0.9", "192.168.77.1", "fd12::7"])
async def test_private_networks_stay_open(address: str) -> None:
    """Nobody is there; what counts is that it was tried."""
    async with sending([address], patience=0.2) as sender:
        sent = await post(sender, "http://billing.internal/hook")
    assert sent.address == address
    assert not is_blocked(sent), sent


# -- what it sends


async def test_exactly_the_body_and_its_headers(receiver: Receiver) -> None:
    async with sending(loopback=True) as sender:
        sent = await post(sender, receiver.url, {"webhook-id": "msg_1"})
    ((headers, body),) = receiver.heard
    assert body == BODY
    assert headers["webhook-id"] == "msg_1"
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("kie-gateway/")
    assert headers["content-length"] == str(len(BODY))
    assert (sent.status, sent.error, sent.address) == (200, None, "127.0.0.1")


async def test_a_certificate_of_the_house(tls: ssl.SSLContext, certificate: Path) -> None:
    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(BODY)
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1", 0, ssl=tls) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        async with sending(loopback=True) as sender:
            unknown = await post(sender, url)
        async with sending(loopback=True, ca_bundle=str(certificate)) as sender:
            known = await post(sender, url)
    assert (unknown.status, known.status) == (None, 204)
    assert unknown.error == "certificate refused: self-signed certificate"
    assert unknown.address == "127.0.0.1"


async def test_no_cookie_comes_back(receiver: Receiver) -> None:
    receiver.answer = lambda: Response(headers={"Set-Cookie": "session=1; Path=/"})
    async with sending(loopback=True) as sender:
        await post(sender, receiver.url)
        await post(sender, receiver.url)
    assert len(receiver.heard) == 2
    assert all("cookie" not in headers for headers, _ in receiver.heard)


async def test_the_environment_names_no_proxy_and_no_password(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A proxy would resolve and connect unguarded."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("NETRC", str(netrc))
    async with sending(loopback=True) as sender:
        sent = await post(sender, receiver.url)
    assert sent.status == 200
    ((headers, _),) = receiver.heard
    assert "authorization" not in headers


# -- what comes back


async def test_a_long_answer_is_bounded(receiver: Receiver) -> None:
    asked = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal asked
        for _ in range(160):
            asked += 1
            yield b"x" * 65536

    receiver.answer = lambda: StreamingResponse(chunks())
    async with sending(loopback=True) as sender:
        sent = await post(sender, receiver.url)
    assert sent.status == 200
    assert sent.answer == b"x" * MAX_ANSWER
    assert asked < 160


async def test_a_compressed_answer_is_not_blown_up(receiver: Receiver) -> None:
    receiver.answer = lambda: Response(b"\x1f\x8b...", headers={"Content-Encoding": "gzip"})
    async with sending(loopback=True) as sender:
        assert (await post(sender, receiver.url)).answer == b"\x1f\x8b..."


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize(
    "said",
    [(), (b"HTTP/1.1 200",), (b"HTTP/1.1 200 OK\r\nA: b\r\n",)],
    ids=["nothing", "half a line", "half a head"],
)
async def test_a_slow_answer_is_given_up(said: tuple[bytes, ...]) -> None:
    async with speaking(*said) as url, sending(loopback=True, patience=0.2) as sender:
        started = time.monotonic()
        sent = await post(sender, url)
        assert time.monotonic() - started < 2
    assert (sent.status, sent.error) == (None, "no answer within 0.2 s")
    assert 0.2 <= sent.seconds < 2


@pytest.mark.parametrize(
    "said",
    [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"],
    ids=["no HTTP", "an endless header"],
)
async def test_nonsense_is_an_error(said: bytes) -> None:
    async with speaking(said) as url, sending(loopback=True) as sender:
        sent = await post(sender, url)
    assert sent.status is None
    assert sent.error


async def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a-secret-in-the-path"
        async with sending(loopback=True) as sender:
            sent = await post(sender, url)
    assert sent.status is None
    assert "refused" in (sent.error or "")
    assert "a-secret" not in repr(sent)


async def test_a_name_that_nobody_knows() -> None:
    async with sending() as sender:
        sent = await post(sender, "http://no-such-host.invalid/hook")
    assert sent.status is None
    assert sent.error


async def test_names_that_nobody_answers_for_hold_up_no_other(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's resolver blocks a thread for each: more of them than the loop's pool has."""
    look_up, go = socket.getaddrinfo, asyncio.Event()
    loop, waiting = asyncio.get_running_loop(), []

    def slow(host: str, *rest: Any, **others: Any) -> Any:
        if host == "dead.example":
            waiting.append(host)
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
            raise socket.gaierror(socket.EAI_AGAIN, "nobody answers")
        return look_up(host, *rest, **others)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    async with sending(loopback=True) as sender:
        dead = [asyncio.create_task(post(sender, "http://dead.example/")) for _ in range(50)]

        async def look() -> bool | None:
            return len(waiting) == 50 or None

        await eventually(look)
        url = receiver.url.replace("127.0.0.1", "localhost")
        assert (await post(sender, url)).status == 200
        go.set()
        assert {sent.status for sent in await asyncio.gather(*dead)} == {None}


# -- Retry-After


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("99999999999999999999", 999999999.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
        (formatdate(0, usegmt=True), 0.0),
        (None, None),
    ],
)
async def test_retry_after(said: str | None, seconds: float | None, receiver: Receiver) -> None:
    headers = {} if said is None else {"Retry-After": said}
    receiver.answer = lambda: Response(status_code=503, headers=headers)
    async with sending(loopback=True) as sender:
        sent = await post(sender, receiver.url)
    assert (sent.status, sent.retry_after) == (503, seconds)


async def test_retry_after_as_a_date(receiver: Receiver) -> None:
    later = formatdate(time.time() + 300, usegmt=True)
    receiver.answer = lambda: Response(status_code=429, headers={"Retry-After": later})
    async with sending(loopback=True) as sender:
        sent = await post(sender, receiver.url)
    assert sent.retry_after == pytest.approx(300, abs=10)
