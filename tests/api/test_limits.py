"""Limits as a client meets them: headers on every answer, 429 on every route, streams and waits."""

import asyncio
import re
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from app.domain.limits import HELD_RETRY, Held
from app.services.clients.limits import Limits
from app.store.signals import KEYS
from tests.api.conftest import Inside, StartInside
from tests.api.stage import NOBODY, Sql, dialled, head_of, is_held, operations, problem
from tests.api.streams import streaming
from tests.api.test_client_settings import ADMIN_KEY, PATH
from tests.gateway import BODY, issue_key
from tests.stage import eventually
from tests.upstream import Upstream, succeeded

STREAM = {"Accept": "text/event-stream"}
DROP_IN = "/api/"


def told(answer: httpx.Response) -> tuple[str | None, str | None]:
    return answer.headers.get("ratelimit-policy"), answer.headers.get("ratelimit")


def paths(spec: dict[str, Any]) -> list[tuple[str, str]]:
    """Every operation that wants an API key, with ids that nobody has."""
    return [
        (method, re.sub(r"\{\w+\}", NOBODY, path))
        for (method, path), operation in operations(spec).items()
        if operation.get("security")
    ]


class Clock:
    """Stands still until it is moved on."""

    now = 1e6

    def __call__(self) -> float:
        return self.now


async def stopped(start_inside: StartInside, **overrides: Any) -> tuple[Inside, Clock]:
    """Start a gateway whose buckets fill by a clock of ours."""
    inside = await start_inside(**overrides)
    clock = Clock()
    inside.services.limits.now = clock
    return inside, clock


async def test_every_answer_to_a_key_says_what_is_left(
    start_inside: StartInside, spec: dict[str, Any]
) -> None:
    """Whatever the answer is: these are successes, 400, 404 and 422, and envelopes."""
    inside, _ = await stopped(start_inside, client_requests_per_second=50)
    found, statuses = paths(spec), set()
    assert len(found) > 15
    for number, (method, path) in enumerate(found, 1):
        answer = await inside.gateway.http.request(method, path)
        expected = ('"requests";q=100;w=2', f'"requests";r={100 - number};t=1')
        assert told(answer) == expected, (method, path)
        statuses.add(answer.status_code)
    assert statuses == {200, 400, 404, 422}


async def test_one_request_too_many_is_refused_on_every_route(
    start_inside: StartInside, spec: dict[str, Any], upstream: Upstream, sql: Sql
) -> None:
    inside, clock = await stopped(start_inside, client_requests_per_second=1)
    http = inside.gateway.http
    assert [(await http.get("/v1/tasks")).status_code for _ in range(3)] == [200, 200, 429]
    for method, path in paths(spec):
        answer = await http.request(method, path, json=BODY if method == "POST" else None)
        assert told(answer) == ('"requests";q=2;w=2', '"requests";r=0;t=2'), (method, path)
        assert answer.headers["retry-after"] == "1"
        if path.startswith(DROP_IN):
            assert (answer.status_code, answer.json()["code"]) == (200, 429)
        else:
            assert (answer.status_code, problem(answer)["code"]) == (429, "rate_limited")
    assert (await sql.fetchval("SELECT count(*) FROM tasks"), upstream.creates) == (0, [])
    clock.now += 1
    assert (await inside.gateway.post()).status_code == 201


async def test_who_is_not_a_client_has_no_limit(start_inside: StartInside) -> None:
    """Nor is told of one: strangers, operators, health checks, kie.ai."""
    inside, _ = await stopped(
        start_inside, client_requests_per_second=1, admin_key=SecretStr(ADMIN_KEY)
    )
    paths_of = {"/livez": "", "/v1/admin/clients": f"Bearer {ADMIN_KEY}", "/v1/tasks": "Bearer x"}
    for path, sent in paths_of.items():
        answers = [
            await inside.gateway.http.get(path, headers={"Authorization": sent}) for _ in range(5)
        ]
        assert {told(answer) for answer in answers} == {(None, None)}, path
        assert 429 not in {answer.status_code for answer in answers}
    called = [await inside.gateway.call_back(f"/callbacks/kie/{NOBODY}/x", {}) for _ in range(5)]
    assert {answer.status_code for answer in called} == {404}


async def test_a_client_is_limited_by_all_of_its_keys_and_no_other_is(
    start_inside: StartInside, sql: Sql
) -> None:
    inside, clock = await stopped(start_inside, client_requests_per_second=2)
    keys = [inside.gateway.api_key]
    keys += [await issue_key(inside.gateway.settings, name) for name in ("tests", "other")]

    async def asks(key: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"}
        return await inside.gateway.http.get("/v1/tasks", headers=headers)

    for key, statuses in zip(keys, ([200] * 4 + [429], [429], [200]), strict=True):
        assert [(await asks(key)).status_code for _ in statuses] == statuses
    await sql.execute("UPDATE api_keys SET scopes = '{files}'")
    inside.services.authentication._known_keys.hear(KEYS)
    clock.now += 1
    refused = [await asks(keys[0]) for _ in range(3)]
    assert [answer.status_code for answer in refused] == [403, 403, 429]
    assert told(refused[0]) == ('"requests";q=4;w=2', '"requests";r=1;t=2')


async def test_a_clients_own_limits_count_from_the_next_request_on(
    start_inside: StartInside, sql: Sql
) -> None:
    inside, _ = await stopped(
        start_inside, client_requests_per_second=7, admin_key=SecretStr(ADMIN_KEY)
    )
    http = inside.gateway.http
    operator = {"Authorization": f"Bearer {ADMIN_KEY}"}

    async def sets(**limits: int | None) -> dict[str, Any]:
        answer = await http.patch(PATH, json=limits, headers=operator)
        assert answer.status_code == 200, answer.text
        return {name: answer.json()[name] for name in ("requests_per_second", "streams", "waits")}

    assert told(await http.get("/v1/tasks"))[0] == '"requests";q=14;w=2'
    own = await sets(requests_per_second=200, streams=1, waits=2)
    assert own == {"requests_per_second": 200, "streams": 1, "waits": 2}
    assert told(await http.get("/v1/tasks"))[0] == '"requests";q=400;w=2'
    async with streaming(inside.gateway, "/v1/events") as first:
        assert first.answer.status_code == 200
        assert (await http.get("/v1/events", headers=STREAM)).status_code == 429
    assert await sets(streams=None, requests_per_second=None) == {
        **dict.fromkeys(own),
        "waits": 2,
    }
    assert told(await http.get("/v1/tasks"))[0] == '"requests";q=14;w=2'
    noted = await sql.fetch("SELECT detail::text FROM audit_entries ORDER BY id DESC LIMIT 2")
    assert '"streams": "usual"' in noted[0][0]
    assert '"requests_per_second": "200"' in noted[1][0]
    for wrong in ({"waits": 0}, {"streams": 100_001}, {"requests_per_second": 1.5}):
        answer = await http.patch(PATH, json=wrong, headers=operator)
        assert problem(answer)["errors"][0]["pointer"] == "/" + next(iter(wrong))


# -- streams and waits


def open_now(limits: Limits) -> tuple[int, int]:
    return limits._open[Held.STREAM], limits._open[Held.WAIT]


async def are_open(limits: Limits, *, streams: int = 0, waits: int = 0) -> None:
    await eventually(lambda: _look(limits, (streams, waits)))


async def _look(limits: Limits, wanted: tuple[int, int]) -> bool | None:
    return open_now(limits) == wanted or None


async def test_streams_count_until_they_end_however_they_do(
    start_inside: StartInside, upstream: Upstream
) -> None:
    """Read to their end, left by their readers, left before their first byte, never begun."""
    inside = await start_inside(client_streams=3)
    gateway, limits = inside.gateway, inside.services.limits
    task = await gateway.create()
    async with AsyncExitStack() as stack:
        for path in ("/v1/events", "/v1/events", task["urls"]["events"]):
            await stack.enter_async_context(streaming(gateway, path))
        refused = await gateway.http.get("/v1/events", headers=STREAM)
        assert (refused.status_code, problem(refused)["code"]) == (429, "too_many_streams")
        assert refused.headers["retry-after"] == f"{HELD_RETRY:.0f}"
        assert (await gateway.http.get("/v1/events")).status_code == 200  # a list is no stream
        await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
        await are_open(limits, streams=2)  # the task's own is at its end
    await are_open(limits)
    for path in ("/v1/events?after=x", "/v1/events?after=1-1", f"/v1/tasks/{NOBODY}/events"):
        assert (await gateway.http.get(path, headers=STREAM)).status_code >= 400
    assert open_now(limits) == (0, 0)
    key = f"Authorization: Bearer {gateway.api_key}"
    for _ in range(20):
        async with dialled(gateway.http.base_url) as line:
            line.writer.write(head_of("GET", "/v1/events", key, "Accept: text/event-stream"))
            await line.writer.drain()
    await are_open(limits)
    async with streaming(gateway, "/v1/events") as stream:
        assert stream.answer.status_code == 200


@pytest.mark.parametrize("several", [False, True])
async def test_waits_count_until_they_end_or_nobody_waits(
    start_inside: StartInside, upstream: Upstream, *, several: bool
) -> None:
    inside = await start_inside(client_waits=2)
    gateway, limits = inside.gateway, inside.services.limits
    task = await gateway.create()

    def waits() -> "asyncio.Task[httpx.Response]":
        body = {"ids": [task["id"]], "timeout": 50}
        asked = (
            gateway.http.post("/v1/tasks/wait", json=body)
            if several
            else gateway.http.get(task["urls"]["self"], params={"wait": 50})
        )
        return asyncio.ensure_future(asked)

    first, second = waits(), waits()
    await are_open(limits, waits=2)
    refused = await waits()
    assert (refused.status_code, problem(refused)["code"]) == (429, "too_many_waits")
    assert (await gateway.http.get(task["urls"]["self"])).status_code == 200  # holds nothing
    first.cancel()  # the connection is closed
    await are_open(limits, waits=1)
    third = waits()
    await are_open(limits, waits=2)
    await is_held(gateway, third)
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    assert [(await one).status_code for one in (second, third)] == [200, 200]
    assert open_now(limits) == (0, 0)


async def _sent_to(upstream: Upstream) -> bool | None:
    return bool(upstream.creates) or None


async def test_a_create_is_never_refused_for_its_wait(
    start_inside: StartInside, upstream: Upstream
) -> None:
    """With no room it is answered as one that asks for no wait; its own short one counts never."""
    inside = await start_inside(client_waits=1)
    gateway, limits = inside.gateway, inside.services.limits
    first = asyncio.ensure_future(gateway.post(wait=50))
    await are_open(limits, waits=1)
    await eventually(lambda: _sent_to(upstream))
    headers = {"Prefer": "wait=50"}
    second = await gateway.http.post("/v1/tasks", json=BODY, headers=headers)
    assert (second.status_code, second.json()["state"]) == (201, "running")
    assert "preference-applied" not in second.headers
    assert not first.done()
    assert open_now(limits) == (0, 1)
    path = "/" + upstream.creates[0]["callBackUrl"].split("/", 3)[3]
    task = (await gateway.http.get("/v1/tasks")).json()["data"][-1]
    await gateway.call_back(path, succeeded(task["kie_task_id"]))
    assert (await first).json()["state"] == "succeeded"
    assert open_now(limits) == (0, 0)
