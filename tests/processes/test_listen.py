"""`kie-gateway listen` beside a real `serve`: what a developer of a receiver sees."""

import base64
import json
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from tests.database import emptied
from tests.gateway import Gateway
from tests.processes.conftest import At, Connection, Start
from tests.processes.stage import PATIENCE, Running, Stage
from tests.stage import eventually
from tests.upstream import Upstream, failed, succeeded

SECRET = "whsec_" + base64.b64encode(b"a signing secret of the tests' own").decode()
OTHER = "whsec_" + base64.b64encode(b"another secret, somebody else's..").decode()


@pytest_asyncio.fixture(scope="module")
async def serving_url(stage: Stage, sql_connection: Connection) -> AsyncIterator[str]:
    near = {
        "GATEWAY_DELIVERY_ALLOW_LOOPBACK": "true",
        "GATEWAY_DELIVERY_SCHEDULE": "[0, 0.2, 0.2]",
    }
    async with stage.running("serve", **near) as serving:
        yield await serving.ready()
    await emptied(sql_connection)


@pytest_asyncio.fixture
async def gateway(serving_url: str, at: At, upstream: Upstream) -> Gateway:  # noqa: ARG001  # reset
    return await at(serving_url)


@pytest_asyncio.fixture
async def secret(stage: Stage, gateway: Gateway) -> str:  # noqa: ARG001  # it makes the client
    issued = (await stage.run("keys", "create", "tests", "--json")).json
    stage.secrets.update((issued["api_key"], issued["signing_secret"]))
    found: str = issued["signing_secret"]
    return found


async def _told(gateway: Gateway, upstream: Upstream, url: str, **members: Any) -> str:
    """Have a task end of which the URL is to be told; returns its id."""
    task = await gateway.create(webhook_url=f"{url}/any/path")
    body = {**succeeded(task["kie_task_id"]), **members}
    await gateway.call_back(upstream.callback_path, body)
    return str(task["id"])


async def test_a_delivery_arrives_and_verifies(
    start: Start, gateway: Gateway, upstream: Upstream, secret: str
) -> None:
    listening = await start("listen", "--port", "0", KIE_GATEWAY_SIGNING_SECRET=secret)
    task_id = await _told(gateway, upstream, await listening.url())

    said = await listening.says(task_id)

    (line,) = [line for line in said.splitlines() if task_id in line]
    state, event, told_of, message, answered = line.split("  ")
    assert (state, event, told_of) == ("verified", "task.succeeded", task_id)
    assert answered == "answered 200"

    async def delivered() -> dict[str, Any] | None:
        found = (await gateway.http.get(f"/v1/tasks/{task_id}/deliveries")).json()["data"][0]
        return found if found["state"] == "delivered" else None

    shown = await eventually(delivered, PATIENCE)
    assert shown["webhook_id"] == message == f"msg_{UUID(shown['id']).hex}"
    assert await listening.end(signal.SIGINT) == 0
    assert "Traceback" not in listening.said


@pytest.mark.long
async def test_a_wrong_secret_is_told_and_what_comes_again_too(
    start: Start, gateway: Gateway, upstream: Upstream
) -> None:
    listening = await start("listen", "--port", "0", "--count", "2", "--secret", OTHER)
    await _told(gateway, upstream, await listening.url())

    assert await listening.ended() == 1

    lines = listening.said.splitlines()
    wrong = [line for line in lines if "WRONG SIGNATURE (no matching signature found)" in line]
    assert len(wrong) == 2
    assert all(line.endswith("answered 401") for line in wrong)
    assert lines[-1] == "2 did not verify: is it this client's secret?"


@pytest.mark.long
async def test_as_json_with_another_answer_until_it_is_given_up(
    start: Start, gateway: Gateway, upstream: Upstream, secret: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{secret}\n")
    listening = await start(
        *("listen", "--port", "0", "--json", "--status", "503", "--count", "3"),
        *("--secret-file", str(file)),
    )
    task = await gateway.create(webhook_url=await listening.url())
    upstream.records[task["kie_task_id"]] = failed(task["kie_task_id"])
    await gateway.call_back(upstream.callback_path, failed(task["kie_task_id"]))

    assert await listening.ended() == 0

    told = [json.loads(line) for line in listening.said.splitlines() if line.startswith("{")]
    assert [one["verified"] for one in told] == [True] * 3
    assert [one["repeated"] for one in told] == [False, True, True]
    assert {one["status"] for one in told} == {503}
    assert len({one["webhook_id"] for one in told}) == 1
    assert told[0]["body"] == told[2]["body"]
    assert told[0]["body"]["type"] == "task.failed"
    assert told[0]["body"]["data"] == await gateway.task(task["id"]) | {
        name: told[0]["body"]["data"][name]
        for name in ("confirmed", "confirmed_at", "updated_at", "version")
    }


# -- what anybody may send to it


async def _post(listening: Running, body: bytes, **headers: str) -> int:
    async with httpx.AsyncClient(base_url=await listening.url(), trust_env=False) as http:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await http.post("/", content=body, headers=named)).status_code


def _signed(body: bytes) -> dict[str, str]:
    now = datetime.now(UTC)  # noqa: TID251  # the receiver goes by the clock
    return {
        "webhook_id": "msg_1",
        "webhook_timestamp": str(int(now.timestamp())),
        "webhook_signature": Webhook(SECRET).sign("msg_1", now, body.decode()),
    }


async def test_whatever_comes_is_told_on_one_line(start: Start) -> None:
    listening = await start("listen", "--port", "0", "--secret", SECRET)
    odd = json.dumps({"type": "\x1b[31mred\r\n", "data": []}).encode()
    assert await _post(listening, odd, **_signed(odd)) == 200
    assert await _post(listening, b"no json", **_signed(b"no json")) == 200
    assert await _post(listening, b"{}") == 401
    assert await _post(listening, b"\xff\x00") == 401
    assert await _post(listening, b"{}", **_signed(b"{ }")) == 401
    assert await _post(listening, b"{}", **{**_signed(b"{}"), "webhook_signature": "v1"}) == 401
    assert await _post(listening, b"{}", **{**_signed(b"{}"), "webhook_timestamp": "1"}) == 401
    said = await listening.says("too old")

    lines = [line for line in said.splitlines() if "answered" in line]
    assert len(lines) == 7
    assert "\x1b" not in said
    assert "missing required headers" in lines[2]
    assert "the body is not utf-8" in lines[3]
    assert "no matching signature" in lines[4]
    assert "unreadable signature headers" in lines[5]
    assert await listening.end() == 1  # something was wrong


NO_SECRET = {
    "the signing secret is missing: --secret, --secret-file or KIE_GATEWAY_SIGNING": (),
    "should be whsec_ and base64": ("--secret", "whsec_"),
    "should be whsec_ and base64, as": ("--secret", "whsec_é"),
    "--secret-file: No such file": ("--secret-file", "nothing-here"),
}


async def test_without_a_usable_secret(stage: Stage) -> None:
    found = await stage.run_each(
        [("listen", "--port", "0", *given) for given in NO_SECRET.values()]
    )

    for ended, said in zip(found, NO_SECRET, strict=True):
        assert ended.said(said, status=2), ended


@pytest.mark.long
async def test_a_port_in_use(stage: Stage, start: Start) -> None:
    listening = await start("listen", "--port", "0", "--secret", SECRET)
    port = (await listening.url()).rpartition(":")[2]

    ended = await stage.run("listen", "--port", port, "--secret", SECRET)

    assert ended.said(f"cannot listen on 127.0.0.1:{port}: Address already in use", status=1), ended


async def test_bad_arguments(stage: Stage) -> None:
    wrong = [("--status", "199"), ("--count", "0"), ("--port", "65536")]

    found = await stage.run_each([("listen", "--secret", SECRET, *given) for given in wrong])

    for ended, (name, _) in zip(found, wrong, strict=True):
        assert ended.status == 2, ended
        assert name in ended.err
        assert "Traceback" not in ended.err
