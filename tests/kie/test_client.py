"""What is sent and what each answer becomes, over real connections."""

import asyncio
import logging
from collections.abc import Callable
from decimal import Decimal
from importlib import metadata

import pytest

from app.domain.report import Answered, DownloadLink, NoAnswer, NotVisible, Progress, Report
from app.domain.submission import Accepted, Fault, Outcome, Refused, Unknown, Unsent
from app.kie.client import TOO_LATE, KieClient, http_client
from app.kie.reading import AT_ONCE
from tests.each import each
from tests.kie.stage import (
    CALLBACK,
    CREATED,
    KEY,
    Connection,
    answering,
    closing,
    create,
    envelope,
    http,
    kie,
    serving,
)


async def test_a_create_is_what_kie_reads() -> None:
    async with serving(answering(http(200, CREATED))) as server, kie(server.url() + "/") as client:
        assert await create(client) == Accepted(kie_task_id="t1")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert sorted(head.decode().lower().splitlines()) == sorted(
        [
            "post /api/v1/jobs/createtask http/1.1",
            f"host: 127.0.0.1:{server.port}",
            "accept: application/json",
            "accept-encoding: identity",
            f"user-agent: kie-gateway/{metadata.version('kie-gateway')}",
            f"authorization: bearer {KEY}",
            "content-type: application/json",
            f"content-length: {len(body)}",
        ]
    )
    assert body.decode() == f'{{"model":"m","callBackUrl":"{CALLBACK}","input":{{"prompt":"p"}}}}'


async def test_a_query_is_what_kie_reads() -> None:
    record = envelope(200, {"taskId": "t/1 &", "state": "waiting"})
    async with serving(answering(http(200, record))) as server, kie(server.url()) as client:
        report = Report(
            progress=Progress.RUNNING,
            kie_task_ids=("t/1 &",),
            code=200,
            message="because",
            kie_state="waiting",
        )
        assert await client.record_info("t/1 &") == Answered(report=report, body=record)
    first_line, _, _ = server.requests[0].partition(b"\r\n")
    assert first_line == b"GET /api/v1/jobs/recordInfo?taskId=t/1+%26 HTTP/1.1"


async def test_the_balance() -> None:
    balance = http(200, b'{"code":200,"msg":"success","data":5916.25}')
    async with serving(answering(balance)) as server, kie(server.url()) as client:
        assert await client.credit() == Decimal("5916.25")
    assert server.requests[0].startswith(b"GET /api/v1/chat/credit HTTP/1.1\r\n")


async def test_a_link_to_a_file() -> None:
    link = http(200, b'{"code":200,"msg":"success","data":"https://t.test/l"}')
    async with serving(answering(link)) as server, kie(server.url()) as client:
        said = await client.download_url("https://r.test/1.png")
        assert said == DownloadLink(code=200, message="success", url="https://t.test/l")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /api/v1/common/download-url HTTP/1.1\r\n")
    assert body == b'{"url":"https://r.test/1.png"}'


LINKS: list[tuple[bytes, DownloadLink | NoAnswer]] = [
    (envelope(422), DownloadLink(code=422, message="because", url=None)),
    (envelope(422, "https://t.test/l"), DownloadLink(code=422, message="because", url=None)),
    (envelope(401), NoAnswer(reason="kie.ai answered code 401: because", account=True)),
    (envelope(402), NoAnswer(reason="kie.ai answered code 402: because", account=True)),
    (envelope(429), NoAnswer(reason="kie.ai answered code 429: because", throttled=True)),
    (envelope(500), NoAnswer(reason="kie.ai answered code 500: because")),
    (envelope(200), NoAnswer(reason="the link is no text")),
    (envelope(200, {"remainedCredits": 5}), NoAnswer(reason="the link is no text")),
]


@pytest.mark.parametrize(("body", "said"), LINKS, ids=range(len(LINKS)))
async def test_what_is_about_us_is_no_answer_about_a_file(
    body: bytes, said: DownloadLink | NoAnswer
) -> None:
    async with serving(answering(http(200, body))) as server, kie(server.url()) as client:
        assert await client.download_url("https://r.test/1.png") == said


def refused(fault: Fault, code: int, message: str = "because") -> Refused:
    return Refused(fault=fault, code=str(code), message=message)


def unknown(code: int) -> Unknown:
    return Unknown(reason=f"kie.ai answered code {code}: because", message="because")


CODES: list[tuple[int, Outcome]] = [
    (200, unknown(200)),  # without an id
    (400, refused(Fault.REQUEST, 400)),
    (401, refused(Fault.ACCOUNT, 401)),
    (402, refused(Fault.ACCOUNT, 402)),
    (404, refused(Fault.REQUEST, 404)),
    (405, refused(Fault.BUSY, 405)),
    (413, refused(Fault.REQUEST, 413)),
    (422, refused(Fault.REQUEST, 422)),
    (429, refused(Fault.BUSY, 429)),
    (430, refused(Fault.BUSY, 430)),
    (433, refused(Fault.ACCOUNT, 433)),
    (451, refused(Fault.REQUEST, 451)),
    (455, refused(Fault.MAINTENANCE, 455)),
    (500, unknown(500)),
    (501, unknown(501)),
    (505, refused(Fault.REQUEST, 505)),
    (777, unknown(777)),
]


@each(("code", "outcome"), CODES)
async def test_each_envelope_code(code: int, outcome: Outcome) -> None:
    raw = http(200, envelope(code))
    async with serving(answering(raw)) as server, kie(server.url()) as client:
        assert await create(client) == outcome
    assert len(server.requests) == 1


PAGE = b"<!DOCTYPE html><title>Not kie.ai</title><h1>cdn-not-to-be-quoted</h1>"
PAGES: list[tuple[int, Outcome]] = [
    (200, Unknown(reason="HTTP 200 without a kie.ai envelope")),
    (403, Unknown(reason="HTTP 403 without a kie.ai envelope")),
    (404, refused(Fault.PROXY, 404, "HTTP 404 without a kie.ai envelope")),
    (429, refused(Fault.BUSY, 429, "HTTP 429 without a kie.ai envelope")),
    (500, Unknown(reason="HTTP 500 without a kie.ai envelope")),
    (502, Unknown(reason="HTTP 502 without a kie.ai envelope")),
]


@pytest.mark.parametrize(("status", "outcome"), PAGES)
async def test_a_cdns_page(status: int, outcome: Outcome) -> None:
    raw = http(status, PAGE, "Content-Type: text/html")
    async with serving(answering(raw)) as server, kie(server.url()) as client:
        assert await create(client) == outcome
        reason = f"HTTP {status} without a kie.ai envelope"
        assert await client.record_info("t1") == NoAnswer(reason=reason)
        assert await client.credit() == NoAnswer(reason=reason)


async def test_a_redirect_is_not_followed() -> None:
    raw = http(307, b"", "Location: /elsewhere")
    async with serving(answering(raw)) as server, kie(server.url()) as client:
        assert await create(client) == Unknown(reason="HTTP 307 without a kie.ai envelope")
    assert len(server.requests) == 1


async def test_a_connection_is_kept_for_the_next_call() -> None:
    async def twice(connection: Connection) -> None:
        for _ in range(2):
            await connection.read_request()
            await connection.send(http(200, CREATED))

    async with serving(twice) as server, kie(server.url()) as client:
        assert await create(client) == Accepted(kie_task_id="t1")
        assert await create(client) == Accepted(kie_task_id="t1")
    assert server.connections == 1


async def test_what_is_too_late_is_not_written_and_costs_no_connection() -> None:
    """Asked last: when names, TCP and TLS are done."""
    asked: list[int] = []

    async with serving(answering(http(200, CREATED))) as server, kie(server.url()) as client:

        def too_late() -> bool:
            asked.append(server.connections)
            return False

        late = await client.create_task("m", {}, CALLBACK, in_time=too_late)
        assert late == Unsent(reason=TOO_LATE, late=True)
        assert server.requests == []
        assert await client.create_task("m", {}, CALLBACK, in_time=lambda: True) == Accepted(
            kie_task_id="t1"
        )
    assert asked == [1]
    assert server.connections == 1


async def test_a_kept_connection_that_was_closed_is_not_used() -> None:
    closed = asyncio.Event()

    async def once(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(http(200, CREATED))
        connection.writer.write_eof()
        await connection.hung_up()  # the client has seen it
        closed.set()

    async with serving(once) as server, kie(server.url()) as client:
        assert await create(client) == Accepted(kie_task_id="t1")
        await closed.wait()
        assert await create(client) == Accepted(kie_task_id="t1")
    assert server.connections == 2


async def test_a_kept_connection_that_closes_under_the_request_is_unknown() -> None:
    async def once_and_a_half(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(http(200, CREATED))
        await connection.read_request()

    async with serving(once_and_a_half) as server, kie(server.url()) as client:
        assert await create(client) == Accepted(kie_task_id="t1")
        assert await create(client) == Unknown(reason="ServerDisconnectedError")
    assert len(server.requests) == 2
    assert server.connections == 1


async def test_cancelling_propagates_and_hangs_up() -> None:
    arrived = asyncio.Event()

    async def waiting(connection: Connection) -> None:
        await connection.read_request()
        arrived.set()
        await connection.hung_up()

    async with serving(waiting) as server, kie(server.url()) as client:
        creating = asyncio.create_task(create(client))
        await arrived.wait()
        creating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await creating
        await server.drained()


async def test_a_missing_record_and_a_refused_key() -> None:
    async with (
        serving(answering(http(200, envelope(422))), answering(http(200, envelope(401)))) as server,
        kie(server.url()) as client,
    ):
        assert await client.record_info("t1") == NotVisible()
        expected = NoAnswer(reason="kie.ai answered code 401: because", account=True)
        assert await client.credit() == expected


async def test_nothing_secret_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    scripts = (answering(http(200, CREATED)), closing)
    async with serving(*scripts) as server, kie(server.url()) as client:
        shown = [repr(await create(client)), repr(await create(client)), repr(client)]
    for text in (*shown, caplog.text):
        assert "not-to-be-shown" not in text


@pytest.mark.parametrize("key", ["clé", "two\nlines", "nul\x00"])
async def test_a_key_that_no_header_can_carry_is_refused_unquoted(key: str) -> None:
    async with http_client(connect=1, read=1, pool=1) as client:
        with pytest.raises(ValueError, match="characters that no HTTP header can carry") as raised:
            KieClient(client, base_url="http://127.0.0.1", api_key=key, timeout=1, max_answer=1)
    assert key not in str(raised.value)


async def test_a_large_answer_is_read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    async def to_thread(read: Callable[[bytes], object], body: bytes) -> object:
        threads.append(len(body))
        return read(body)

    monkeypatch.setattr("app.kie.reading.asyncio.to_thread", to_thread)
    for size in (AT_ONCE, AT_ONCE + 1):
        raw = http(200, CREATED.ljust(size))
        async with serving(answering(raw)) as server, kie(server.url()) as client:
            assert await create(client) == Accepted(kie_task_id="t1")
    assert threads == [AT_ONCE + 1]
