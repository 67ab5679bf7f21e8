"""`POST /v1/tasks/wait`: any or all of several tasks."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from app.services.tasks.waiters import POLL
from tests.api.conftest import IssueKey
from tests.api.stage import NOBODY, NOT_FOUND, Refusal, check_refusal, is_held
from tests.each import each
from tests.fixtures.gateway import StartGateway
from tests.gateway import BODY, Gateway
from tests.upstream import Upstream, refused, succeeded


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


async def _ask(gateway: Gateway, ids: list[str], **members: object) -> httpx.Response:
    return await gateway.http.post("/v1/tasks/wait", json={"ids": ids, **members})


async def _some(gateway: Gateway, upstream: Upstream, count: int) -> list[tuple[str, str, str]]:
    """Create tasks; returns the id, the callback path and kie.ai's id of each."""
    found = []
    for _ in range(count):
        task = await gateway.create()
        found.append((task["id"], upstream.callback_path, task["kie_task_id"]))
    return found


def _states(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [task["state"] for task in answer.json()["data"]]


@pytest.mark.parametrize("mode", ["any", "all", None])
async def test_several_tasks_are_waited_for(
    gateway: Gateway, upstream: Upstream, mode: str | None
) -> None:
    made = await _some(gateway, upstream, 3)
    ids = [task_id for task_id, _, _ in reversed(made)]
    members = {} if mode is None else {"mode": mode}
    waiting = asyncio.create_task(_ask(gateway, ids, timeout=50, **members))
    await is_held(gateway, waiting)
    settled = made[:1] if mode == "any" else made
    for number, (_, path, kie_task_id) in enumerate(settled):
        assert not waiting.done(), number
        await gateway.call_back(path, succeeded(kie_task_id))
        await gateway.http.get("/livez")
    answer = await waiting
    when_final = {task_id for task_id, _, _ in settled}
    assert _states(answer) == ["succeeded" if one in when_final else "running" for one in ids]
    assert [task["id"] for task in answer.json()["data"]] == ids
    assert answer.json()["done"] is True
    assert answer.json()["data"] == [await gateway.task(task_id) for task_id in ids]


@pytest.mark.parametrize(("mode", "done"), [("any", True), ("all", False)])
async def test_when_the_time_is_over_the_tasks_are_answered_as_they_are(
    gateway: Gateway, upstream: Upstream, mode: str, *, done: bool
) -> None:
    """A task that rests already ends a wait for any at once, whatever the time."""
    made = await _some(gateway, upstream, 2)
    _, path, kie_task_id = made[1]
    await gateway.call_back(path, succeeded(kie_task_id))
    started = time.perf_counter()
    answer = await _ask(gateway, [one for one, _, _ in made], mode=mode, timeout=0.3)
    assert _states(answer) == ["running", "succeeded"]
    assert answer.json()["done"] is done
    assert (time.perf_counter() - started >= 0.3) is not done


async def test_an_id_given_twice_is_answered_twice(gateway: Gateway, upstream: Upstream) -> None:
    ((task_id, path, kie_task_id),) = await _some(gateway, upstream, 1)
    ids = [task_id, task_id.upper(), task_id]
    waiting = asyncio.create_task(_ask(gateway, ids, timeout=50))
    await is_held(gateway, waiting)
    await gateway.call_back(path, succeeded(kie_task_id))
    assert _states(await waiting) == ["succeeded"] * 3


@pytest.mark.parametrize("whose", ["nobody's", "another client's"])
async def test_a_wait_for_a_strange_task_among_ones_own_is_refused_at_once(
    gateway: Gateway, upstream: Upstream, new_key: IssueKey, whose: str
) -> None:
    ((mine, _, _),) = await _some(gateway, upstream, 1)
    strange = NOBODY
    if whose == "another client's":
        headers = {"Authorization": f"Bearer {await new_key('other')}"}
        made = await gateway.http.post("/v1/tasks", json=BODY, headers=headers)
        strange = made.json()["id"]
    started = time.perf_counter()
    check_refusal(await _ask(gateway, [mine, strange], timeout=50), NOT_FOUND)
    assert time.perf_counter() - started < POLL


BAD_WAITS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no ids": ({}, "/ids", "required"),
    "empty ids": ({"ids": []}, "/ids", "at least 1 item"),
    "101 ids": ({"ids": [NOBODY] * 101}, "/ids", "at most 100 items"),
    "ids of no list": ({"ids": NOBODY}, "/ids", "valid list"),
    "a bad id": ({"ids": [NOBODY, "x"]}, "/ids/1", "UUID"),
    "an id of another type": ({"ids": [5]}, "/ids/0", "UUID"),
    "an id that is null": ({"ids": [None]}, "/ids/0", "UUID"),
    "another mode": ({"ids": [NOBODY], "mode": "some"}, "/mode", "'any' or 'all'"),
    "a long timeout": ({"ids": [NOBODY], "timeout": 55.1}, "/timeout", "equal to 55"),
    "a negative timeout": ({"ids": [NOBODY], "timeout": -1}, "/timeout", "equal to 0"),
    "a timeout of text": ({"ids": [NOBODY], "timeout": "5"}, "/timeout", "valid number"),
    "a timeout of truth": ({"ids": [NOBODY], "timeout": True}, "/timeout", "valid number"),
    "a misspelt member": ({"ids": [NOBODY], "timeuot": 5}, "/timeuot", "did you mean timeout?"),
}


@each("name", BAD_WAITS)
async def test_a_bad_wait_is_refused_with_its_place(gateway: Gateway, name: str) -> None:
    members, pointer, says = BAD_WAITS[name]
    answer = await gateway.http.post("/v1/tasks/wait", json=members)
    invalid = Refusal(status=422, code="invalid_request", pointer=pointer, says=says)
    check_refusal(answer, invalid)


async def test_a_hundred_tasks_can_be_waited_for(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    gateway = await start_gateway(kie_creates_per_10s=100, worker=True)
    upstream.answers(lambda: refused(422, "no"))
    made = await asyncio.gather(*(gateway.create() for _ in range(100)))
    answer = await _ask(gateway, [task["id"] for task in made], timeout=50)
    assert _states(answer) == ["failed"] * 100
