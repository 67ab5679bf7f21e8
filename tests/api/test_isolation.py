"""No key opens more than it should, and no client sees another's: every route, every wrong key."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio

from app.api.deps import NEEDED
from app.domain.access import Role, Scope
from tests.api.neighbours import (
    CALLERS,
    HOOK,
    OPEN,
    OPERATORS,
    PROMPT,
    RESULT,
    ROUTES,
    Neighbours,
    neighbours,
)
from tests.api.stage import NOBODY
from tests.each import each
from tests.upstream import Upstream


@pytest_asyncio.fixture(scope="module")
async def made(dsn: str, upstream_server: Upstream) -> AsyncIterator[Neighbours]:
    async with neighbours(dsn, upstream_server) as made:
        yield made


def code(answer: httpx.Response) -> str:
    """Return the refusal's code; of kie.ai's envelope, its words."""
    content = answer.json()
    if "msg" in content:
        assert answer.status_code == 200
        return f"{content['code']} {content['msg']}" if content["code"] != 200 else "200"
    return str(content.get("code", answer.status_code))


def test_every_route_states_what_a_key_must_allow() -> None:
    assert set(OPEN) | set(CALLERS) | set(OPERATORS) == set(ROUTES)
    assert set(ROUTES) >= OPEN
    for kinds, routes in ((Scope, CALLERS), (Role, OPERATORS)):
        for name, route in routes.items():
            assert isinstance(NEEDED.get(route.endpoint), kinds), name
    assert not [name for name in OPEN if ROUTES[name].endpoint in NEEDED]


# -- keys that open nothing

ENDED = {
    "none": ("unauthenticated", "401 "),
    "malformed": ("unauthenticated", "401 "),
    "unknown": ("unauthenticated", "401 "),
    "revoked": ("unauthenticated", "401 "),
    "expired": ("unauthenticated", "401 "),
    "disabled": ("client_disabled", "401 You do not have access permissions: An operator"),
    "admin": ("unauthenticated", "401 "),
}


@each("kind", ENDED)
@each("route", CALLERS)
async def test_a_key_that_has_ended_opens_nothing(made: Neighbours, route: str, kind: str) -> None:
    native, dropin = ENDED[kind]
    answer = await made.ask(route, kind, content=b"{")
    assert code(answer).startswith(dropin if " /api/" in route else native), answer.text
    if native == "unauthenticated":
        without = await made.ask(route, content=b"{")
        assert _same(answer) == _same(without)


def _same(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    """Return what two answers have in common when nothing tells them apart."""
    return answer.status_code, {**answer.json(), "request_id": None}


@each("route", CALLERS)
async def test_a_key_is_for_its_scopes(made: Neighbours, route: str) -> None:
    scope = NEEDED[CALLERS[route].endpoint]
    refused = await made.ask(route, f"without {scope}", content=b"{")
    if " /api/" in route:
        words = f"401 You do not have access permissions: This needs a key with the scope {scope}."
        assert code(refused).startswith(words)
    else:
        assert (refused.status_code, code(refused)) == (403, "insufficient_scope")
        assert scope in refused.json()["detail"]
    allowed = await made.ask(route, f"only {scope}", content=b"{")
    assert "needs a key" not in code(allowed)
    assert code(allowed) not in ("insufficient_scope", "unauthenticated")
    assert allowed.status_code not in (401, 403, 500)


# -- operators


@each("kind", ["none", "victim", "gone"])
@each("route", OPERATORS)
async def test_what_is_no_admin_key_opens_nothing(made: Neighbours, route: str, kind: str) -> None:
    made.services.authentication._backoff.accepted("127.0.0.1")
    assert code(await made.ask(route, kind, content=b"{")) == "unauthenticated"


@each("role", Role)
@each("route", OPERATORS)
async def test_an_admin_key_is_for_its_role(made: Neighbours, route: str, role: Role) -> None:
    needed = Role(NEEDED[OPERATORS[route].endpoint])
    answer = await made.ask(route, f"role {role}", content=b"{")
    if role.covers(needed):
        assert answer.status_code in (200, 400, 404), answer.text
    else:
        assert (answer.status_code, code(answer)) == (403, "insufficient_role")
        assert needed in answer.json()["detail"]


# -- another client's

WITH_ID = [name for name in CALLERS if "{" in name]


@each("which", ["settled", "running", "settled at kie", "delivery"])
@each("route", WITH_ID)
async def test_anothers_id_is_as_good_as_none(made: Neighbours, route: str, which: str) -> None:
    """The same bytes as for an id that nobody has."""
    before = await made.victims()
    theirs = dict.fromkeys(("task_id", "delivery_id", "file_id"), made.ids[which])
    mine = {name: NOBODY if len(made.ids[which]) == len(NOBODY) else "f" * 32 for name in theirs}
    answer = await made.ask(route, "valid", ids=theirs)
    nothing = await made.ask(route, "valid", ids=mine)
    assert _same(answer) == _same(nothing)
    assert answer.status_code == 404
    assert await made.victims() == before


ELSEWHERE: dict[str, tuple[str, dict[str, Any]]] = {
    "a wait": ("POST /v1/tasks/wait", {"json": {"ids": ["{settled}"], "timeout": 0}}),
    "a mixed wait": (
        "POST /v1/tasks/wait",
        {"json": {"ids": ["{settled}", "{running}"], "mode": "all", "timeout": 0}},
    ),
    "a record": ("GET /api/v1/jobs/recordInfo", {"params": {"taskId": "{settled}"}}),
    "a record by kie's id": (
        "GET /api/v1/jobs/recordInfo",
        {"params": {"taskId": "{settled at kie}"}},
    ),
    "a link": ("POST /api/v1/common/download-url", {"json": {"url": RESULT}}),
    "an enabled URL": ("POST /v1/deliveries/enable", {"json": {"url": HOOK}}),
    "tasks": ("GET /v1/tasks", {"params": {"model": "m"}}),
    "settled tasks": ("GET /v1/tasks", {"params": {"state": "succeeded"}}),
    "deliveries": ("GET /v1/deliveries", {}),
    "files": ("GET /v1/files", {}),
    "redeliveries": (
        "POST /v1/deliveries/redeliver",
        {"json": {"created_after": "2020-01-01T00:00:00Z"}},
    ),
    "events": ("GET /v1/events", {}),
    "usage": ("GET /v1/usage", {"params": {"group_by": "model"}}),
    "budgets": ("GET /v1/budget", {}),
    "models": ("GET /v1/models", {}),
}
"""What needs no id in its path, with the victim's ids where it takes some."""


def _filled(made: Neighbours, options: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(options)
    for which, value in made.ids.items():
        text = text.replace(f"{{{which}}}", value)
    filled: dict[str, Any] = json.loads(text)
    return filled


def _texts(value: Any) -> set[str]:
    """Return every text in a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return {text for one in value for text in _texts(one)}
    return {value} if isinstance(value, str) else set()


@each("case", ELSEWHERE)
async def test_nothing_elsewhere_is_anothers(made: Neighbours, case: str) -> None:
    route, options = ELSEWHERE[case]
    before = await made.victims()
    answer = await made.ask(route, "valid", **_filled(made, options))
    told = f"{answer.headers}{answer.text}"
    unasked = {*made.ids.values(), PROMPT, HOOK} - {*_texts(_filled(made, options))}
    assert [one for one in unasked if one in told] == []
    found = answer.json().get("data")
    assert not found, "something is there"
    assert await made.victims() == before


async def test_an_idempotency_key_is_its_clients_own(made: Neighbours) -> None:
    body = json.dumps({"model": "m", "input": {"prompt": PROMPT}, "webhook_url": HOOK}).encode()
    key = {"Idempotency-Key": "the victims settled"}
    answer = await made.ask("POST /v1/tasks", "valid", content=body, headers=key)
    assert answer.status_code == 201
    assert answer.json()["id"] != made.ids["settled"]
    await made.services.submitter.drain()
