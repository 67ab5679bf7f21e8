"""Both kinds of events as streams: format, resuming, ends, slow readers, and who hangs up."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from fastapi.sse import KEEPALIVE_COMMENT
from pydantic import SecretStr

from app.api.events import QUIET_LOOKS
from app.services.tasks import events
from app.services.tasks.streams import Streams
from tests.api.conftest import Inside, IssueKey, StartInside
from tests.api.stage import (
    UNAUTHENTICATED,
    Refusal,
    Sql,
    bad_parameter,
    check_refusal,
    dialled,
    head_of,
)
from tests.api.streams import Sent, streaming
from tests.api.test_events import LIFE, a_life, fed
from tests.gateway import BODY, Gateway
from tests.proxy import Cutter, between
from tests.stage import PATIENCE, eventually
from tests.upstream import Upstream, succeeded

pytestmark = pytest.mark.usefixtures("numbering")

PING = KEEPALIVE_COMMENT.decode().strip(": \n")
STREAM = {"Accept": "text/event-stream"}


@pytest_asyncio.fixture
async def inside(start_inside: StartInside) -> Inside:
    return await start_inside(database_pool_size=3)


@pytest.fixture
def gateway(inside: Inside) -> Gateway:
    return inside.gateway


def told(sent: list[Sent]) -> list[tuple[str, str]]:
    return [(one.event, one.data["to_state"]) for one in sent]


WHOLE = [(f"task.{to}", to) for _, to, _, _ in LIFE]


def woken(streams: Streams) -> list[asyncio.Event]:
    """Return what wakes each open stream."""
    followed = (streams._tasks, streams._clients)
    return [event for kind in followed for one in kind._streams.values() for event in one]


async def listening(streams: Streams, count: int) -> None:
    """Wait until so many streams are open."""

    async def look() -> bool | None:
        return len(woken(streams)) == count or None

    await eventually(look)


async def test_a_tasks_stream_tells_its_life_and_ends(gateway: Gateway, upstream: Upstream) -> None:
    task = await gateway.create()
    async with streaming(gateway, task["urls"]["events"]) as stream:
        headers = stream.answer.headers
        assert headers["content-type"].partition(";")[0] == "text/event-stream"
        assert headers["cache-control"] == "no-store"
        assert "x-request-id" in headers
        first = await stream.block()
        assert first is not None
        assert first.comment == PING
        sent = await stream.events(3)
        await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
        sent += await stream.rest()
    assert told(sent) == WHOLE
    listed = (await gateway.http.get(task["urls"]["events"])).json()["data"]
    assert [one.data for one in sent] == listed
    assert [one.id for one in sent] == [event["id"] for event in listed]


async def test_a_feeds_stream_tells_what_the_list_does_and_goes_on(
    gateway: Gateway, upstream: Upstream
) -> None:
    await a_life(gateway, upstream)
    async with streaming(gateway, "/v1/events") as stream:
        sent = await stream.events(4)
        task = await a_life(gateway, upstream)
        sent += await stream.events(4)
    assert told(sent) == WHOLE * 2
    assert {one.data["task_id"] for one in sent[4:]} == {task["id"]}
    listed = (await fed(gateway, 8))["data"]
    assert [(one.id, one.data) for one in sent] == [(event["id"], event) for event in listed]


@pytest_asyncio.fixture
async def cutter(dsn: str) -> AsyncIterator[tuple[Cutter, SecretStr]]:
    """Ask for it before `start_inside`, so that gateways stop before their way to PostgreSQL."""
    async with between(dsn) as (found, through):
        yield found, SecretStr(through)


@pytest.mark.parametrize("of_task", [True, False])
async def test_a_stream_outlasts_a_database_that_is_away(
    cutter: tuple[Cutter, SecretStr],
    start_inside: StartInside,
    upstream: Upstream,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    of_task: bool,
) -> None:
    monkeypatch.setattr(events, "AGAIN", 0.01)
    line, through = cutter
    inside = await start_inside(database_url=through)
    task = await inside.gateway.create()
    path = task["urls"]["events"] if of_task else "/v1/events"
    async with streaming(inside.gateway, path) as stream:
        sent = await stream.events(3)
        line.goes_dark()
        for event in woken(inside.services.streams):
            event.set()
        assert (await stream.block()) == Sent(comment=PING)  # it looked, often, and goes on
        line.comes_back()
        await inside.gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
        sent += await (stream.rest() if of_task else stream.events(1))
    assert told(sent) == WHOLE
    assert "request.broken" not in caplog.text


@pytest.mark.parametrize("by", ["Last-Event-ID", "after"])
@pytest.mark.parametrize("seen", [1, 2, 3])
async def test_a_stream_is_taken_up_where_it_broke(
    gateway: Gateway, upstream: Upstream, by: str, seen: int
) -> None:
    task = await gateway.create()
    async with streaming(gateway, task["urls"]["events"]) as stream:
        first = await stream.events(seen)
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    last = first[-1].id
    path = task["urls"]["events"] + (f"?after={last}" if by == "after" else "")
    headers = {"Last-Event-ID": last} if by == "Last-Event-ID" else {}
    async with streaming(gateway, path, **headers) as stream:
        assert told(first + await stream.rest()) == WHOLE


async def test_a_browsers_last_id_counts_more_than_the_address(
    gateway: Gateway, upstream: Upstream
) -> None:
    """It reconnects to the address that it was opened with."""
    task = await a_life(gateway, upstream)
    listed = (await gateway.http.get(task["urls"]["events"])).json()["data"]
    path = f"{task['urls']['events']}?after={listed[0]['id']}"
    async with streaming(gateway, path, **{"Last-Event-ID": listed[2]["id"]}) as stream:
        assert told(await stream.rest()) == WHOLE[3:]


async def test_a_stream_that_ended_is_over_for_who_comes_back(
    gateway: Gateway, upstream: Upstream
) -> None:
    """As browsers do by themselves, with the last id."""
    task = await a_life(gateway, upstream)
    async with streaming(gateway, task["urls"]["events"]) as stream:
        last = (await stream.rest())[-1].id
    async with streaming(gateway, task["urls"]["events"], **{"Last-Event-ID": last}) as stream:
        assert await stream.rest() == []


@pytest.mark.parametrize("seen", [0, 3])
async def test_a_feed_is_taken_up_where_it_broke(
    gateway: Gateway, upstream: Upstream, seen: int
) -> None:
    await a_life(gateway, upstream)
    listed = (await fed(gateway, 4))["data"]
    headers = {"Last-Event-ID": listed[seen - 1]["id"]} if seen else {}
    async with streaming(gateway, "/v1/events", **headers) as stream:
        assert told(await stream.events(4 - seen)) == WHOLE[seen:]


async def test_a_silent_stream_says_that_it_lives(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert QUIET_LOOKS * events.QUIET < 30  # proxies cut after 60 seconds of silence
    monkeypatch.setattr(events, "QUIET", 0.01)
    async with streaming(inside.gateway, "/v1/events") as stream:
        for expected in (PING, PING, PING):
            block = await stream.block()
            assert block is not None
            assert block.comment == expected


async def test_who_hangs_up_is_forgotten(inside: Inside, upstream: Upstream) -> None:
    task = await inside.gateway.create()
    for path in ("/v1/events", task["urls"]["events"]):
        async with streaming(inside.gateway, path) as stream:
            await stream.events(3)
            await listening(inside.services.streams, 1)
        await listening(inside.services.streams, 0)
    assert len(upstream.creates) == 1


async def test_nobody_is_shown_anothers_events(
    gateway: Gateway, upstream: Upstream, new_key: IssueKey
) -> None:
    headers = {"Authorization": f"Bearer {await new_key('other')}"}
    async with streaming(gateway, "/v1/events", **headers) as stream:
        mine = await a_life(gateway, upstream)
        await fed(gateway, 4)
        theirs = await gateway.http.post("/v1/tasks", json=BODY, headers=headers)
        sent = await stream.events(3)
    assert {one.data["task_id"] for one in sent} == {theirs.json()["id"]}
    assert mine["id"] not in str(sent)


async def test_a_slow_reader_holds_nothing_and_misses_nothing(
    inside: Inside, upstream: Upstream, sql: Sql
) -> None:
    """More than fits into any buffer lies before it; meanwhile three connections serve others."""
    gateway, count, reason = inside.gateway, 3000, "x" * 5000
    task = await gateway.create()
    await sql.execute(
        "INSERT INTO task_events (task_id, client_id, to_state, attempt, reason)"
        " SELECT id, client_id, 'running', n, $1 FROM tasks, generate_series(1, $2) n",
        reason,
        count,
    )
    fields = ("Accept: text/event-stream", f"Authorization: Bearer {gateway.api_key}")
    async with dialled(gateway.http.base_url) as first, dialled(gateway.http.base_url) as line:
        for one in (first, line):
            one.writer.write(head_of("GET", "/v1/events", *fields))
            await one.reader.readuntil(b"id: ")
        lives = await asyncio.gather(*(a_life(gateway, upstream) for _ in range(1)))
        assert [life["state"] for life in lives] == ["succeeded"]
        assert (await gateway.task(task["id"]))["state"] == "running"
        met = 0
        async with asyncio.timeout(3 * PATIENCE):
            while met < count + 3:
                met += (await line.reader.readline()).startswith(b"data: ")
    await listening(inside.services.streams, 0)


REFUSED: dict[str, tuple[dict[str, str], str, Refusal]] = {
    "no key": ({"Authorization": ""}, "", UNAUTHENTICATED),
    "a bad place": (
        {"Last-Event-ID": "x"},
        "",
        bad_parameter("Last-Event-ID: not the id of an event"),
    ),
    "a bad parameter": (
        {},
        "?limt=1",
        bad_parameter("limt: unknown parameter; did you mean limit?"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_is_no_stream(gateway: Gateway, name: str) -> None:
    headers, query, refusal = REFUSED[name]
    answer: Any = await gateway.http.get(f"/v1/events{query}", headers={**STREAM, **headers})
    check_refusal(answer, refusal)
