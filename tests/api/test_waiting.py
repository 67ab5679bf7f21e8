"""Holding an answer until its task rests: `?wait`, `Prefer: wait`, and what wakes it."""

import asyncio
import time

import httpx
import pytest

from app.services.tasks.waiters import POLL
from tests.api.stage import NOBODY, NOT_FOUND, Sql, check_refusal, is_held
from tests.each import each
from tests.fixtures.gateway import StartGateway
from tests.gateway import BODY, Gateway
from tests.stage import eventually
from tests.upstream import Upstream, refused, succeeded


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


async def _running(sql: Sql) -> str:
    """Return kie.ai's id of the one task as soon as there is one."""

    async def look() -> str | None:
        found: str | None = await sql.fetchval("SELECT kie_task_id FROM tasks")
        return found

    return await eventually(look)


@pytest.mark.parametrize("by", ["create", "repeated create", "read"])
async def test_a_wait_ends_with_the_callback(
    gateway: Gateway, sql: Sql, upstream: Upstream, by: str
) -> None:
    """Woken, not found by the next look: that would take `POLL` seconds."""
    task = None if by == "create" else (await gateway.post(key="order-1")).json()
    waiting = asyncio.create_task(
        gateway.http.get(task["urls"]["self"], params={"wait": 50})
        if task and by == "read"
        else gateway.post(key="order-1", wait=50)
    )
    kie_task_id = await _running(sql)
    for _ in range(3):  # requests behind it: it is under way
        await gateway.http.get("/livez")
    assert not waiting.done()
    await gateway.call_back(upstream.callback_path, succeeded(kie_task_id))
    called_back = time.perf_counter()
    answer: httpx.Response = await waiting
    assert time.perf_counter() - called_back < POLL / 2
    assert answer.status_code == (201 if by == "create" else 200)
    assert answer.json()["state"] == "succeeded"
    assert answer.json() == await gateway.task(answer.json()["id"])


async def test_many_may_wait_for_one_task(gateway: Gateway, upstream: Upstream) -> None:
    """More than there are connections to the database: none is held meanwhile."""
    task = await gateway.create()
    waiting = [asyncio.create_task(gateway.task(task["id"], wait=50)) for _ in range(40)]
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    answers = await asyncio.gather(*waiting)
    assert {answer["state"] for answer in answers} == {"succeeded"}


@pytest.mark.parametrize("wait", [0, 0.3])
async def test_a_wait_that_ends_first_answers_the_open_task(gateway: Gateway, wait: float) -> None:
    started = time.perf_counter()
    created = await gateway.post(wait=wait)
    halfway = time.perf_counter()
    read = await gateway.task(created.json()["id"], wait=wait)
    assert created.status_code == 201
    assert created.json()["state"] in {"submitting", "running"}
    assert read["state"] in {"submitting", "running"}
    assert min(halfway - started, time.perf_counter() - halfway) >= wait


async def test_a_wait_for_a_task_at_rest_is_over_at_once(
    gateway: Gateway, upstream: Upstream
) -> None:
    upstream.answers(lambda: refused(422, "no"))
    created = await gateway.post(wait=55)
    assert (created.status_code, created.json()["state"]) == (201, "failed")
    assert await gateway.task(created.json()["id"], wait=55) == created.json()


async def test_a_wait_ends_whatever_process_hears_the_callback(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    here, there = await start_gateway(), await start_gateway()
    task = await here.create()
    waiting = asyncio.create_task(here.task(task["id"], wait=50))
    await here.http.get("/livez")
    await there.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    assert (await waiting)["state"] == "succeeded"


# -- Prefer

PREFERENCES: dict[str, str | None] = {
    "wait=5": "wait=5",
    "WAIT=5": "wait=5",
    "wait = 5": "wait=5",
    'wait="5"': "wait=5",
    "wait=0": "wait=0",
    "wait=55": "wait=55",
    "wait=56": "wait=55",
    "respond-async, wait=99": "wait=55",
    "wait=7, respond-async": "wait=7",
    "respond-async": None,
    "": None,
    "wait": None,
    "wait=": None,
    "wait=-1": None,
    "wait=1.5": None,
    "wait=5s": None,
    "wait=five": None,
    "wait=1e2": None,
    "await=5": None,
    "wait:5": None,
    "wait=99999999999999999999": None,
}
"""What is written and what is applied: a preference that is not understood is no error."""


@each("prefer", PREFERENCES)
@each("by", ["create", "read"])
async def test_a_preference_is_met_as_far_as_possible(
    gateway: Gateway, upstream: Upstream, prefer: str, by: str
) -> None:
    upstream.answers(lambda: refused(422, "no"))
    headers = {"Prefer": prefer}
    answer = await gateway.http.post("/v1/tasks", json=BODY, headers=headers)
    if by == "read":
        answer = await gateway.http.get(answer.headers["location"], headers=headers)
    assert answer.status_code == (201 if by == "create" else 200)
    assert answer.headers.get("preference-applied") == PREFERENCES[prefer]


async def test_a_preference_holds_the_answer(gateway: Gateway, upstream: Upstream) -> None:
    task = await gateway.create()
    waiting = asyncio.create_task(
        gateway.http.get(task["urls"]["self"], headers={"Prefer": "respond-async, wait=99"})
    )
    await is_held(gateway, waiting)
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    answer = await waiting
    assert answer.json()["state"] == "succeeded"
    assert answer.headers["preference-applied"] == "wait=55"


async def test_a_preference_in_a_second_header_line_counts(gateway: Gateway) -> None:
    """RFC 9110 section 5.3: two lines are one list."""
    task = await gateway.create()
    lines = [("Prefer", "respond-async"), ("Prefer", "wait=0")]
    answer = await gateway.http.get(task["urls"]["self"], headers=lines)
    assert answer.headers.get("preference-applied") == "wait=0"


async def test_of_both_the_parameter_counts(gateway: Gateway) -> None:
    """And the header, which was not applied, is not said to be."""
    task = await gateway.create()
    answer = await gateway.http.get(
        task["urls"]["self"], params={"wait": 0}, headers={"Prefer": "wait=50"}
    )
    assert (answer.status_code, answer.json()) == (200, task)
    assert "preference-applied" not in answer.headers


async def test_a_wait_for_nothing_is_refused_at_once(gateway: Gateway) -> None:
    started = time.perf_counter()
    answer = await gateway.http.get(f"/v1/tasks/{NOBODY}", params={"wait": 50})
    check_refusal(answer, NOT_FOUND)
    assert time.perf_counter() - started < POLL
