"""Attempts: who may claim what is due, and what becomes of it."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from app.domain.delivery import DeliveryState, DisableReason
from app.domain.task import State
from app.store.deliveries import attempts, outbox, urls
from app.store.deliveries.attempts import Attempt, DueDelivery
from app.store.engine import Connection, Database
from tests.store.deliveries.stage import HOST, URL, attempt, claim, new, put, rows, settle
from tests.store.stage import Sql, around, put_client, put_task
from tests.store.test_plans import plans


async def fail(database: Database, *hosts: str) -> None:
    for host in hosts:
        async with database.begin() as connection:
            await attempts.host_failed(connection, host)


async def put_many(
    sql: Sql, client_id: UUID, task_id: UUID, count: int, *, host: str = HOST, ago: float = 1.0
) -> None:
    """Put so many due deliveries for a host, one microsecond after another."""
    await sql.execute(
        "INSERT INTO deliveries (id, client_id, task_id, event, url, host, body, state, due_at)"
        " SELECT gen_random_uuid(), $1, $2, 'task.succeeded', 'https://' || $3 || '/a', $3,"
        " '{}', 'pending', clock_timestamp() - make_interval(secs => $5 - n * 1e-6)"
        " FROM generate_series(1, $4) n",
        client_id,
        task_id,
        host,
        count,
        ago,
    )


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
    claimed = await claim(database, room=4)
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


# -- no host takes it all


async def test_a_host_has_so_many_places_whoever_claims(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    await put_many(sql, client_id, task_id, 30)
    first = await claim(database, room=6)
    assert len(first) == 3, "a client leaves as much as it takes"
    second = await claim(database)
    assert len(second) == 8 - len(first), "and two of the ten to others"
    assert await claim(database) == []
    await settle(database, attempt(first[0]))
    assert len(await claim(database)) == 1


async def test_claimers_at_once_do_not_exceed_it(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    hosts = ["a.example", "b.example", "c.example"]
    for host in hosts:
        await put_many(sql, client_id, task_id, 200, host=host)
    for turn in range(1, 4):
        found = await asyncio.gather(*(claim(database, per_host=7 * turn) for _ in range(12)))
        claimed = list(itertools.chain(*found))
        assert len(claimed) == len({one.id for one in claimed}) == 7 * len(hosts)
        counted = await sql.fetch(
            "SELECT count(*) FROM deliveries WHERE leased_until > now() GROUP BY host"
        )
        assert [row["count"] for row in counted] == [7 * turn] * len(hosts)


async def test_a_slow_host_with_10_000_due_starves_nobody(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    await put_many(sql, client_id, task_id, 10_000, host="slow.example", ago=3600)
    for number in range(20):
        await put_many(sql, client_id, task_id, 3, host=f"host-{number:02}")
    claimed = await claim(database)
    by_host = {host: list(ones) for host, ones in itertools.groupby(_by_host(claimed), _host)}
    assert len(by_host["slow.example"]) == 10
    assert {host: len(ones) for host, ones in by_host.items() if host != "slow.example"} == {
        f"host-{number:02}": 3 for number in range(20)
    }


def _host(due: DueDelivery) -> str:
    return due.host


def _by_host(claimed: Sequence[DueDelivery]) -> list[DueDelivery]:
    return sorted(claimed, key=_host)


# -- hosts in trouble


async def _host_row(sql: Sql, host: str = HOST) -> Mapping[str, Any]:
    row = await sql.fetchrow(
        "SELECT failures, extract(epoch FROM held_until - clock_timestamp())::float AS held_for"
        " FROM delivery_hosts WHERE host = $1",
        host,
    )
    assert row is not None
    return dict(row)


async def _hold_is_over(sql: Sql) -> None:
    await sql.execute("UPDATE delivery_hosts SET held_until = clock_timestamp()")


async def test_a_host_in_trouble_is_called_one_at_a_time_after_its_hold(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    await put_many(sql, client_id, task_id, 30)
    await put_many(sql, client_id, task_id, 2, host="well.example")
    await fail(database, HOST, HOST)
    assert len([one for one in await claim(database) if one.host == HOST]) == 10
    await sql.execute("UPDATE deliveries SET leased_until = NULL WHERE host = $1", HOST)
    await fail(database, HOST)
    assert (await _host_row(sql))["held_for"] == pytest.approx(2, abs=1)
    assert await claim(database) == []
    await _hold_is_over(sql)
    found = await asyncio.gather(*(claim(database) for _ in range(5)))
    (probe,) = itertools.chain(*found)
    assert probe.places == 1
    assert await claim(database) == []


async def test_it_recovers_at_once(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    await put_many(sql, client_id, task_id, 30)
    await fail(database, *[HOST] * 8)
    await _hold_is_over(sql)
    (probe,) = await claim(database)
    async with database.begin() as connection:
        await attempts.settle(connection, attempt(probe), DeliveryState.DELIVERED, wait=None)
        await attempts.host_answered(connection, HOST)
    assert await _host_row(sql) == {"failures": 0, "held_for": None}
    assert len(await claim(database)) == 10


async def test_holds_grow_to_a_minute(database: Database, sql: Sql) -> None:
    holds = []
    for _ in range(12):
        await fail(database, HOST)
        holds.append((await _host_row(sql))["held_for"])
    doubling = [0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert holds == [pytest.approx(seconds, abs=1) for seconds in doubling]


async def test_a_host_that_nobody_knows_is_not_noted(database: Database, sql: Sql) -> None:
    async with database.begin() as connection:
        await attempts.host_answered(connection, HOST)
    assert await sql.fetchval("SELECT count(*) FROM delivery_hosts") == 0


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
    claimed = await claim(database, per_host=10)

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
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n % 10), 32, '0')::uuid,
       lpad(to_hex(n), 32, '0')::uuid, 'task.succeeded', 'https://host-' || n % 50 || '.example/a',
       'host-' || n % 50 || '.example', repeat('x', 500)::bytea, state, 1,
       CASE WHEN state = 'pending' THEN now() + make_interval(secs => n % 7200 - 600) END,
       CASE WHEN state = 'pending' AND n % 100 = 0 THEN now() + interval '20 s' END
FROM (SELECT n, CASE n % 20 WHEN 0 THEN 'pending' WHEN 1 THEN 'exhausted' ELSE 'delivered' END
             AS state FROM generate_series(1, 20000) n) stated;
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
    return await attempts.claim_due(connection, limit=100, per_host=10, lease=30)


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
    "claim": (_claims, {"deliveries_due", "deliveries_leased"}),
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


async def test_a_disabled_url_is_not_looked_for_among_all(crowd: Database) -> None:
    found = [node for plan in await plans(crowd, _disables) for node in plan]
    assert "deliveries" not in {
        node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"
    }


async def test_the_crowd_is_really_there(crowd: Database, sql_connection: Sql) -> None:
    assert await sql_connection.fetchval("SELECT count(*) FROM deliveries") == 20_000
    async with crowd.begin() as connection:
        claimed = await attempts.claim_due(connection, limit=100, per_host=10, lease=30)
        assert len(claimed) > 20
        assert all(one.id != uuid.UUID(int=0) for one in claimed)
        await connection.rollback()
