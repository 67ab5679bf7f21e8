"""Events as they come, over streams that break off."""

import asyncio

import pytest

from app.services.services import Services
from kie_gateway_client import CursorLost, NotFound, UnexpectedAnswer, Unreachable
from kie_gateway_client.feed import StreamReader
from tests.client.front import Cuts, Drops, Front, Says
from tests.client.side import Side
from tests.client.test_tasks import NOBODY
from tests.gateway import Gateway
from tests.upstream import Upstream, succeeded

LIFE = ["task.queued", "task.submitting", "task.running", "task.succeeded"]


async def test_a_stream_that_breaks_off_goes_on_where_it_was(
    behind: Side, front: Front, gateway: Gateway, upstream: Upstream
) -> None:
    task = await gateway.create()
    front.turns.extend(
        (
            Cuts(b"task.submitting"),  # in the middle of the second event
            Drops(),
            Says(503, b"", ("Retry-After: 0",)),
            Cuts(b"text/event-stream"),
        )
    )
    following = asyncio.create_task(behind.all("events", task["id"]))
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    found = await following

    assert [event.type for event in found] == LIFE
    assert found == await behind.all("past_events", task["id"])
    first = found[0].id
    assert front.values("Last-Event-ID") == [first] * 4
    rest = await behind.all("events", task["id"], after=found[1].id)
    assert [event.type for event in rest] == LIFE[2:]
    assert await behind.all("events", task["id"], after=found[-1].id) == []


async def test_the_feed_of_all_tasks(
    side: Side,
    gateway: Gateway,
    numbering: Services,  # noqa: ARG001  # gives them their places
) -> None:
    following = asyncio.create_task(side.all("events", first=6))
    tasks = [await gateway.create() for _ in range(2)]
    found = await following
    assert {str(event.task_id) for event in found} == {task["id"] for task in tasks}
    rest = await side.all("events", after=found[2].id, first=3)
    assert rest == found[3:]
    assert [one.id for one in await side.all("past_events")] == [one.id for one in found]
    assert await side.all("past_events", after=found[-1].id) == []


async def test_a_stream_that_cannot_be_is_refused(behind: Side, front: Front) -> None:
    with pytest.raises(NotFound):
        await behind.all("events", NOBODY)
    with pytest.raises(CursorLost):
        await behind.all("events", after="737-1")
    front.turns.append(Says(200, b"{}"))
    with pytest.raises(UnexpectedAnswer, match="not a kie-gateway"):
        await behind.all("events", NOBODY)
    front.turns.extend([Cuts(b"text/event-stream")] * 100)
    with pytest.raises(Unreachable):
        await behind.patient(0.5).all("events", first=1)


WRITTEN = b': hello\nid: e1\nevent: a\ndata: {"a":\r\ndata: "\xc3\xa4"}\n\n\nretry: 1\n\ndata:2\n\n'


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_read_however_they_come(size: int) -> None:
    reader = StreamReader()
    pieces = [WRITTEN[at : at + size] for at in range(0, len(WRITTEN), size)]
    found = [data for piece in pieces for data in reader.feed(piece)]
    assert found == [b'{"a":\n"\xc3\xa4"}', b"2"]


@pytest.mark.parametrize("line", [b"data: " + b"x" * 100, b"data: " + b"x" * 100 + b"\n", b":\n"])
def test_an_event_that_does_not_end_is_bounded(
    line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kie_gateway_client.feed.MAX_EVENT", 10_000)
    reader = StreamReader()
    endless = (data for _ in range(20_000) for data in reader.feed(line))
    with pytest.raises(UnexpectedAnswer, match="more than"):
        list(endless)
