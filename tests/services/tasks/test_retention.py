"""What is old goes, with everything below it, and nothing else does."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from app.domain.task import FINAL, State
from app.services.services import Services
from app.services.tasks import retention
from app.wiring import new_id
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import Gateway
from tests.services.callers import Caller, listening
from tests.services.stage import ask
from tests.store.stage import put_client, put_task
from tests.upstream import Upstream, failed, succeeded

DAY = 86_400
AGED: Mapping[str, tuple[str, ...]] = {
    "tasks": ("created_at", "finished_at", "updated_at", "due_at"),
    "callbacks": ("received_at",),
    "deliveries": ("created_at", "finished_at", "due_at"),
    "erased_tasks": ("erased_at",),
}
BELOW = ("task_events", "callbacks", "deliveries", "delivery_attempts", "feed")


async def pass_days(sql: Any, days: float) -> None:
    for table, columns in AGED.items():
        past = ", ".join(f"{name} = {name} - make_interval(secs => $1)" for name in columns)
        await sql.execute(f"UPDATE {table} SET {past}", days * DAY)  # noqa: S608  # as below


async def count(sql: Any, *tables: str) -> list[int]:
    return [
        await sql.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608  # our own names
        for table in tables
    ]


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[Caller]:
    async with listening() as caller:
        yield caller


@pytest_asyncio.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    return await start_gateway(delivery_allow_loopback=True)


@pytest_asyncio.fixture
async def services(wire: Wire) -> Services:
    return await wire(delivery_allow_loopback=True)


async def settled(gateway: Gateway, upstream: Upstream, **members: Any) -> dict[str, Any]:
    task = await gateway.create(**members)
    answer = await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    assert answer.status_code == 200
    return await gateway.task(task["id"])


async def deliver(services: Services) -> None:
    await services.deliverer.deliver_due()
    await services.deliverer.drain()


async def test_an_old_task_goes_with_everything_below_it(
    gateway: Gateway, services: Services, upstream: Upstream, caller: Caller, sql: Any
) -> None:
    old = await settled(gateway, upstream, webhook_url=caller.url)
    path = upstream.callback_path
    await deliver(services)
    await ask(services)  # confirmed: nothing is owed
    await services.numbering.number()
    await pass_days(sql, 89.9)
    young = await settled(gateway, upstream, webhook_url=caller.url)
    await deliver(services)
    await services.numbering.number()
    before = await count(sql, "tasks", *BELOW)
    await services.retainer.retain()
    assert await count(sql, "tasks", *BELOW) == before  # only bodies were emptied

    await pass_days(sql, 0.2)
    (cursor,) = (await gateway.http.get("/v1/events?limit=1")).json()["data"]
    assert cursor["task_id"] == old["id"]
    await services.retainer.retain()
    assert [row["id"] for row in await sql.fetch("SELECT id FROM tasks")] == [UUID(young["id"])]
    for table in ("task_events", "callbacks", "deliveries"):
        ids = await sql.fetch(f"SELECT DISTINCT task_id FROM {table}")  # noqa: S608  # as above
        assert [row["task_id"] for row in ids] == [UUID(young["id"])], table
    assert await count(sql, "delivery_attempts") == [1]
    assert await sql.fetchval("SELECT count(*) FROM feed") == await sql.fetchval(
        "SELECT count(*) FROM task_events"
    )
    page = await services.metrics_page.page()
    assert b'kie_gateway_deleted_total{kind="tasks"} 1.0' in page

    # A reader whose place is gone is told so, and begins again.
    lost = await gateway.http.get(f"/v1/events?after={cursor['id']}")
    assert (lost.status_code, lost.json()["code"]) == (410, "cursor_lost")
    assert {one["task_id"] for one in (await gateway.http.get("/v1/events")).json()["data"]} == {
        young["id"]
    }
    assert (await gateway.http.get(f"/v1/tasks/{old['id']}")).status_code == 404
    # So old a callback URL has ended: nothing is kept of what comes.
    answer = await gateway.call_back(path, failed(old["kie_task_id"]))
    assert answer.status_code == 200  # its id is young: the days passed in the database only
    assert await sql.fetchval("SELECT verdict FROM callbacks WHERE task_id = $1", UUID(old["id"]))
    await pass_days(sql, 15)
    await services.retainer.retain()
    assert (
        await sql.fetchval("SELECT count(*) FROM callbacks WHERE task_id = $1", UUID(old["id"]))
        == 0
    )


async def test_the_reader_of_a_quiet_feed_keeps_its_place(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    await settled(gateway, upstream)
    await services.numbering.number()
    await ask(services)
    *_, last = (await gateway.http.get("/v1/events")).json()["data"]
    await pass_days(sql, 91)
    await services.retainer.retain()
    assert await count(sql, "tasks", "task_events", "feed") == [0, 0, 1]
    answer = await gateway.http.get(f"/v1/events?after={last['id']}")
    assert (answer.status_code, answer.json()["data"]) == (200, [])


@pytest.mark.parametrize("state", sorted(State))
async def test_only_final_tasks_go(services: Services, sql: Any, state: State) -> None:
    client = await put_client(sql)
    ago = -100.0 * DAY
    at = {"created_at": ago} | ({"finished_at": ago} if state in FINAL else {"expires_at": 60})
    await put_task(sql, client, state, at=at, id=new_id())
    await services.retainer.retain()
    assert await count(sql, "tasks") == [0 if state in FINAL else 1]


async def test_what_is_in_hand_or_to_be_delivered_stays(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    tasks = [await settled(gateway, upstream, webhook_url="https://h.test/") for _ in range(3)]
    await sql.execute("UPDATE tasks SET due_at = NULL")
    await pass_days(sql, 91)
    ids = [UUID(task["id"]) for task in tasks]
    await sql.execute(
        "UPDATE deliveries SET state = 'exhausted', due_at = NULL, finished_at = now()"
        " WHERE task_id <> $1",
        ids[0],
    )
    await sql.execute("UPDATE tasks SET leased_until = now() + '1 min' WHERE id = $1", ids[1])
    await services.retainer.retain()
    left = await sql.fetch("SELECT id FROM tasks ORDER BY id")
    assert [row["id"] for row in left] == sorted(ids[:2])


async def test_raw_bodies_go_sooner_and_what_was_read_of_them_stays(
    gateway: Gateway, services: Services, upstream: Upstream, caller: Caller, sql: Any
) -> None:
    caller.says(500)
    task = await settled(gateway, upstream, webhook_url=caller.url)
    await deliver(services)
    caller.says(200)
    await sql.execute("UPDATE deliveries SET due_at = now()")
    await deliver(services)
    await ask(services)
    before = await gateway.callbacks(task["id"])
    await pass_days(sql, 13)
    await services.retainer.retain()
    assert await gateway.callbacks(task["id"]) == [
        {**one, "received_at": now["received_at"]}
        for one, now in zip(before, await gateway.callbacks(task["id"]), strict=True)
    ]
    await pass_days(sql, 2)
    await services.retainer.retain()
    after = await gateway.callbacks(task["id"])
    for one, then in zip(after, before, strict=True):
        assert (one["raw"], one["headers"]) == ("", {})
        assert one["raw_deleted_at"] is not None
        read = ("verdict", "sha256", "size", "kie_state", "result", "credits_consumed")
        assert [one[name] for name in read] == [then[name] for name in read]
        assert one["size"] > 0
    bodies = "SELECT octet_length(body) FROM deliveries UNION SELECT octet_length(answer) FROM"
    assert {row[0] for row in await sql.fetch(f"{bodies} delivery_attempts")} == {0}
    (told,) = (await gateway.http.get("/v1/deliveries")).json()["data"]
    assert [one["status"] for one in told["attempts"]] == [500, 200]
    refused = await gateway.http.post(f"/v1/deliveries/{told['id']}/redeliver")
    assert (refused.status_code, refused.json()["code"]) == (410, "body_deleted")
    many = await gateway.http.post(
        "/v1/deliveries/redeliver", json={"created_after": "2020-01-01T00:00:00Z"}
    )
    assert many.json()["data"] == []
    assert (await gateway.task(task["id"]))["result"] == task["result"]


async def test_the_body_of_an_open_task_stays(services: Services, sql: Any) -> None:
    client = await put_client(sql)
    task_id = await put_task(sql, client, State.RUNNING)
    await sql.execute(
        "INSERT INTO callbacks (id, task_id, source, received_at, body, headers, signature,"
        " verdict) VALUES ($1, $2, 'callback', now() - interval '20 days', 'held', '{}',"
        " 'unchecked', 'held')",
        *(new_id(), task_id),
    )
    await services.retainer.retain()
    assert await sql.fetchval("SELECT body FROM callbacks") == b"held"


async def test_one_process_at_a_time_deletes(services: Services, sql: Any) -> None:
    client = await put_client(sql)
    await put_task(sql, client, State.FAILED, at={"finished_at": -91.0 * DAY})
    await sql.execute("BEGIN")
    assert await sql.fetchval("SELECT pg_try_advisory_xact_lock($1)", 0x6B67_7265)
    assert await services.retainer.retain() is None
    await sql.execute("ROLLBACK")
    assert await count(sql, "tasks") == [1]
    await services.retainer.retain()
    assert await count(sql, "tasks") == [0]


async def test_batches_are_bounded_and_a_locked_row_is_passed_over(
    services: Services, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    client = await put_client(sql)
    ids = [
        await put_task(sql, client, State.FAILED, at={"finished_at": (number - 100.0) * DAY})
        for number in range(4)
    ]
    await sql.execute("BEGIN")
    await sql.execute("SELECT FROM tasks WHERE id = $1 FOR UPDATE", ids[0])
    rest = await services.retainer.retain()
    assert rest is not None
    assert rest >= retention.LEAST_REST
    await sql.execute("COMMIT")
    left = {row["id"] for row in await sql.fetch("SELECT id FROM tasks")}
    assert left == {ids[0], ids[3]}


async def test_nothing_goes_where_everything_is_kept(wire: Wire, sql: Any) -> None:
    services = await wire(retention_days=0, raw_retention_days=0)
    client = await put_client(sql)
    await put_task(sql, client, State.FAILED, at={"finished_at": -4000.0 * DAY})
    assert await services.retainer.retain() is None
    assert await count(sql, "tasks") == [1]
    page = (await services.metrics_page.page()).decode()
    assert 'kie_gateway_retention_lag_seconds{kind="task"} 0.0' in page


async def test_how_much_is_kept_is_shown(services: Services, sql: Any) -> None:
    client = await put_client(sql)
    await put_task(sql, client, State.FAILED, at={"finished_at": -92.0 * DAY})
    shown = (await services.metrics_page.page()).decode().splitlines()
    values = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in shown if line[:1] == "k"
    }
    assert values['kie_gateway_table_bytes{table="tasks"}'] > 0
    assert values['kie_gateway_oldest_seconds{kind="task"}'] == pytest.approx(92 * DAY, abs=60)
    assert values['kie_gateway_retention_lag_seconds{kind="task"}'] == pytest.approx(
        2 * DAY, abs=60
    )
