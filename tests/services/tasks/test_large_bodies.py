"""What comes back from kie.ai is larger than what went out: nothing paid is lost for its size."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.api.bodies import HEAD
from app.store.tasks.callbacks import BODY_READ
from tests.faults.shifting import waking
from tests.fixtures.gateway import StartGateway
from tests.gateway import BODY, Gateway
from tests.stage import eventually
from tests.upstream import Upstream, succeeded

MIB = 1024 * 1024

QUOTES = {"model": BODY["model"], "input": {"prompt": '"' * 300_000}}
"""An input of 0.6 MB that is echoed with every quote escaped three times over: 2.4 MB."""

WORDS = [{"word": "hello", "start": i + 0.25, "end": i + 0.75} for i in range(30_000)]
TRANSCRIPT = {"resultObject": {"text": "hello " * 30_000, "words": WORDS}}


def echo(create: dict[str, Any]) -> str:
    """Write `param` as kie.ai does: the input is JSON text inside JSON text."""
    return json.dumps({**create, "input": json.dumps(create["input"])})


def large(upstream: Upstream, kie_task_id: str) -> dict[str, Any]:
    """A success that echoes the newest create, and has a long transcript."""
    param, result = echo(upstream.creates[-1]), json.dumps(TRANSCRIPT)
    return succeeded(kie_task_id, param=param, resultJson=result)


async def settled(gateway: Gateway, sql: Any, task_id: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        await sql.execute("UPDATE tasks SET due_at = now() WHERE due_at > now()")
        task = await gateway.task(task_id)
        return task if task["finished_at"] else None

    return await eventually(look)


async def test_by_callback(gateway: Gateway, upstream: Upstream) -> None:
    task = await gateway.create(**QUOTES)
    body = json.dumps(large(upstream, task["kie_task_id"]))
    assert len(body) > 3 * MIB
    assert (await gateway.call_back(upstream.callback_path, body.encode())).status_code == 200
    task = await gateway.task(task["id"])
    assert (task["state"], task["result"]) == ("succeeded", TRANSCRIPT)


@pytest.mark.parametrize("public_url", [None, "https://gateway.test"])
async def test_by_query(
    public_url: str | None, start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(worker=True, public_url=public_url)
    task = await gateway.create(**QUOTES)
    upstream.records[task["kie_task_id"]] = large(upstream, task["kie_task_id"])
    task = await settled(gateway, sql, task["id"])
    assert (task["state"], task["result"]) == ("succeeded", TRANSCRIPT)


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), MIB):
        yield body[start : start + MIB]


@pytest.mark.parametrize("announced", [True, False])
async def test_a_callback_beyond_the_bound_is_kept_by_its_head_and_asked_about(
    start_gateway: StartGateway, upstream: Upstream, sql: Any, *, announced: bool
) -> None:
    gateway = await start_gateway(worker=True, kie_max_answer_bytes=MIB)
    task = await gateway.create()
    upstream.records[task["kie_task_id"]] = succeeded(task["kie_task_id"])
    body = json.dumps(succeeded(task["kie_task_id"], more="x" * 9 * MIB)).encode()
    path = "/callbacks/" + upstream.callback_path.split("/callbacks/")[1]
    answer = await gateway.http.post(path, content=body if announced else in_pieces(body))
    assert (answer.status_code, answer.json()) == (200, {"code": 200, "msg": "success"})
    kept = await sql.fetchrow("SELECT body, reason FROM callbacks WHERE source = 'callback'")
    assert kept["body"] == body[:HEAD]
    assert "GATEWAY_KIE_MAX_ANSWER_BYTES" in kept["reason"]
    assert (await settled(gateway, sql, task["id"]))["state"] == "succeeded"
    assert await gateway.verdicts(task["id"]) == ["unreadable", "applied"]


async def test_an_answer_beyond_the_bound_is_none(
    start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(worker=True, kie_max_answer_bytes=MIB)
    task = await gateway.create()
    upstream.records[task["kie_task_id"]] = succeeded(task["kie_task_id"], more="x" * MIB)
    await sql.execute(waking("UPDATE tasks SET due_at = now()", "poll"))

    async def asked() -> bool | None:
        return await sql.fetchval("SELECT tries FROM tasks") or None

    await eventually(asked)
    assert (await gateway.task(task["id"]))["state"] == "running"


async def test_a_wrong_token_is_refused_before_the_body_is_read(gateway: Gateway) -> None:
    url = urlsplit(str(gateway.http.base_url))
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    path = "/callbacks/kie/00000000-0000-0000-0000-000000000000/wrong"
    head = f"POST {path} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {9 * MIB}\r\n\r\n"
    writer.write(head.encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 404 ")
    writer.close()


async def test_what_is_shown_of_a_body_is_bounded_and_hides_half_a_token(
    gateway: Gateway, upstream: Upstream
) -> None:
    task = await gateway.create()
    token = upstream.callback_path.rpartition("/")[2]
    body = b" " * (BODY_READ - 10) + token.encode() * 2
    await gateway.call_back(upstream.callback_path, body)
    (shown,) = await gateway.callbacks(task["id"])
    assert shown["raw"] == " " * (BODY_READ - 4096)
