"""Every kind of limit, as who meets it sees it and as the operator does: one table."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import uuid4

import httpx
import pytest
import structlog
from sqlalchemy import text

from app.domain.access import Caller
from app.domain.limits import Held, Limited
from app.services.clients.authentication import Sent
from app.services.limits.large import LONGEST
from tests.api.conftest import Inside, StartInside
from tests.api.streams import streaming
from tests.api.test_errors_table import tables
from tests.api.test_limits import STREAM, are_open
from tests.api.test_load import half_sent, under_way
from tests.gateway import BODY
from tests.scrape import samples
from tests.stage import eventually

Meet: TypeAlias = Callable[[Inside, AsyncExitStack], Awaitable[httpx.Response]]


async def _requests(inside: Inside, _: AsyncExitStack) -> httpx.Response:
    inside.services.limits.now = lambda: 1e6  # no bucket fills meanwhile
    for _number in range(2):
        await inside.gateway.http.get("/v1/tasks")
    return await inside.gateway.http.get("/v1/tasks")


async def _streams(inside: Inside, stack: AsyncExitStack) -> httpx.Response:
    await stack.enter_async_context(streaming(inside.gateway, "/v1/events"))
    return await inside.gateway.http.get("/v1/events", headers=STREAM)


async def _waits(inside: Inside, stack: AsyncExitStack) -> httpx.Response:
    path = (await inside.gateway.create())["urls"]["self"]
    first = asyncio.ensure_future(inside.gateway.http.get(path, params={"wait": 50}))
    stack.callback(first.cancel)
    await are_open(inside.services.limits, waits=1)
    return await inside.gateway.http.get(path, params={"wait": 50})


async def _queue_full(inside: Inside, _: AsyncExitStack) -> httpx.Response:
    for _number in range(2):
        await inside.gateway.create()
    return await inside.gateway.post(BODY)


async def _refresh(inside: Inside, _: AsyncExitStack) -> httpx.Response:
    path = (await inside.gateway.create())["urls"]["self"]
    await inside.gateway.http.post(f"{path}/refresh")
    return await inside.gateway.http.post(f"{path}/refresh")


async def _redeliveries(inside: Inside, _: AsyncExitStack) -> httpx.Response:
    with inside.services.deliveries._budget.spending(await _client(inside), 100) as all_of_it:
        all_of_it.spent = all_of_it.granted
    return await inside.gateway.http.post("/v1/deliveries/redeliver", json={"state": "exhausted"})


async def _client(inside: Inside) -> Any:
    async with inside.services.deliveries._database.read() as connection:
        return await connection.scalar(text("SELECT id FROM clients"))


async def _uploads(inside: Inside, _: AsyncExitStack) -> httpx.Response:
    inside.services.limits.take(await _caller(inside), Held.UPLOAD)
    return await inside.gateway.http.post("/v1/files", json={"url": "https://files.test/a.png"})


async def _caller(inside: Inside) -> Caller:
    sent = Sent(key=inside.gateway.api_key, address="127.0.0.1")
    return (await inside.services.authentication.known(sent)).caller


async def _overloaded(inside: Inside, stack: AsyncExitStack) -> httpx.Response:
    for _number in range(10):
        await half_sent(stack, inside.gateway)

    async def all_came() -> bool | None:
        return await under_way(inside.gateway) == 10 or None

    await eventually(all_came)
    return await inside.gateway.http.get("/v1/tasks")


async def _large_answers(inside: Inside, stack: AsyncExitStack) -> httpx.Response:
    """Read once what takes ten seconds at the client's rate; then as many as may wait do."""
    await inside.gateway.create(input={"prompt": "a" * 900_000})
    path = "/v1/tasks?include=input"
    assert (await inside.gateway.http.get(path)).is_success
    reader = inside.services.reader
    client = await _client(inside)
    waiting = [asyncio.ensure_future(reader.callbacks(client, uuid4())) for _ in range(LONGEST)]
    stack.callback(lambda: [one.cancel() for one in waiting])
    await asyncio.wait(waiting, timeout=0)  # each takes its place
    return await inside.gateway.http.get(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """How a limit is met, and the code that says so; None: nothing is refused."""

    how: Meet
    code: str | None
    settings: dict[str, Any] = field(default_factory=dict)


MET = {
    Limited.REQUESTS: Met(
        how=_requests, code="rate_limited", settings={"client_requests_per_second": 1}
    ),
    Limited.STREAMS: Met(how=_streams, code="too_many_streams", settings={"client_streams": 1}),
    Limited.WAITS: Met(how=_waits, code="too_many_waits", settings={"client_waits": 1}),
    Limited.UPLOADS: Met(how=_uploads, code="too_many_uploads", settings={"client_uploads": 1}),
    Limited.QUEUE_FULL: Met(
        how=_queue_full,
        code="queue_full",
        settings={"client_queued_tasks": 1, "kie_max_running": 1},
    ),
    Limited.REFRESH: Met(how=_refresh, code=None, settings={"refresh_wait": 0.05}),
    Limited.REDELIVERIES: Met(
        how=_redeliveries, code="rate_limited", settings={"client_redeliveries_per_minute": 6}
    ),
    Limited.LARGE_ANSWERS: Met(
        how=_large_answers,
        code="rate_limited",
        settings={"client_large_bytes_per_second": 65_536},
    ),
    Limited.OVERLOADED: Met(
        how=_overloaded, code="overloaded", settings={"max_concurrent_requests": 10}
    ),
}


def test_no_kind_is_forgotten() -> None:
    assert set(MET) == set(Limited)


@pytest.mark.parametrize("kind", Limited)
async def test_a_limit_is_seen_by_client_and_operator(
    start_inside: StartInside, kind: Limited
) -> None:
    """Headers and code in the answer, a page that explains it, a metric by kind, a log line."""
    met = MET[kind]
    inside = await start_inside(**met.settings)
    async with AsyncExitStack() as stack:
        lines = stack.enter_context(structlog.testing.capture_logs())
        answer = await met.how(inside, stack)
    assert int(answer.headers["Retry-After"]) >= 1
    assert {"ratelimit", "ratelimit-policy"} <= set(answer.headers)
    if met.code is None:
        assert answer.is_success
    else:
        problems, *_ = tables()
        assert (answer.status_code, answer.json()["code"]) == (429, met.code)
        assert problems[met.code][:2] == ["429", answer.json()["title"]]
    page = samples((await inside.gateway.http.get("/metrics")).text)
    assert page[f'kie_gateway_limited_total{{kind="{kind}"}}'] >= 1
    said = [line for line in lines if line["event"] == "client.limited" and line["kind"] == kind]
    assert [(bool(line["client_id"]), line["suppressed"]) for line in said] == [(True, 0)]
