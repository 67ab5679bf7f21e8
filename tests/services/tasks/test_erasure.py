"""Erasing while others write: who comes first, nothing that was said is left."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from app.domain.errors import ClientErasedError, NotErasableError, TaskErasedError
from app.services.clients.known_keys import KEPT
from app.services.services import Services
from app.services.tasks import erasure, waiters
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import OPERATOR, Gateway
from tests.services.callers import Caller, listening
from tests.services.stage import ask
from tests.services.tasks.test_retention import BELOW, count, deliver, pass_days, settled
from tests.services.world import DRAFT
from tests.stage import eventually
from tests.upstream import Upstream, failed, succeeded


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[Caller]:
    async with listening() as caller:
        yield caller


@pytest_asyncio.fixture
async def gateway(start_shared: StartGateway) -> Gateway:
    return await start_shared(delivery_allow_loopback=True)


@pytest_asyncio.fixture
async def services(wire: Wire) -> Services:
    return await wire(delivery_allow_loopback=True)


@pytest_asyncio.fixture
async def other(dsn: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A transaction of somebody else's."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("BEGIN")
    yield connection
    await connection.close()


async def waits_for(sql: Any, query: str) -> None:
    """Wait until a statement of that kind waits for a lock."""

    async def look() -> bool | None:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return await sql.fetchval(f"{waiting} AND query ILIKE $1", f"%{query}%") > 0 or None

    await eventually(look)


async def client_of(sql: Any) -> UUID:
    found: UUID = await sql.fetchval("SELECT id FROM clients")
    return found


async def test_a_callback_that_came_first_goes_too(
    gateway: Gateway,
    services: Services,
    upstream: Upstream,
    sql: Any,
    other: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    task = await settled(gateway, upstream)
    task_id = UUID(task["id"])
    await other.execute("SELECT FROM tasks WHERE id = $1 FOR UPDATE", task_id)
    erasing = asyncio.create_task(services.erasure.task(await client_of(sql), task_id))
    await waits_for(sql, "FOR UPDATE")
    await other.execute(
        "INSERT INTO callbacks (id, task_id, source, body, headers, signature, verdict)"
        " VALUES (gen_random_uuid(), $1, 'callback', 'late', '{}', 'unchecked', 'unverified')",
        task_id,
    )
    await other.execute("COMMIT")
    await erasing
    assert await count(sql, "tasks", "callbacks", "erased_tasks") == [0, 0, 1]


async def test_a_callback_that_waited_for_the_erasure_keeps_nothing(
    gateway: Gateway,
    upstream: Upstream,
    sql: Any,
    other: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    task = await settled(gateway, upstream)
    task_id = UUID(task["id"])
    await other.execute("SELECT FROM tasks WHERE id = $1 FOR UPDATE", task_id)
    late = asyncio.create_task(
        gateway.call_back(upstream.callback_path, failed(task["kie_task_id"]))
    )
    await waits_for(sql, "FOR UPDATE")
    client_id = await client_of(sql)
    await other.execute(
        "INSERT INTO erased_tasks (id, client_id) VALUES ($1, $2)", task_id, client_id
    )
    await other.execute("DELETE FROM callbacks")
    await other.execute("DELETE FROM tasks")
    await other.execute("COMMIT")
    assert (await late).status_code == 200
    again = await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    assert again.status_code == 200
    assert await count(sql, "callbacks", "task_events", "deliveries") == [0, 0, 0]
    page = (await gateway.http.get("/metrics")).text
    assert 'kie_gateway_callbacks_not_kept_total{reason="erased"} 2.0' in page


async def test_a_create_that_waited_for_the_erasure_of_its_key_pays_nothing(
    gateway: Gateway,
    upstream: Upstream,
    sql: Any,
    other: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    assert (await gateway.post(key="order-1")).status_code == 201
    await sql.execute("UPDATE tasks SET state = 'canceled', finished_at = now()")
    await other.execute(
        "INSERT INTO erased_tasks (id, client_id, key_digest) SELECT id, client_id,"
        " sha256(convert_to(client_id::text || ':order-1', 'UTF8')) FROM tasks"
    )
    await other.execute("DELETE FROM tasks")
    repeat = asyncio.create_task(gateway.post(key="order-1"))
    await waits_for(sql, "INSERT INTO tasks")
    await other.execute("COMMIT")
    refused = await repeat
    assert (refused.status_code, refused.json()["code"]) == (410, "task_erased")
    assert await count(sql, "tasks") == [0]
    assert len(upstream.creates) == 1


async def test_a_delivery_under_way_leaves_nothing(
    gateway: Gateway, services: Services, upstream: Upstream, caller: Caller, sql: Any
) -> None:
    task = await settled(gateway, upstream, webhook_url=caller.url)
    (due,) = (await sql.fetch("SELECT id FROM deliveries"))[:1]
    caller.says(500)
    await services.deliverer.deliver_due()  # claimed, and on its way
    await services.erasure.task(await client_of(sql), UUID(task["id"]))
    await services.deliverer.drain()
    assert await count(sql, "tasks", *BELOW[:4], "failing_urls") == [0] * 6
    assert due["id"] is not None
    assert (await gateway.http.get("/v1/deliveries")).json()["data"] == []


async def test_a_query_under_way_leaves_nothing(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await settled(gateway, upstream)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_: str) -> None:
        asked.set()
        await go_on.wait()

    upstream.on_query = hold
    upstream.has(task["kie_task_id"], succeeded(task["kie_task_id"]))
    await sql.execute("UPDATE tasks SET due_at = now()")
    await services.poller.poll_due()
    await asked.wait()
    await services.erasure.task(await client_of(sql), UUID(task["id"]))
    go_on.set()
    await services.poller.drain()
    assert await count(sql, "tasks", *BELOW[:3]) == [0] * 4


async def test_who_waits_is_let_go(
    start_gateway: StartGateway,
    upstream: Upstream,
    sql: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiters, "POLL", 3600.0)  # nothing but the erasure wakes
    gateway = await start_gateway()
    running = await gateway.create()
    done = await settled(gateway, upstream)
    waiting = asyncio.create_task(
        gateway.http.post(
            "/v1/tasks/wait",
            json={"ids": [running["id"], done["id"]], "mode": "all", "timeout": 50},
        )
    )

    async def is_waited_for() -> bool | None:
        page = (await gateway.http.get("/metrics")).text
        return 'kie_gateway_held{kind="wait"} 1.0' in page or None

    await eventually(is_waited_for)
    await sql.execute(
        "UPDATE tasks SET state = 'canceled', finished_at = now() WHERE id = $1",
        UUID(running["id"]),
    )
    assert (await gateway.http.delete(f"/v1/tasks/{running['id']}")).status_code == 204
    async with asyncio.timeout(30):
        answer = await waiting
    assert (answer.status_code, answer.json()["code"]) == (410, "task_erased")


async def test_a_stream_of_an_erased_task_ends(gateway: Gateway, sql: Any) -> None:
    task = await gateway.create()
    url = f"/v1/tasks/{task['id']}/events"
    async with gateway.http.stream("GET", url, headers={"Accept": "text/event-stream"}) as stream:
        lines = stream.aiter_lines()
        while (await anext(lines)) != "event: task.running":
            pass
        await sql.execute("UPDATE tasks SET state = 'canceled', finished_at = now()")
        assert (await gateway.http.delete(f"/v1/tasks/{task['id']}")).status_code == 204
        async with asyncio.timeout(30):
            assert [line async for line in lines if line.startswith("event:")] == []
    gone = await gateway.http.get(url)
    assert (gone.status_code, gone.json()["code"]) == (410, "task_erased")


async def test_a_cursor_at_an_erased_event_stays_good_as_long_as_the_tombstone(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    first = await settled(gateway, upstream)
    await services.numbering.number()
    *_, last = (await gateway.http.get("/v1/events")).json()["data"]
    await services.erasure.task(await client_of(sql), UUID(first["id"]))
    second = await settled(gateway, upstream)
    await services.numbering.number()
    answer = (await gateway.http.get(f"/v1/events?after={last['id']}")).json()
    assert {event["task_id"] for event in answer["data"]} == {second["id"]}
    places = await sql.fetchval("SELECT count(*) FROM feed")
    await pass_days(sql, 89)
    await services.retainer.retain()
    assert await count(sql, "erased_tasks", "feed") == [1, places]
    await pass_days(sql, 2)
    await services.retainer.retain()
    assert await count(sql, "erased_tasks", "tasks", "feed") == [0, 0, 1]


# -- a client


async def test_a_client_with_open_tasks_is_erased_once_they_have_ended(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    await settled(gateway, upstream)
    running = await gateway.create()
    path = upstream.callback_path
    await sql.execute("UPDATE kie_account SET paused_at = now()")
    await gateway.create()
    with pytest.raises(NotErasableError, match="1 queued, 1 running"):
        await services.erasure.client(OPERATOR, "tests")
    assert await sql.fetchval("SELECT erasing_at FROM clients") is None
    assert (await gateway.http.get("/v1/tasks")).status_code == 200

    erased = await services.erasure.client(OPERATOR, "tests", cancel=True)
    assert (erased.tasks, erased.left) == (2, {"running": 1})
    async with asyncio.timeout(0.8 * KEPT):  # the key is forgotten at the notification
        while (answer := await gateway.http.get("/v1/tasks")).status_code == 200:
            pass
    assert answer.json()["code"] == "client_disabled"
    with pytest.raises(ClientErasedError):
        await services.keys.create("tests")
    assert await services.erasure.resume() == 0  # kie.ai has it still
    await gateway.call_back(path, succeeded(running["kie_task_id"]))
    await services.retainer.retain()
    assert await count(sql, "tasks", *BELOW, "api_keys", "queue_sizes") == [0] * 8
    assert await sql.fetchval("SELECT erased_at FROM clients") is not None
    noted = await sql.fetch("SELECT action, client, detail FROM audit_entries ORDER BY id DESC")
    assert [(row["action"], row["client"]) for row in noted[:2]] == [
        ("client_erased", "tests"),
        ("client_erasing", "tests"),
    ]
    assert json.loads(noted[0]["detail"]) == {"tasks": "3"}
    again = await services.erasure.client(OPERATOR, "tests")
    assert (again.tasks, again.left) == (0, {})
    with pytest.raises(ClientErasedError):
        await services.keys.create("tests")


async def test_an_erasure_that_was_broken_off_is_finished_by_the_loop(
    gateway: Gateway,
    services: Services,
    upstream: Upstream,
    sql: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(3):
        await settled(gateway, upstream)
    monkeypatch.setattr(erasure, "BATCH", 1)

    class KilledError(Exception):
        pass

    def die(gone: int) -> None:
        raise KilledError(gone)

    with pytest.raises(KilledError, match="1"):
        await services.erasure.client(OPERATOR, "tests", progress=die)
    assert await count(sql, "tasks", "erased_tasks") == [2, 1]
    await services.retainer.retain()
    assert await count(sql, "tasks", "erased_tasks") == [0, 3]
    assert await sql.fetchval("SELECT erased_at FROM clients") is not None


async def test_a_create_that_slipped_in_is_erased_as_well(
    gateway: Gateway, services: Services, sql: Any
) -> None:
    await services.erasure.client(OPERATOR, "tests")
    # A request whose key was checked before the client was marked.
    await services.creates.create(await client_of(sql), DRAFT, None)
    await services.submitter.drain()
    assert await count(sql, "tasks") == [1]
    await services.retainer.retain()
    assert await count(sql, "tasks") == [0]
    assert gateway is not None


async def test_an_erased_task_is_erased_for_good(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await settled(gateway, upstream)
    await ask(services)
    client_id, task_id = await client_of(sql), UUID(task["id"])
    for _ in range(2):
        await services.erasure.task(client_id, task_id)
    with pytest.raises(TaskErasedError):
        await services.reader.task(client_id, task_id)
    assert await count(sql, "erased_tasks") == [1]
    await deliver(services)
