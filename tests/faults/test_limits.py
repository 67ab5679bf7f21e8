"""The account's limits at work, as the benchmark has it, in little: `benchmarks/admission.py`."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest_asyncio

from app.config import Settings
from app.main import create_app
from app.services.clients.settings import ClientChange
from app.wiring import wired
from simulator.server import Options
from simulator.server import create_app as create_simulator
from tests.gateway import BODY, OPERATOR, Gateway
from tests.stage import eventually, serving

WEIGHTS = (1, 1, 2, 4, 8)
CALLS, WINDOW = 20, 0.5
SHARED = 2 * CALLS
"""Creates of which the shares are counted; until then each client has work."""
OFF = 2
"""Tasks by which a share may be off: those that are claimed in one turn arrive in any order."""
QUEUED = [SHARED * weight // sum(WEIGHTS) + 2 * OFF for weight in WEIGHTS]
CROWD, QUERIES = 6, 3
"""Tasks that are asked about, and how often a second that is allowed."""
LATE = (0.016, 0.045)
"""Seconds that answers take: kie.ai's, twenty times as fast, as the window is."""
PATIENCE = 40.0
SIDES = 10
"""Creates under way at once while the stage is set."""


class Limited:
    """A gateway before a simulator that enforces limits."""

    def __init__(self, gateway: Gateway, simulator: httpx.AsyncClient, sql: Any) -> None:
        self.gateway = gateway
        self.simulator = simulator
        self.sql = sql

    async def rows(self, path: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (await self.simulator.get(f"/simulator/{path}")).json()["data"]
        return rows

    async def create(self, keys: Sequence[str]) -> None:
        """Create a task with each of the keys, all of which have to wait."""
        gate = asyncio.Semaphore(SIDES)

        async def one(key: str) -> None:
            headers = {"Authorization": f"Bearer {key}"}
            async with gate:
                made = await self.gateway.http.post("/v1/tasks", json=BODY, headers=headers)
            assert made.json()["state"] == "queued", made.text

        await asyncio.gather(*(one(key) for key in keys))

    async def none_in(self, *states: str) -> None:
        count = "SELECT count(*) FROM tasks WHERE state = ANY($1)"

        async def look() -> bool | None:
            return None if await self.sql.fetchval(count, states) else True

        await eventually(look, PATIENCE)


@pytest_asyncio.fixture
async def limited(
    sql: Any, make_settings: Callable[..., Settings]
) -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def start(options: Options, **settings: Any) -> Limited:
            upstream = await stack.enter_async_context(serving(create_simulator(options)))
            made = make_settings(kie_base_url=upstream, **settings)
            url = await stack.enter_async_context(serving(create_app(made)))
            gateway = await stack.enter_async_context(Gateway.at(url, made))
            client = httpx.AsyncClient(base_url=upstream, trust_env=False)
            return Limited(gateway, await stack.enter_async_context(client), sql)

        yield start


async def test_no_create_too_many_and_each_client_its_share(limited: Callable[..., Any]) -> None:
    options = Options(
        creates_per_window=CALLS,
        window_seconds=WINDOW,
        create_latency=LATE,
        duration=60,
    )
    stage = await limited(options, kie_create_window=WINDOW, kie_max_running=1000)
    names = [f"client-{number}" for number in range(len(WEIGHTS))]
    settings = stage.gateway.settings
    async with wired(settings, settings.database_url.get_secret_value()) as services:
        keys = [(await services.keys.create(name)).api_key for name in names]
        for name, weight in zip(names, WEIGHTS, strict=True):
            change = ClientChange(given=frozenset({"weight"}), weight=weight)
            await services.clients.change(OPERATOR, name, change)
        await services.pauses.pause(OPERATOR, client=None, note=None)
        await stage.create([key for key, n in zip(keys, QUEUED, strict=True) for _ in range(n)])
        await services.pauses.resume(OPERATOR, client=None)
    await stage.none_in("queued", "submitting")

    creates = await stage.rows("creates")
    assert Counter(row["code"] for row in creates) == {200: sum(QUEUED)}
    owners = dict(
        await stage.sql.fetch(
            "SELECT kie_task_id, name FROM tasks JOIN clients ON clients.id = client_id"
        )
    )
    begun = Counter(owners[row["taskId"]] for row in creates[:SHARED])
    for name, weight in zip(names, WEIGHTS, strict=True):
        due = SHARED * weight / sum(WEIGHTS)
        assert abs(begun[name] - due) <= OFF, begun


async def test_no_query_too_many(limited: Callable[..., Any]) -> None:
    options = Options(
        duration=1,
        faults={"callback-dropped": 1},
        query_latency=(0.01, 0.05),
        queries_per_second=QUERIES,
    )
    stage = await limited(options, public_url=None, kie_queries_per_second=QUERIES)
    await asyncio.gather(*(stage.gateway.create() for _ in range(CROWD)))
    await stage.none_in("queued", "submitting", "running")

    tasks = await stage.sql.fetch("SELECT state, settled_by FROM tasks")
    assert {tuple(task) for task in tasks} == {("succeeded", "query")}
    queries = await stage.rows("queries")
    assert {row["refused"] for row in queries} == {None}
    assert max(Counter(row["taskId"] for row in queries).values()) <= 4
