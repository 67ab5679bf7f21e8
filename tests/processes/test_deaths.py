"""Processes that are killed, told to stop or lose their database: nothing is lost or paid twice."""

import asyncio
import signal
from collections import Counter

import httpx
import pytest

from tests.gateway import BODY, Gateway
from tests.processes.conftest import At, Connection, Start
from tests.stage import eventually
from tests.upstream import Upstream, accepted, refused, succeeded

LET_LEASES_RUN_OUT = "UPDATE tasks SET leased_until = clock_timestamp() - interval '1 second'"
TERMINATE_ALL = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = 'kie-gateway' AND datname = current_database()
"""


async def _arrived(upstream: Upstream, creates: int = 1) -> None:
    async def look() -> bool | None:
        return len(upstream.creates) >= creates or None

    await eventually(look)


async def test_a_create_whose_process_is_killed_is_never_sent_again(
    start: Start, at: At, upstream: Upstream, sql: Connection
) -> None:
    go = upstream.holds()
    doomed = await start("serve")
    victim = await at(await doomed.ready())
    lost = asyncio.create_task(victim.post())
    await _arrived(upstream)
    path = upstream.callback_path

    await doomed.end(signal.SIGKILL)
    with pytest.raises(httpx.HTTPError):
        await lost
    await sql.execute(LET_LEASES_RUN_OUT)
    survivor = await start("serve")
    witness = await at(await survivor.ready())
    task_id = str(await sql.fetchval("SELECT id FROM tasks"))

    assert (await witness.reaches(task_id, "unconfirmed"))["state"] == "unconfirmed"
    await has_gone_through_the_queue(witness, upstream)
    urls = Counter(create["callBackUrl"] for create in upstream.creates)
    assert [count for url, count in urls.items() if task_id in url] == [1]

    told = "told-by-the-callback-alone"
    upstream.records[told], upstream.urls[told] = succeeded(told), f"https://gateway.test{path}"
    answer = await witness.call_back(path, succeeded(told))
    assert answer.status_code == 200
    settled = await witness.reaches(task_id, "succeeded")
    assert (settled["kie_task_id"], settled["settled_by"]) == (told, "query")
    go.set()


async def has_gone_through_the_queue(gateway: Gateway, upstream: Upstream) -> None:
    """Have a task refused at first: its second sending proves a whole turn of the loop."""
    answers = iter([refused(429, "Too many requests")])
    upstream.answers(lambda: next(answers, None) or accepted(upstream.next_id()))
    task = await gateway.create()
    await gateway.reaches(task["id"], "running")


@pytest.mark.long
async def test_sigterm_waits_for_the_create_in_flight_and_refuses_new_callers(
    start: Start, at: At, upstream: Upstream, sql: Connection
) -> None:
    go = upstream.holds()
    serving = await start("serve", GATEWAY_SUBMIT_WAIT="0")
    gateway = await at(await serving.ready())
    task = await gateway.create()
    await _arrived(upstream)

    serving.send(signal.SIGTERM)
    await eventually(lambda: _refuses_connections(str(gateway.http.base_url)))
    assert serving.process.returncode is None
    assert await sql.fetchval("SELECT state FROM tasks") == "submitting"
    go.set()

    assert await serving.ended() == 0
    row = await sql.fetchrow("SELECT id, state, kie_task_id FROM tasks")
    assert row is not None
    assert (str(row["id"]), row["state"]) == (task["id"], "running")
    assert row["kie_task_id"] is not None


async def _refuses_connections(url: str) -> bool | None:
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.get(f"{url}/livez")
    except httpx.ConnectError:
        return True
    except httpx.TransportError:
        return None  # accepted and dropped: the socket was just being closed
    return None


async def test_a_caller_who_waits_gets_its_answer_although_the_process_stops(
    start: Start, at: At, upstream: Upstream
) -> None:
    go = upstream.holds()
    serving = await start("serve")
    gateway = await at(await serving.ready())
    waiting = asyncio.create_task(gateway.post(BODY))
    await _arrived(upstream)

    serving.send(signal.SIGTERM)
    await eventually(lambda: _refuses_connections(str(gateway.http.base_url)))
    go.set()

    answer = await waiting
    assert (answer.status_code, answer.json()["state"]) == (201, "running")
    assert await serving.ended() == 0


@pytest.mark.long
async def test_a_worker_sends_what_the_api_put_back_and_drains(
    start: Start, at: At, upstream: Upstream
) -> None:
    upstream.answers(lambda: refused(429, "Too many requests"))
    serving, working = await start("serve", "--no-worker"), await start("worker")
    gateway = await at(await serving.ready())
    task = await gateway.create()
    assert (task["state"], task["hold_reason"]) == ("queued", "kie_busy")
    go = upstream.holds()
    await working.says("worker.started")
    await _arrived(upstream, creates=2)

    working.send(signal.SIGTERM)
    await working.says("worker.draining")
    assert working.process.returncode is None
    go.set()

    assert await working.ended() == 0
    assert (await gateway.task(task["id"]))["state"] == "running"
    assert await serving.end() == 0


@pytest.mark.long
async def test_lost_connections_to_postgresql_are_replaced(
    start: Start, at: At, upstream: Upstream, sql: Connection
) -> None:
    serving = await start("serve")
    gateway = await at(await serving.ready())
    task = await gateway.create()
    await asyncio.gather(*(gateway.task(task["id"]) for _ in range(20)))

    assert await sql.fetchval(TERMINATE_ALL) > 1
    told = gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    answers = await asyncio.gather(told, *(gateway.post() for _ in range(5)))

    assert [answer.status_code for answer in answers] == [200, *[201] * 5]
    assert (await gateway.task(task["id"]))["state"] == "succeeded"
    await has_gone_through_the_queue(gateway, upstream)
    assert (await gateway.http.get("/readyz")).status_code == 200
    assert await serving.end() == 0
