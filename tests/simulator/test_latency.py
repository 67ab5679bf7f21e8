import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from simulator.latency import Call, Delays, Latency
from simulator.server import Options, create_app
from tests.simulator.conftest import Simulate
from tests.simulator.stage import Simulator
from tests.stage import eventually

LATE = 0.05
AGES = 60.0


async def took(call: Callable[[], Coroutine[Any, Any, object]]) -> float:
    started = time.monotonic()
    await call()
    return time.monotonic() - started


async def drawn(delays: Delays, call: Call, count: int) -> list[float]:
    """How late so many answers would be."""
    return [delays._draw(call) for _ in range(count)]


async def test_answers_are_late_each_by_its_own_bounds(simulate: Simulate) -> None:
    simulator = await simulate(Options(create_latency=(LATE, LATE)))

    assert await took(simulator.create) >= LATE
    task_id = await simulator.create()
    await simulator.put("latency", {"query": [LATE, LATE]})

    assert await took(lambda: simulator.query(task_id)) >= LATE


@pytest.mark.parametrize("fault", ["create-http-502", "create-refused-429", "create-half-answer"])
async def test_so_is_whatever_is_sent_instead_of_an_answer(fault: str, simulate: Simulate) -> None:
    simulator = await simulate(Options(create_latency=(LATE, LATE)))
    await simulator.expect(fault=fault)

    async def send() -> None:
        try:
            await simulator.send()
        except httpx.RemoteProtocolError:
            assert fault == "create-half-answer"

    assert await took(send) >= LATE


async def test_a_create_is_judged_on_arrival(simulate: Simulate) -> None:
    options = Options(creates_per_window=2, window_seconds=3600, create_latency=(AGES, AGES))
    simulator = await simulate(options)
    sending = [asyncio.create_task(simulator.send()) for _ in range(3)]

    async def all_came() -> list[str] | None:
        rows = await simulator.creates()
        return [row["outcome"] for row in rows] if len(rows) == len(sending) else None

    assert await eventually(all_came) == ["accepted", "accepted", "refused"]
    for each in sending:
        assert not each.done()
        each.cancel()
    await asyncio.wait(sending)


async def test_a_query_is_decided_on_arrival(simulate: Simulate) -> None:
    simulator = await simulate(Options(duration=0.4, query_latency=(0.5, 0.5)))
    task_id = await simulator.create()

    assert (await simulator.query(task_id))["data"]["state"] not in ("success", "fail")
    assert (await simulator.query(task_id))["data"]["state"] == "success"


async def test_nobody_waits_for_a_customer_who_hung_up() -> None:
    delays = Delays(0, Latency(create=(AGES, AGES)))
    gone = {"type": "http.disconnect"}

    async def receive() -> dict[str, Any]:
        return gone

    async def endpoint(_: Request) -> Response:
        return Response()

    scope = {"type": "http", "headers": []}
    async with asyncio.timeout(AGES / 10):
        await delays.delayed(Call.CREATE, endpoint)(Request(scope, receive))


async def test_the_seed_settles_how_late() -> None:
    bounds = Latency(create=(1.0, 3.0), query=(1.0, 3.0))
    delays, twin, other = Delays(7, bounds), Delays(7, bounds), Delays(8, bounds)

    first = await drawn(delays, Call.CREATE, 500)
    assert await drawn(twin, Call.CREATE, 500) == first
    assert await drawn(other, Call.CREATE, 500) != first
    assert await drawn(delays, Call.QUERY, 500) != first
    assert min(first) >= 1.0
    assert max(first) <= 3.0
    for quarter in range(4):
        within = [late for late in first if 1 + quarter / 2 <= late < 1.5 + quarter / 2]
        assert 90 <= len(within) <= 160


async def test_bounds_that_change_do_not_shift_later_draws() -> None:
    delays, twin = Delays(0, Latency(create=(0.0, 1.0))), Delays(0, Latency())
    await drawn(twin, Call.CREATE, 10)
    twin.latency = delays.latency

    assert (await drawn(delays, Call.CREATE, 11))[10:] == await drawn(twin, Call.CREATE, 1)
    delays.reset()
    twin.reset()
    assert await drawn(delays, Call.CREATE, 3) == await drawn(twin, Call.CREATE, 3)


async def test_it_is_shown_replaced_and_outlives_the_ledger(simulate: Simulate) -> None:
    simulator = await simulate(Options(create_latency=(0.0, 0.01)))

    async def shown() -> object:
        return (await simulator.http.get("/simulator/latency")).json()

    assert await shown() == {"create": [0.0, 0.01], "query": None}
    answered = await simulator.put("latency", {"query": [0.25, 0.5]})
    assert answered == {"create": None, "query": [0.25, 0.5]}
    await simulator.http.delete("/simulator/ledger")
    assert await shown() == answered
    assert await simulator.put("latency", {}) == {"create": None, "query": None}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"7",
        b'{"creates":[0,1]}',
        b'{"create":1}',
        b'{"create":[1]}',
        b'{"create":[2,1]}',
        b'{"create":[-1,1]}',
        b'{"query":[0,1e9]}',
        b'{"query":["0","1"]}',
    ],
)
async def test_what_makes_no_sense_is_refused(simulator: Simulator, body: bytes) -> None:
    response = await simulator.http.put("/simulator/latency", content=body)

    assert response.status_code == 400
    assert response.json()["errors"]


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValidationError, match="the least, 2, is more than the most, 1"):
        create_app(Options(query_latency=(2.0, 1.0)))
