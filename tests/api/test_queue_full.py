"""A full queue refuses creates, with both figures; what a key stands for is answered."""

from typing import Any

from tests.api.conftest import StartInside
from tests.fixtures.gateway import StartGateway
from tests.gateway import BODY


async def test_a_create_over_the_number_is_refused_and_a_repeat_is_not(
    start_gateway: StartGateway, sql: Any
) -> None:
    gateway = await start_gateway(client_queued_tasks=2, kie_max_running=1)
    await gateway.create()
    waiting = [await gateway.post(BODY, key=f"k{number}") for number in range(2)]
    assert {answer.json()["state"] for answer in waiting} == {"queued"}
    full = await gateway.post(BODY, key="k9")
    assert (full.status_code, full.json()["code"]) == (429, "queue_full")
    assert int(full.headers["Retry-After"]) >= 1
    figures = {name: full.json()[name] for name in ("queued_tasks", "queued_tasks_allowed")}
    assert figures == {"queued_tasks": 2, "queued_tasks_allowed": 2}
    assert full.json()["queued_bytes"] > 0
    assert full.json()["queued_bytes_allowed"] == 2**30
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 3
    again = await gateway.post(BODY, key="k1")
    assert (again.status_code, again.json()["id"]) == (200, waiting[1].json()["id"])

    await gateway.http.post(waiting[0].json()["urls"]["cancel"])
    assert (await gateway.post(BODY, key="k9")).status_code == 201
    page = (await gateway.http.get("/metrics")).text
    assert 'kie_gateway_limited_total{kind="queue_full"} 1.0' in page


async def test_a_create_over_the_bytes_is_refused(start_gateway: StartGateway, sql: Any) -> None:
    gateway = await start_gateway(client_queued_bytes=300, kie_max_running=1)
    await gateway.create()
    body = {**BODY, "input": {"prompt": "x" * 200}}
    assert (await gateway.post(body)).status_code == 201
    assert (await gateway.post(body)).json()["code"] == "queue_full"
    await sql.execute("UPDATE clients SET queued_bytes = 1000")
    assert (await gateway.post(body)).status_code == 201


async def test_an_unmodified_client_is_told_to_come_later(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(client_queued_tasks=1, kie_max_running=1)
    await gateway.create()
    body = {"model": BODY["model"], "input": BODY["input"]}
    answers = [await gateway.http.post("/api/v1/jobs/createTask", json=body) for _ in range(2)]
    assert [answer.json()["code"] for answer in answers] == [200, 429]
    assert "Retry-After" in answers[1].headers


async def test_a_refresh_says_when_kie_was_last_asked(start_inside: StartInside) -> None:
    gateway = (await start_inside(refresh_wait=0.05)).gateway
    task = await gateway.create()
    answers = [await gateway.http.post(f"/v1/tasks/{task['id']}/refresh") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    at = {answer.headers["X-Refreshed-At"] for answer in answers}
    assert len(at) == 1
    assert ["Retry-After" in answer.headers for answer in answers] == [False, True]
