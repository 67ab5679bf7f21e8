"""Too much under way: whoever has most of it is refused, and nobody else."""

import asyncio
import json
from collections.abc import Collection
from contextlib import AsyncExitStack
from secrets import token_hex
from typing import Any
from uuid import UUID

import pytest

from app.domain.errors import OverloadedError
from app.services import metrics
from app.services.tasks.read import Reader
from app.store.connections.engine import Connection
from app.store.tasks import rows
from tests.api.conftest import IssueKey
from tests.api.stage import Refusal, check_refusal, dialled, head_of
from tests.fixtures.gateway import StartGateway
from tests.gateway import BODY, Gateway
from tests.scrape import samples
from tests.stage import eventually
from tests.upstream import Upstream, succeeded

OVERLOADED = Refusal(status=429, code="overloaded", says="under way")
TOO_MANY = Refusal(status=422, code="too_many_values", pointer="", says="1000 JSON values")


async def under_way(gateway: Gateway, name: str = "requests_under_way") -> float:
    page = await gateway.http.get("/metrics")
    return samples(page.text)[f"kie_gateway_{name}"]


async def half_sent(stack: AsyncExitStack, gateway: Gateway, size: int = 1) -> Any:
    """Begin a create whose body does not end."""
    fields = (f"Authorization: Bearer {gateway.api_key}", "Transfer-Encoding: chunked")
    line = await stack.enter_async_context(dialled(gateway.http.base_url))
    line.writer.write(head_of("POST", "/v1/tasks", *fields))
    line.writer.write(f"{size:x}\r\n".encode() + b" " * size + b"\r\n")
    return line


async def test_the_noisy_are_refused_and_nobody_else(
    start_gateway: StartGateway, upstream: Upstream, new_key: IssueKey
) -> None:
    gateway = await start_gateway(max_concurrent_requests=10)
    headers = {"Authorization": f"Bearer {await new_key('quiet')}"}
    task = await gateway.create()
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await half_sent(stack, gateway)

        async def all_came() -> bool | None:
            return await under_way(gateway) == 10 or None

        await eventually(all_came)
        answer = await gateway.http.get("/v1/tasks")
        check_refusal(answer, OVERLOADED)
        assert answer.headers["Retry-After"] == "1"
        envelope = await gateway.http.get("/api/v1/jobs/recordInfo", params={"taskId": "x"})
        assert envelope.json()["code"] == 429
        assert (await gateway.http.get("/v1/tasks", headers=headers)).status_code == 200
        assert (await gateway.http.post("/v1/tasks", json=BODY, headers=headers)).is_success
        assert (await gateway.http.get("/readyz")).status_code == 200
        said = succeeded(task["kie_task_id"])
        assert (await gateway.call_back(upstream.callback_path, said)).status_code == 200
        assert await under_way(gateway, "requests_overloaded_total") == 2
    await eventually(lambda: _nothing(gateway))
    assert (await gateway.http.get("/v1/tasks")).status_code == 200


async def _nothing(gateway: Gateway) -> bool | None:
    requests, size = await under_way(gateway), await under_way(gateway, "bytes_under_way")
    return True if requests == size == 0 else None


async def test_bytes_count_as_they_come(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_bytes_in_flight=1_048_576)
    async with AsyncExitStack() as stack:
        first, second = [await half_sent(stack, gateway, 700_000) for _ in range(2)]
        ended = {asyncio.ensure_future(one.answer()) for one in (first, second)}
        done, pending = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = done
        check_refusal(refused.result(), OVERLOADED)
        for one in pending:
            one.cancel()
    await eventually(lambda: _nothing(gateway))


async def test_who_only_waits_is_not_counted(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_concurrent_requests=10)
    task = await gateway.create()
    waits = [asyncio.create_task(gateway.task(task["id"], wait=20)) for _ in range(30)]
    await asyncio.wait(waits, timeout=0)
    await eventually(lambda: _nothing(gateway))
    assert (await gateway.http.get("/v1/tasks")).status_code == 200
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


async def test_values_are_bounded_and_texts_are_not(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_json_values=1000)
    answer = await gateway.http.post("/v1/tasks", json={**BODY, "input": {"n": [1] * 1000}})
    check_refusal(answer, TOO_MANY)
    drop_in = await gateway.http.post(
        "/api/v1/jobs/createTask", json={"model": "m", "input": {"n": [{}] * 1000}}
    )
    assert drop_in.json()["code"] == 413
    await gateway.create(input={"prompt": '",[{' * 100_000})


async def test_kie_ai_may_say_as_much_as_it_likes(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    gateway = await start_gateway(max_json_values=1000, max_bytes_in_flight=1_048_576)
    task = await gateway.create()
    said = succeeded(task["kie_task_id"], filler=[[]] * 100_000)
    assert (await gateway.call_back(upstream.callback_path, said)).status_code == 200
    assert (await gateway.task(task["id"]))["state"] == "succeeded"


async def test_metrics_are_written_once_a_second_for_all(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "SHARED", 60.0)
    pages = await asyncio.gather(*(gateway.http.get("/metrics") for _ in range(8)))
    assert len({page.content for page in pages}) == 1
    monkeypatch.setattr(metrics, "SHARED", 0.0)
    assert (await gateway.http.get("/metrics")).content != pages[0].content


async def test_a_create_that_is_stored_is_never_denied(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is too much while it is read back: a 4xx says that there is no task."""

    async def too_much(*_: object) -> None:
        raise OverloadedError(OVERLOADED.says)

    monkeypatch.setattr(Reader, "task", too_much)
    answer = await gateway.http.post("/v1/tasks", json=BODY)
    assert answer.status_code == 201
    monkeypatch.undo()
    assert (await gateway.task(answer.json()["id"]))["id"] == answer.json()["id"]


@pytest.mark.parametrize("which", ["input", "result"])
async def test_a_wait_has_the_whole_of_a_large_task(
    gateway: Gateway, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """The look that wakes all who wait reads no large document; who waits reads its own."""
    large = {"text": token_hex(20_000)}
    looked: list[Any] = []
    asked = asyncio.Event()
    read, read_first = rows.read_finished, rows.read_many

    async def read_finished(connection: Connection, ids: Collection[UUID]) -> Any:
        found = await read(connection, ids)
        looked.extend(found)
        return found

    async def read_many(connection: Connection, **which: Any) -> Any:
        asked.set()
        return await read_first(connection, **which)

    monkeypatch.setattr(rows, "read_finished", read_finished)
    monkeypatch.setattr(rows, "read_many", read_many)
    task = await gateway.create(**({"input": large} if which == "input" else {}))
    wait = asyncio.create_task(gateway.task(task["id"], wait=20))
    await asked.wait()
    await eventually(lambda: _nothing(gateway))  # nothing large is held meanwhile
    result = {"resultJson": json.dumps({"resultObject": large})} if which == "result" else {}
    said = succeeded(task["kie_task_id"], **result)
    assert (await gateway.call_back(upstream.callback_path, said)).status_code == 200
    ended = await wait
    assert ended == await gateway.task(task["id"])
    assert ended["state"] == "succeeded"
    assert large in (ended["input"], ended["result"].get("resultObject"))
    assert {row[which] for row in looked} == {None}
