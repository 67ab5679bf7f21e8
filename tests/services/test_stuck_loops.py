"""A loop that hangs is told of, by `/readyz`, `/metrics` and the log, and so is its return."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest_asyncio
import structlog
from fastapi import FastAPI

from app.api import health
from app.config import Settings
from app.domain.admission import Limits
from app.services.health import SILENT_AFTER, Health
from app.services.services import Services
from app.store.signals import POLL, SWEEP
from app.wiring import wired
from app.worker import Loop, at_work
from tests.scrape import samples
from tests.stage import eventually, serving


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Turns:
    """A loop's work: it hangs while it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.begun = 0
        self.ended = 0

    async def __call__(self) -> None:
        self.begun += 1
        await self.go.wait()
        self.ended += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    services: Services
    clock: Clock
    http: httpx.AsyncClient
    hanging: Turns
    turning: Turns

    async def loop_metrics(self) -> dict[str, float]:
        page = samples((await self.http.get("/metrics")).text)
        return {
            series.removeprefix("kie_gateway_loop_"): value
            for series, value in page.items()
            if series.startswith("kie_gateway_loop_")
        }

    async def ready(self) -> tuple[int, str]:
        answer = await self.http.get("/readyz")
        return answer.status_code, answer.json()["checks"]["loops"]


@pytest_asyncio.fixture
async def working(
    sql: Any,  # noqa: ARG001  # its rows go after the processes
    make_settings: Callable[..., Settings],
    dsn: str,
) -> AsyncIterator[Working]:
    """Loops at work under a clock that stands still: one is about to hang, one rests for long."""
    clock, hanging, turning = Clock(), Turns(), Turns()
    hanging.go.clear()
    loops = [
        Loop(name="poll", turn=hanging, every=0.01, topics=(POLL,)),
        Loop(name="sweep", turn=turning, every=0.01, topics=(SWEEP,)),
        Loop(name="retain", turn=Turns(), every=10 * SILENT_AFTER, topics=()),
    ]
    async with wired(make_settings(), dsn, monotonic=clock) as services:
        app = FastAPI()
        app.include_router(health.inside)
        app.include_router(health.numbers)
        app.state.services = services
        async with (
            at_work(services, loops),
            serving(app) as url,
            httpx.AsyncClient(base_url=url, trust_env=False) as http,
        ):
            yield Working(
                services=services, clock=clock, http=http, hanging=hanging, turning=turning
            )
            hanging.go.set()


async def another(count: Callable[[], int]) -> None:
    """Wait for a whole turn from now on."""
    enough = count() + 2

    async def look() -> bool | None:
        return count() >= enough or None

    await eventually(look)


async def test_a_loop_that_hangs_is_told_of_once_and_once_when_it_is_back(
    working: Working,
) -> None:
    with structlog.testing.capture_logs() as logged:
        assert await working.ready() == (200, "ok")
        working.clock.now += SILENT_AFTER + 1
        await another(lambda: working.turning.ended)

        for _ in range(3):
            assert await working.ready() == (503, "no beat for 60 s: poll")
        assert await working.loop_metrics() == {
            'silent_seconds{loop="poll"}': SILENT_AFTER + 1,
            'silent_seconds{loop="sweep"}': 0,
            'silent_seconds{loop="retain"}': 0,
            'stuck{loop="retain"}': 0,
            'stuck{loop="poll"}': 1,
            'stuck{loop="sweep"}': 0,
        }

        working.hanging.go.set()
        await another(lambda: working.hanging.ended)
        for _ in range(3):
            assert await working.ready() == (200, "ok")
        assert (await working.loop_metrics())['stuck{loop="poll"}'] == 0
    assert [(line["event"], line["loop"]) for line in logged if "loop" in line] == [
        ("loop.stuck", "poll"),
        ("loop.back", "poll"),
    ]
    assert {line["log_level"] for line in logged if "loop" in line} == {"error"}


async def test_the_log_tells_where_nobody_asks(working: Working) -> None:
    with structlog.testing.capture_logs() as logged:
        working.clock.now += SILENT_AFTER + 1

        async def look() -> Any:
            return [line for line in logged if line["event"] == "loop.stuck"] or None

        found = await eventually(look)
    assert {line["loop"] for line in found} >= {"poll"}


async def test_a_loop_whose_turns_break_is_not_stuck(services: Services) -> None:
    """It comes round: what it meets is another matter, and logged as such."""
    turned = 0

    async def turn() -> None:
        nonlocal turned
        turned += 1
        raise ConnectionError

    async with at_work(services, [Loop(name="poll", turn=turn, every=0, topics=(POLL,))]):
        await another(lambda: turned)
        assert services.health.stuck() == frozenset()


async def test_what_wakes_a_loop_does_not_break_it_at_any_rate(services: Services) -> None:
    """Its pauses are 0.2 and 0.4 s at least, however often it is woken."""
    clock = asyncio.get_running_loop().time
    turned: list[float] = []

    async def turn() -> None:
        turned.append(clock())
        services.signals.announce(POLL)
        raise ConnectionError

    async with at_work(services, [Loop(name="poll", turn=turn, every=0, topics=(POLL,))]):
        await another(lambda: len(turned))
        await another(lambda: len(turned))
    assert turned[2] - turned[0] >= 0.6


def test_it_is_stuck_after_the_bound_and_not_at_it(services: Services) -> None:
    clock = Clock()
    health = Health(services.health._database, clock, Limits())
    health.beat("poll")
    clock.now += SILENT_AFTER
    assert health.stuck() == frozenset()
    clock.now += 0.1
    assert health.stuck() == {"poll"}
    health.beat("poll")
    assert health.stuck() == frozenset()
