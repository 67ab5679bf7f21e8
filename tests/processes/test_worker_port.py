"""The worker's own port: whoever runs workers alone can see how they are."""

import re

import httpx
import pytest

from app.config import Settings
from tests.processes.conftest import At, Connection, Start
from tests.processes.stage import Running, Stage
from tests.scrape import labels, samples
from tests.stage import eventually
from tests.upstream import Upstream, refused

PATHS = ("/livez", "/readyz", "/metrics")


async def _get(url: str, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        return await http.get(path)


async def test_a_worker_tells_how_it_is_and_nothing_else(start: Start) -> None:
    working = await start("worker")
    url = await working.ready()

    assert "worker.listening" in working.said
    live, ready, page = [await _get(url, path) for path in PATHS]
    assert live.json() == {"status": "ok", "service": "kie-gateway"}
    assert ready.json()["checks"] == dict.fromkeys(
        ("database", "schema", "admission", "loops"), "ok"
    )
    assert labels(page.text)["kie_gateway_loop_stuck"] == {
        "loop": {
            *("submit", "poll", "deliver", "probe", "sweep", "number", "retain"),
            *("archive", "balance"),
        }
    }
    for path in ("/v1/tasks", "/callbacks/kie/x/y", "/docs", "/openapi.json", "/"):
        answer = await _get(url, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
        assert "x-request-id" in answer.headers
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        refused = await http.get("/livez", headers={"X": "x" * 70_000})
    assert (refused.status_code, refused.json()["code"]) == (431, "headers_too_large")
    assert await working.end() == 0


@pytest.mark.long
async def test_flags_come_before_the_setting(start: Start) -> None:
    working = await start(
        *("worker", "--host", "127.0.0.1", "--port", "0"), GATEWAY_WORKER_LISTEN="256.0.0.1:1"
    )
    assert (await _get(await working.url(), "/livez")).status_code == 200
    assert await working.end() == 0


@pytest.mark.long
async def test_what_a_worker_does_is_counted_there(
    start: Start, at: At, upstream: Upstream
) -> None:
    upstream.answers(lambda: refused(429, "Too many requests"))
    serving, working = await start("serve", "--no-worker"), await start("worker")
    gateway = await at(await serving.ready())
    await gateway.create()
    url = await working.ready()

    async def look() -> float | None:
        found = samples((await _get(url, "/metrics")).text)
        return found['kie_gateway_submissions_total{outcome="refused_busy"}'] or None

    assert await eventually(look) >= 1
    page = samples((await gateway.http.get("/metrics")).text)
    assert page['kie_gateway_submissions_total{outcome="refused_busy"}'] == 1
    assert "kie_gateway_loop_stuck" not in labels((await gateway.http.get("/metrics")).text)


@pytest.mark.long
async def test_it_answers_no_more_once_it_is_told_to_stop(start: Start) -> None:
    working = await start("worker")
    url = await working.ready()

    assert await working.end() == 0

    said = working.said
    for event in ("worker.started", "worker.draining", "worker.stopped"):
        assert event in said
    with pytest.raises(httpx.ConnectError):
        await _get(url, "/livez")


@pytest.mark.long
async def test_a_port_in_use_is_refused_in_one_line(stage: Stage, start: Start) -> None:
    port = await _port(await start("worker"))

    ended = await stage.run("worker", "--host", "127.0.0.1", "--port", port)

    assert ended.said("by --port or GATEWAY_WORKER_LISTEN", status=1), ended


@pytest.mark.long
async def test_the_doctor_asks_running_processes(stage: Stage, start: Start) -> None:
    url = await (await start("worker")).ready()
    nowhere = "http://127.0.0.1:9"

    ended = await stage.run("doctor", "--url", url, "--url", nowhere, GATEWAY_PUBLIC_URL=None)

    assert ended.status == 1
    assert f"{url} is fit for work" in ended.out
    assert f"{nowhere}/readyz answers: " in ended.out


@pytest.mark.long
async def test_the_doctor_sees_work_that_nobody_does(
    stage: Stage, start: Start, at: At, sql: Connection
) -> None:
    """The loops are other processes' affair; what they leave undone is not."""
    gateway = await at(await (await start("serve", "--no-worker")).ready())
    await gateway.create()
    await sql.execute(
        "UPDATE tasks SET expires_at = now() - interval '150 s', due_at = now() - interval '125 s'"
    )

    ended = await stage.run("doctor", GATEWAY_PUBLIC_URL=None)

    assert ended.status == 1
    late = re.search(r"due and not done: poll for (\d+) s, sweep for (\d+) s", ended.out)
    assert late
    assert 125 <= int(late[1]) < int(late[2])
    assert "run `kie-gateway worker`" in ended.out


async def _port(running: Running) -> str:
    return (await running.url()).rpartition(":")[2]


def test_the_setting_is_in_effect() -> None:
    assert Settings.model_fields["worker_listen"].json_schema_extra is None
