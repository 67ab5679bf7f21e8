"""A create that could not start in time is refused at once, and nothing of it is kept."""

from typing import Any

import httpx
import pytest

from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import BODY, Gateway
from tests.services.stage import slots_are_free, turn
from tests.upstream import Upstream, refused, succeeded

BRIEF = {**BODY, "submit_within": 5}


async def too_long(gateway: Gateway, body: object = BRIEF, key: str | None = None) -> int:
    """Have a create refused; returns its Retry-After."""
    answer = await gateway.post(body, key=key)
    assert (answer.status_code, answer.json()["code"]) == (503, "queue_too_long"), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "submit_within" in answer.json()["detail"]
    return int(answer.headers["Retry-After"])


async def test_it_is_refused_and_nothing_of_it_is_kept(
    start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(kie_creates_per_10s=1)
    await gateway.create()
    retry_after = await too_long(gateway, key="k")
    assert 1 <= retry_after <= 6
    assert await _tasks(sql) == 1
    assert await sql.fetchval("SELECT count(*) FROM task_events WHERE to_state = 'queued'") == 1
    assert await sql.fetchval("SELECT count(*) FROM tasks WHERE idempotency_key = 'k'") == 0
    assert len(upstream.creates) == 1


async def test_the_same_key_works_later(
    start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    """After what Retry-After says; and with another body too, for the key stands for nothing."""
    gateway = await start_gateway(kie_creates_per_10s=1)
    await gateway.create()
    retry_after = await too_long(gateway, key="k")
    await too_long(gateway, {**BRIEF, "model": "another"}, key="k")
    await sql.execute(
        "UPDATE kie_slots SET free_at = free_at - make_interval(secs => $1)", float(retry_after)
    )
    answer = await gateway.post({**BRIEF, "model": "another"}, key="k")
    assert answer.status_code == 201
    assert answer.json()["state"] == "queued"
    assert answer.json()["hold_reason"] == "create_limit"
    await slots_are_free(sql)
    again = await gateway.post({**BRIEF, "model": "another"}, key="k")
    assert (again.status_code, again.json()["id"]) == (200, answer.json()["id"])
    assert len(upstream.creates) == 1


async def test_whoever_has_time_waits(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(kie_creates_per_10s=2)
    services = await wire(kie_creates_per_10s=2)
    made = [await gateway.create(submit_within=60) for _ in range(6)]
    assert [task["state"] for task in made] == ["running"] * 2 + ["queued"] * 4
    waits = [await _wait(sql, task["estimated_start_at"]) for task in made[2:]]
    assert waits == [pytest.approx(at, abs=2) for at in (10, 10, 20, 20)]
    await too_long(gateway, {**BODY, "submit_within": 20})
    await slots_are_free(sql)
    assert await turn(services) == 0
    assert len(upstream.creates) == 4


async def test_a_task_that_is_there_is_told_whatever_the_queue_is_like(
    start_gateway: StartGateway, sql: Any
) -> None:
    gateway = await start_gateway(kie_creates_per_10s=1)
    made = await gateway.post(BRIEF, key="k")
    await too_long(gateway)
    again = await gateway.post(BRIEF, key="k")
    assert (made.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == made.json()["id"]
    assert await _tasks(sql) == 1


async def test_a_hold_counts_where_its_end_is_known(
    start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway()
    upstream.answers(lambda: refused(429, "slow down"))
    await gateway.create()
    await sql.execute("UPDATE kie_account SET held_until = now() + interval '40 s'")
    assert 33 <= await too_long(gateway) <= 36
    assert (await gateway.create(submit_within=50))["hold_reason"] == "kie_busy"


async def test_a_running_limit_counts_where_it_is_known_how_long_tasks_run(
    start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(kie_max_running=1)
    first = await gateway.create()
    path = upstream.callback_path
    unknown = await gateway.post(BRIEF)
    assert (unknown.status_code, unknown.json()["hold_reason"]) == (201, "running_limit")
    assert unknown.json()["estimated_start_at"] is None
    await gateway.http.post(unknown.json()["urls"]["cancel"])

    await sql.execute("UPDATE tasks SET submitted_at = submitted_at - interval '100 s'")
    await gateway.call_back(path, succeeded(first["kie_task_id"]))
    await gateway.create()
    assert 90 <= await too_long(gateway) <= 100
    assert len(upstream.creates) == 2


async def test_the_longest_queue_refuses_nobody_for_whom_there_is_room(
    start_gateway: StartGateway, sql: Any
) -> None:
    """A burst up to the limit starts at once, however short its patience."""
    gateway = await start_gateway(kie_creates_per_10s=8)
    made = [await gateway.create(submit_within=5) for _ in range(8)]
    assert {task["state"] for task in made} == {"running"}
    answers: list[httpx.Response] = [await gateway.post(BRIEF) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {503}
    assert await _tasks(sql) == 8


async def _tasks(sql: Any) -> int:
    return int(await sql.fetchval("SELECT count(*) FROM tasks"))


async def _wait(sql: Any, instant: str) -> float:
    return float(
        await sql.fetchval(
            "SELECT extract(epoch FROM $1::text::timestamptz - clock_timestamp())::float", instant
        )
    )
