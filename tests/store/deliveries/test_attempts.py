"""Attempts: who may claim what is due, and what becomes of it."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import pytest_asyncio

from app.domain.delivery import DeliveryState, DisableReason
from app.domain.task import State
from app.store.connections.engine import Connection, Database
from app.store.deliveries import attempts, outbox, urls
from app.store.deliveries.attempts import Attempt, DueDelivery
from tests.store.deliveries.stage import HOST, URL, attempt, claim, new, put, put_many, rows, settle
from tests.store.explained import plans
from tests.store.stage import Sql, around, put_client, put_task


async def test_only_what_is_due_is_claimed_and_once(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    due, later = new(client_id, task_id), new(client_id, task_id)
    await put(database, due, later)
    await sql.execute(
        "UPDATE deliveries SET due_at = now() + interval '1 minute' WHERE id = $1", later.id
    )
    (claimed,) = await claim(database, lease=20)
    assert (claimed.id, claimed.url, claimed.host, claimed.body, claimed.tries) == (
        *(due.id, URL, HOST, b"{}"),
        0,
    )
    assert claimed.age == around(0)
    assert [row["leased_for"] for row in await rows(sql)] == [around(20), None]
    assert await claim(database) == []


async def test_the_oldest_first_and_no_more_than_asked_for(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    for number in range(6):
        ago = 10.0 - number
        await put_many(sql, client_id, task_id, 1, host=f"host-{number}", ago=ago)
    claimed = await claim(database, room=7)
    assert sorted(one.host for one in claimed) == ["host-0", "host-1", "host-2", "host-3"]
    assert sorted(one.host for one in await claim(database)) == ["host-4", "host-5"]


async def test_a_lease_that_is_over_is_claimed_again(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    """A process died between send and settle: the same delivery, so the same webhook-id."""
    await put(database, new(client_id, task_id))
    (first,) = await claim(database)
    await sql.execute("UPDATE deliveries SET leased_until = clock_timestamp()")
    (second,) = await claim(database)
    assert (second.id, second.body, second.tries) == (first.id, first.body, 0)


async def test_both_secrets_during_the_grace_of_a_rotation(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    async def secrets(seconds: float) -> tuple[bytes, bytes | None]:
        await sql.execute(
            "UPDATE clients SET signing_secret = 'new', previous_secret = 'old',"
            " previous_secret_until = now() + make_interval(secs => $1)",
            seconds,
        )
        await sql.execute("UPDATE deliveries SET leased_until = NULL")
        (due,) = await claim(database)
        return due.signing_secret, due.previous_secret

    await put(database, new(client_id, task_id))
    assert await secrets(60) == (b"new", b"old")
    assert await secrets(-1) == (b"new", None)


# -- settle

ENDS = [
    (DeliveryState.DELIVERED, None, (None, True)),
    (DeliveryState.EXHAUSTED, None, (None, True)),
    (DeliveryState.DISABLED, None, (None, True)),
    (DeliveryState.PENDING, 300.0, (300.0, False)),
]


@pytest.mark.parametrize(("state", "wait", "expected"), ENDS)
async def test_settle(
    state: DeliveryState,
    wait: float | None,
    expected: tuple[float | None, bool],
    database: Database,
    sql: Sql,
    client_id: UUID,
    task_id: UUID,
) -> None:
    await put(database, new(client_id, task_id))
    (due,) = await claim(database)
    assert await settle(database, attempt(due, status=503), state, wait=wait)
    (row,) = await rows(sql)
    due_in, finished = expected
    assert (row["state"], row["tries"], row["leased_for"]) == (state, 1, None)
    assert (row["due_in"], row["finished"]) == (around(due_in), finished)
    kept = await sql.fetchrow("SELECT * FROM delivery_attempts")
    assert kept is not None
    assert (kept["number"], kept["status"], kept["error"], kept["answer"]) == (1, 503, None, b"ok")
    assert (kept["seconds"], kept["address"]) == (0.5, "10.0.0.1")


async def test_settle_is_fenced(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    """The lease was over and another process was faster: its outcome stays, the attempt too."""
    await put(database, new(client_id, task_id))
    (slow,) = await claim(database)
    await sql.execute("UPDATE deliveries SET leased_until = clock_timestamp()")
    (fast,) = await claim(database)
    assert await settle(database, attempt(fast))
    late = attempt(slow, status=500, answer=b"late")
    assert not await settle(database, late, DeliveryState.PENDING, wait=5)
    assert [(row["state"], row["tries"]) for row in await rows(sql)] == [("delivered", 1)]
    assert [row["answer"] for row in await sql.fetch("SELECT * FROM delivery_attempts")] == [b"ok"]


async def test_the_same_settlement_twice_is_once(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    """Its commit went through unanswered, and it runs again."""
    await put(database, new(client_id, task_id))
    (due,) = await claim(database)
    tried = attempt(due, status=500)
    assert await settle(database, tried, DeliveryState.PENDING, wait=5)
    assert not await settle(database, tried, DeliveryState.PENDING, wait=5)
    assert [row["tries"] for row in await rows(sql)] == [1]


# -- disabled


async def _disable(connection: Connection, client_id: UUID, due: DueDelivery | None) -> None:
    if due is not None:
        tried = attempt(due, status=410)
        assert await attempts.settle(connection, tried, DeliveryState.DISABLED, wait=None)
    await urls.disable(connection, client_id, URL, DisableReason.GONE)


async def test_disable_ends_what_waits_for_the_url(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    other = await put_client(sql, "another")
    other_task = await put_task(sql, other, State.SUCCEEDED)
    await put(
        database,
        *(new(client_id, task_id) for _ in range(3)),
        new(client_id, task_id, url="https://hooks.example:443/b"),
        new(other, other_task),
    )
    async with database.begin() as connection:
        await _disable(connection, client_id, None)
    await put(database, new(client_id, task_id))  # it was rendered before the URL was disabled
    ends = ["disabled"] * 3 + ["pending"] * 3
    assert [row["state"] for row in await rows(sql)] == ends


async def test_many_that_hear_410_at_once_do_not_wait_for_each_other(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    await put(database, *(new(client_id, task_id) for _ in range(15)))
    claimed = await claim(database, per_host=12)

    async def gone(due: DueDelivery) -> None:
        async with database.begin() as connection:
            await _disable(connection, client_id, due)

    await asyncio.gather(*(gone(due) for due in claimed))
    assert {row["state"] for row in await rows(sql)} == {"disabled"}
    assert await sql.fetchval("SELECT count(*) FROM delivery_attempts") == 10


# -- plans

CROWD = """
INSERT INTO clients (id, name, signing_secret)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'client ' || n, '\\x00' FROM generate_series(0, 9) n;

INSERT INTO tasks (id, client_id, state, model, input, metadata, priority, fingerprint, submit_by,
                   finished_at, webhook_url)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n % 10), 32, '0')::uuid, 'succeeded', 'm', '{}',
       '{}', 5, '\\x00', now(), now(), 'https://host-' || n % 50 || '.example/a'
FROM generate_series(1, 20000) n;

-- most are heard, as after some weeks; some wait for their next attempt, some are due
INSERT INTO deliveries (id, client_id, task_id, event, url, host, body, state, tries, due_at,
                        leased_until)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n / 20 % 10), 32, '0')::uuid,
       lpad(to_hex(n), 32, '0')::uuid, 'task.succeeded', 'https://host-' || n % 50 || '.example/a',
       'host-' || n % 50 || '.example', repeat('x', 500)::bytea, state, n / 200 % 2,
       CASE WHEN state = 'pending' THEN now() + make_interval(secs => n % 7200 - 600) END,
       CASE WHEN state = 'pending' AND n % 2000 = 0 THEN now() + interval '20 s' END
FROM (SELECT n, CASE n % 20 WHEN 0 THEN 'pending' WHEN 1 THEN 'exhausted' ELSE 'delivered' END
             AS state FROM generate_series(1, 20000) n) stated;

-- and one client has repeated all it could, each at a URL of its own
INSERT INTO deliveries (id, client_id, task_id, event, url, host, body, state, due_at, origin_id)
SELECT lpad(to_hex(100000 + n), 32, '0')::uuid, lpad(to_hex(3), 32, '0')::uuid,
       lpad(to_hex(n), 32, '0')::uuid, 'task.succeeded', 'https://host-3.example/' || n,
       'host-3.example', repeat('x', 500)::bytea, 'pending', now(), lpad(to_hex(n), 32, '0')::uuid
FROM generate_series(1, 12000) n;
"""
CROWDED = "clients, tasks, deliveries"
ONE = UUID(int=7_000)


@pytest_asyncio.fixture(scope="module")
async def crowd(sql_connection: Sql, pool: Database) -> AsyncIterator[Database]:
    await sql_connection.execute(f"TRUNCATE {CROWDED} CASCADE")  # no rows that are dead and counted
    await sql_connection.execute(CROWD)
    await sql_connection.execute(f"ANALYZE {CROWDED}")
    yield pool
    await sql_connection.execute(f"TRUNCATE {CROWDED} CASCADE")
    await sql_connection.execute(f"ANALYZE {CROWDED}")


async def _claims(connection: Connection) -> object:
    return await attempts.claim_due(connection, room=100, per_host=10, lease=30)


async def _settles(connection: Connection) -> object:
    tried = Attempt(
        delivery_id=ONE, number=2, seconds=1, status=200, error=None, address=None, answer=b""
    )
    return await attempts.settle(connection, tried, DeliveryState.DELIVERED, wait=None)


async def _disables(connection: Connection) -> None:
    await urls.disable(connection, UUID(int=0), "https://host-0.example/a", DisableReason.FAILING)


async def _finds(connection: Connection) -> object:
    return await outbox.to_notify(connection, [ONE])


PLANS = {
    "claim": (_claims, {"deliveries_first", "deliveries_again", "deliveries_leased"}),
    "settle": (_settles, {"deliveries_pkey"}),
    "notify": (_finds, {"tasks_pkey"}),
}


@pytest.mark.parametrize("name", PLANS)
async def test_by_its_index_and_never_by_reading_all(name: str, crowd: Database) -> None:
    work, indexes = PLANS[name]
    found = [node for plan in await plans(crowd, work) for node in plan]
    read = {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"}
    assert not read & {"deliveries", "tasks"}
    assert {node["Index Name"] for node in found if "Index Name" in node} >= indexes


async def test_a_claim_reads_little_of_a_backlog(crowd: Database) -> None:
    *_, plan = await plans(crowd, _claims, "EXPLAIN (ANALYZE, FORMAT JSON)")
    read = [
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in plan
        if node.get("Relation Name") == "deliveries" and "Scan" in node["Node Type"]
    ]
    assert sum(read) < 6000, "of 12,000 at URLs of their own, and 1,000 more"


async def test_a_disabled_url_is_not_looked_for_among_all(crowd: Database) -> None:
    found = [node for plan in await plans(crowd, _disables) for node in plan]
    assert "deliveries" not in {
        node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"
    }


async def test_the_crowd_is_really_there(crowd: Database, sql_connection: Sql) -> None:
    assert await sql_connection.fetchval("SELECT count(*) FROM deliveries") == 32_000
    async with crowd.begin() as connection:
        claimed = await attempts.claim_due(connection, room=100, per_host=10, lease=30)
        assert len(claimed.due) > 20
        assert claimed.more
        assert {one.tries for one in claimed.due} == {0, 1}
        await connection.rollback()
