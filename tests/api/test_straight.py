"""Requests that go past FastAPI are answered as those that do not."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from app.api.straight import USUAL, StraightFrame
from app.main import ROUTERS, Surface
from tests.gateway import BODY, Gateway
from tests.scrape import moved, samples
from tests.upstream import Upstream, succeeded

PREFERS: Mapping[str, str] = {"Prefer": "handling=lenient"}
"""Asks for nothing that we know, and takes FastAPI's way."""

DIFFERS = frozenset({"date", "x-request-id", "server-timing", "ratelimit", "content-length"})
"""Headers that say when, how long, how often, and how long the request's own id is."""

NOBODYS = "019a0000-0000-7000-8000-000000000000"
WRONG: Mapping[str, str] = {"Authorization": "Bearer wrong"}
TWICE = [("Authorization", "Bearer one"), ("Authorization", "Bearer two")]


def _said(answer: httpx.Response) -> tuple[int, dict[str, str], Any]:
    headers = {name: value for name, value in answer.headers.items() if name not in DIFFERS}
    body = answer.json()
    body.pop("request_id", None)
    return answer.status_code, headers, body


async def test_both_ways_answer_the_same(gateway: Gateway, upstream: Upstream) -> None:
    task = await gateway.create()
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    own = f"/v1/tasks/{task['id']}"
    asked: list[tuple[int, str, str, dict[str, Any]]] = [
        (200, "GET", own, {}),
        (404, "GET", f"/v1/tasks/{NOBODYS}", {}),
        (401, "GET", own, {"headers": WRONG}),
        (401, "GET", own, {"headers": TWICE}),
        (400, "POST", "/v1/tasks", {"content": b"{"}),
        (422, "POST", "/v1/tasks", {"content": b'{"model": 1, "imput": {}}'}),
        (413, "POST", "/v1/tasks", {"content": b" " * (1024 * 1024 + 1)}),
        (400, "POST", "/v1/tasks", {"json": BODY, "headers": {"Idempotency-Key": "é".encode()}}),
        (401, "POST", "/v1/tasks", {"json": BODY, "headers": WRONG}),
        (404, "POST", f"/callbacks/kie/{task['id']}/wrong", {"json": {}}),
        (404, "POST", "/callbacks/kie/nobody/wrong", {"json": {}}),
        (200, "GET", "/livez", {}),
    ]
    for status, method, path, given in asked:
        straight = await gateway.http.request(method, path, **given)
        headers = httpx.Headers(given.get("headers"))
        headers.update(PREFERS)
        usual = await gateway.http.request(method, path, **{**given, "headers": headers})
        assert straight.status_code == status, (path, straight.text)
        assert _said(straight) == _said(usual)


async def test_a_create_is_one_and_its_repeat_none(gateway: Gateway, upstream: Upstream) -> None:
    first = await gateway.post(key="order-1")
    again = await gateway.post(key="order-1")
    usual = await gateway.http.post(
        "/v1/tasks", json=BODY, headers={"Idempotency-Key": "order-1", **PREFERS}
    )
    assert [one.status_code for one in (first, again, usual)] == [201, 200, 200]
    assert first.json() == again.json() == usual.json()
    assert again.headers["Idempotent-Replayed"] == usual.headers["Idempotent-Replayed"] == "true"
    assert first.headers["Location"] == usual.headers["Location"]
    assert len(upstream.creates) == 1


async def test_they_are_counted_by_the_same_template(gateway: Gateway) -> None:
    before = samples((await gateway.http.get("/metrics")).text)
    await gateway.http.get(f"/v1/tasks/{NOBODYS}")
    await gateway.http.get(f"/v1/tasks/{NOBODYS}", headers=PREFERS)
    await gateway.http.get(f"/v1/tasks/{NOBODYS.upper()}")
    found = moved(before, samples((await gateway.http.get("/metrics")).text))
    route = 'method="GET",route="/v1/tasks/{task_id}",status="404"'
    assert found[f"kie_gateway_requests_total{{{route}}}"] == 3


async def test_a_query_is_still_read(gateway: Gateway) -> None:
    """FastAPI reads it, and knows what it may say."""
    answer = await gateway.http.get(f"/v1/tasks/{NOBODYS}", params={"wiat": "1"})
    assert answer.status_code == 422
    assert "did you mean wait?" in answer.json()["detail"]


@pytest.mark.parametrize("surface", Surface)
def test_a_surface_answers_only_what_its_routes_do(surface: Surface) -> None:
    async def nothing(*_: object) -> None:
        """Stand behind the frame."""

    frame = StraightFrame(nothing, ROUTERS[surface])
    served = {route.endpoint for _, route in frame._usual}
    known = {
        route.endpoint
        for router in ROUTERS[surface]
        for route in router.routes
        if hasattr(route, "endpoint")
    }
    assert served == {one.endpoint for one in USUAL} & known
    assert served
