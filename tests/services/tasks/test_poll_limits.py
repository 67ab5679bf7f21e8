"""Asking within the account's limit of queries: how many, whose turn it is, and how often."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pydantic import SecretStr

from app.domain.task import State
from app.services.services import Services
from app.worker import at_work, loops
from tests.fixtures.gateway import StartGateway, Wire
from tests.services.stage import ask, due_in, due_now, put_asked, slots_are_free
from tests.stage import eventually
from tests.store.stage import put_client, put_task
from tests.upstream import Upstream, succeeded

# -- the limit


@pytest.mark.parametrize(
    ("rate", "calls", "window", "tasks"), [(8, 8, 1.0, 28), (2.5, 2, 0.8, 9), (0.5, 1, 2.0, 3)]
)
async def test_no_window_sees_more_queries_than_the_limit(
    rate: float, calls: int, window: float, tasks: int, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    """Over two replicas that try all the time; and all that may be asked is asked."""
    replicas = [await wire(kie_queries_per_second=rate) for _ in range(2)]
    client_id = await put_client(sql)
    ids = {f"{number:032x}" for number in range(tasks)}
    for kie_task_id in ids:
        await put_asked(sql, client_id, kie_task_id)

    async def look() -> bool | None:
        await asyncio.gather(*(replica.poller.poll_due() for replica in replicas))
        return len(upstream.queries) >= tasks or None

    await eventually(look, patience=30)
    for replica in replicas:
        await replica.poller.drain()
    assert set(upstream.queries) == ids
    assert len(upstream.queries) == tasks
    came = upstream.queried_at
    for first, beyond in zip(came, came[calls:], strict=False):
        assert beyond - first >= window
    ideal = (tasks - 1) // calls * window
    assert came[-1] - came[0] < 3 * (ideal + 1)


async def test_the_loops_of_two_replicas_ask_about_all(
    wire: Wire, upstream: Upstream, sql: Any
) -> None:
    replicas = [await wire(kie_queries_per_second=8) for _ in range(2)]
    client_id = await put_client(sql)
    ids = {f"{number:032x}" for number in range(20)}
    for kie_task_id in ids:
        await put_asked(sql, client_id, kie_task_id)

    async def look() -> bool | None:
        return len(upstream.queries) >= len(ids) or None

    async with AsyncExitStack() as stack:
        for services in replicas:
            asking = [loop for loop in loops(services) if loop.name == "poll"]
            await stack.enter_async_context(at_work(services, asking))
        await eventually(look)
    assert sorted(upstream.queries) == sorted(ids)


async def test_a_query_under_way_keeps_its_slot(
    wire: Wire, upstream: Upstream, services: Services, sql: Any
) -> None:
    """Its window begins with its answer, however late that is."""
    one = await wire(kie_queries_per_second=1)
    client_id = await put_client(sql)
    for number in range(2):
        await put_asked(sql, client_id, f"{number:032x}")
    assert await one.poller.poll_due() == 0
    rest = await one.poller.poll_due()
    assert rest is not None
    assert rest > 0
    await one.poller.drain()
    rest = await one.poller.poll_due()
    assert rest is not None
    assert 0 < rest <= 1
    assert len(upstream.queries) == 1
    await slots_are_free(sql)
    assert await ask(one) == 0
    assert len(set(upstream.queries)) == 2
    assert await services.poller.poll_due() is not None  # a minute until the next question


async def test_a_slot_of_a_dead_process_comes_free(
    wire: Wire, upstream: Upstream, sql: Any
) -> None:
    dead, living = [await wire(kie_queries_per_second=1) for _ in range(2)]
    await put_asked(sql, await put_client(sql), "1" * 32)
    assert await dead.poller.poll_due() == 0
    for errand in list(dead.poller._in_flight._under_way):
        errand.cancel()
    await dead.poller.drain()
    upstream.queries.clear()
    assert await living.poller.poll_due() != 0
    left = await sql.fetchval(
        "SELECT extract(epoch FROM free_at - clock_timestamp())::float FROM kie_slots"
    )
    assert 30 < left < 120
    await sql.execute("UPDATE tasks SET leased_until = now()")
    await sql.execute("UPDATE kie_slots SET free_at = clock_timestamp()")
    assert await ask(living) == 0
    assert upstream.queries == ["1" * 32]


async def test_one_question_is_one_query_however_many_ids_are_doubted(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    keys = (SecretStr("a-key"),)
    gateway = await start_gateway(kie_webhook_hmac_keys=keys)
    services = await wire(kie_webhook_hmac_keys=keys)
    task = await gateway.create()
    await sql.execute(
        "UPDATE tasks SET state = 'unconfirmed', kie_task_id = NULL,"
        " expires_at = now() + interval '1 hour'"
    )
    for claimed in ("one", "two", "three"):
        await gateway.call_back(upstream.callback_path, succeeded(claimed))
    echo = json.dumps({"callBackUrl": upstream.creates[0]["callBackUrl"]})
    upstream.records["one"] = succeeded("one", param=echo)
    for count in (1, 2, 3):
        assert await ask(services) == 0
        assert len(upstream.queries) == count
        if "one" in upstream.queries:
            break
        await sql.execute("UPDATE tasks SET state = 'running', due_at = now()")
    assert len(set(upstream.queries)) == len(upstream.queries)
    after = await gateway.task(task["id"])
    assert (after["state"], after["kie_task_id"]) == ("succeeded", "one")


# -- whose turn it is


async def test_the_most_useful_question_goes_first(
    wire: Wire, upstream: Upstream, sql: Any
) -> None:
    """Refreshes, open tasks, confirmations, expired ones; the rest waits, however long it has."""
    services = await wire(kie_queries_per_second=1)
    client_id = await put_client(sql)
    await put_asked(sql, client_id, "expired", State.EXPIRED)
    await put_asked(sql, client_id, "confirmation", State.SUCCEEDED)
    await put_asked(sql, client_id, "open, due later")
    await put_asked(sql, client_id, "open, due long since")
    await put_asked(sql, client_id, "refreshed")
    ages = ["refreshed", "open, due later", "open, due long since", "confirmation", "expired"]
    for age, kie_task_id in enumerate(ages):
        await sql.execute(
            "UPDATE tasks SET due_at = now() - make_interval(secs => $1), poll_asap_since ="
            " CASE WHEN kie_task_id = 'refreshed' THEN now() END WHERE kie_task_id = $2",
            float(age),
            kie_task_id,
        )
    for count in range(1, 6):
        assert await ask(services) == 0
        assert len(upstream.queries) == count
        await slots_are_free(sql)
    assert upstream.queries == [
        "refreshed",
        "open, due long since",
        "open, due later",
        "confirmation",
        "expired",
    ]


async def test_a_refresh_overtakes_a_full_queue_of_questions(
    wire: Wire, upstream: Upstream, sql: Any
) -> None:
    services = await wire(kie_queries_per_second=1)
    client_id = await put_client(sql)
    for number in range(5):
        await put_asked(sql, client_id, f"{number:032x}")
    task_id = await put_asked(sql, client_id, "refreshed")
    await sql.execute("UPDATE tasks SET due_at = now() + interval '1 min' WHERE id = $1", task_id)
    async with at_work(services, ()):
        refreshing = asyncio.create_task(services.commands.refresh(client_id, task_id, seconds=50))
        await eventually(lambda: _hastened(sql))
        assert await ask(services) == 0
        await refreshing
    assert upstream.queries == ["refreshed"]
    await slots_are_free(sql)
    await due_now(sql)
    await sql.execute("UPDATE tasks SET due_at = now() - interval '1 min' WHERE id <> $1", task_id)
    assert await ask(services) == 0
    assert upstream.queries[1:] != ["refreshed"]  # once, and no longer before others


async def _hastened(sql: Any) -> bool | None:
    return (
        await sql.fetchval("SELECT count(*) FROM tasks WHERE poll_asap_since IS NOT NULL") or None
    )


# -- how often


@pytest.mark.parametrize(
    ("rate", "tasks", "least"), [(1, 30, 30.0), (10, 30, 3.0), (10, 4, 2.5), (0.5, 30, 60.0)]
)
async def test_the_interval_is_never_less_than_running_by_limit(
    rate: float, tasks: int, least: float, wire: Wire, sql: Any
) -> None:
    """Else the questions would grow old in a queue, and all of them together come late."""
    services = await wire(kie_queries_per_second=rate, public_url=None)
    client_id = await put_client(sql)
    ids = [await put_asked(sql, client_id, f"{number:032x}") for number in range(tasks)]
    await sql.execute("UPDATE tasks SET due_at = now() + interval '1 hour' WHERE id <> $1", ids[0])
    assert await ask(services) == 0
    assert await due_in(sql, ids[0]) == pytest.approx(least, abs=0.5)


async def test_unconfirmed_tasks_share_it_and_those_at_rest_do_not(wire: Wire, sql: Any) -> None:
    services = await wire(kie_queries_per_second=1, public_url=None)
    client_id = await put_client(sql)
    asked = await put_asked(sql, client_id, "0" * 32)
    for number in range(9):
        await put_task(sql, client_id, State.UNCONFIRMED, kie_task_id=f"u{number}")
        await put_task(sql, client_id, State.SUCCEEDED, kie_task_id=f"s{number}")
        await put_task(sql, client_id, State.QUEUED)
    assert await ask(services) == 0
    assert await due_in(sql, asked) == pytest.approx(10, abs=0.5)
