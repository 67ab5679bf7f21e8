"""The hot statements, exactly as they are sent, among 20,000 tasks: by index, never by reading all.

Nothing about the planner is changed: what is asserted is what production gets.
"""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import event

from app.domain.evidence import Verdict
from app.domain.task import State
from app.store import callbacks, census, clients, leases, moves, questions, tasks
from app.store.engine import Connection, Database
from app.store.moves import Move
from tests.store.stage import Sql, digest, new_callback, new_task

TASK, CLIENT = uuid.UUID(int=7_000), uuid.UUID(int=3)
KEY = "key 7000"

SEED = """
INSERT INTO clients (id, name, signing_secret)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'client ' || n, '\\x00' FROM generate_series(0, 9) n;

INSERT INTO api_keys (id, client_id, digest, hint)
SELECT gen_random_uuid(), lpad(to_hex(n % 10), 32, '0')::uuid, sha256(n::text::bytea), 'kgw_' || n
FROM generate_series(1, 5000) n;

-- most tasks are at rest, as after some weeks; a backlog waits, part of it due
INSERT INTO tasks (id, client_id, state, model, input, metadata, priority, fingerprint,
                   idempotency_key, kie_task_id, submit_by, submitted_at, finished_at,
                   due_at, leased_until, lapses_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n % 10), 32, '0')::uuid, state, 'm',
       format('{"prompt": "%s"}', repeat('a cat ', 150))::json, '{}', 5, '\\x00',
       CASE WHEN n % 2 = 0 THEN 'key ' || n END,
       CASE WHEN state <> 'queued' THEN md5(n::text) END,
       now() + make_interval(secs => n % 3600 - 60),
       CASE WHEN state <> 'queued' THEN now() - interval '1 minute' END,
       CASE WHEN state IN ('succeeded', 'failed', 'canceled', 'expired') THEN now() END,
       CASE WHEN state IN ('queued', 'running', 'unconfirmed')
            THEN now() + make_interval(secs => n % 600 - 300) END,
       CASE WHEN state = 'submitting' THEN now() + make_interval(secs => n % 40 - 10) END,
       CASE WHEN state IN ('running', 'unconfirmed')
            THEN now() + make_interval(secs => n % 3600 - 60) END
FROM (SELECT n, (ARRAY['queued', 'queued', 'queued', 'submitting', 'unconfirmed', 'running',
                       'running', 'expired', 'failed', 'canceled'])[n % 20 + 1] AS found
      FROM generate_series(1, 20000) n) numbered
CROSS JOIN LATERAL (SELECT coalesce(found, 'succeeded') AS state) stated;

INSERT INTO callbacks (id, task_id, source, body, headers, signature, verdict, kie_task_id)
SELECT gen_random_uuid(), lpad(to_hex(n / 2), 32, '0')::uuid, 'callback', '\\x00', '{}', 'valid',
       'stale', md5(n::text)
FROM generate_series(1, 20000) n;
"""
TABLES = "clients, api_keys, tasks, task_events, callbacks"


@pytest_asyncio.fixture(scope="module")
async def crowd(sql_connection: Sql, pool: Database) -> AsyncIterator[Database]:
    await sql_connection.execute(SEED)
    await sql_connection.execute(f"ANALYZE {TABLES}")
    yield pool
    await sql_connection.execute(f"TRUNCATE {TABLES} CASCADE")
    await sql_connection.execute(f"ANALYZE {TABLES}")


Work = Callable[[Connection], Awaitable[object]]


async def plans(database: Database, work: Work) -> list[list[dict[str, Any]]]:
    """Carry out `work`, undo it, and return the nodes of the plan of every statement it sent."""
    sent: list[tuple[str, Any]] = []

    def note(*about: Any) -> None:
        _, _, statement, parameters, *_ = about
        sent.append((statement, parameters))

    async with database.begin() as connection:
        assert connection.sync_connection is not None
        event.listen(connection.sync_connection, "before_cursor_execute", note)
        await work(connection)
        event.remove(connection.sync_connection, "before_cursor_execute", note)
        found = [
            await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
            for statement, parameters in sent
        ]
        explained = [result.scalar_one() for result in found]
        await connection.rollback()
    trees = [json.loads(plan) if isinstance(plan, str) else plan for plan in explained]
    return [list(nodes(tree["Plan"])) for (tree,) in trees]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def end_lapsed(state: State) -> Work:
    return lambda connection: leases.end_lapsed(connection, state, limit=200)


HOT: dict[str, tuple[Work, set[str]]] = {
    "claim_queued": (
        lambda connection: tasks.claim_queued(connection, limit=50, lease=30),
        {"tasks_queue", "tasks_pkey"},
    ),
    "claim_task": (
        lambda connection: tasks.claim_task(connection, TASK, lease=30),
        {"tasks_pkey"},
    ),
    "claim_questions": (
        lambda connection: questions.claim_questions(connection, limit=10, lease=30),
        {"tasks_ask", "tasks_pkey"},
    ),
    "free_lost": (
        lambda connection: leases.free_lost(connection, limit=200, lapses_in=3600),
        {"tasks_leases", "tasks_pkey"},
    ),
    "end_lapsed queued": (end_lapsed(State.QUEUED), {"tasks_submit_by", "tasks_pkey"}),
    "end_lapsed unconfirmed": (end_lapsed(State.UNCONFIRMED), {"tasks_lapses", "tasks_pkey"}),
    "end_lapsed running": (end_lapsed(State.RUNNING), {"tasks_lapses", "tasks_pkey"}),
    "renew": (
        lambda connection: leases.renew(
            connection, [uuid.UUID(int=number) for number in range(1, 100)], lease=30
        ),
        {"tasks_pkey"},
    ),
    "move": (
        lambda connection: moves.lose(
            connection, Move(id=TASK, left=State.SUBMITTING, target=State.UNCONFIRMED)
        ),
        {"tasks_pkey"},
    ),
    "lock_task": (lambda connection: tasks.lock_task(connection, TASK), {"tasks_pkey"}),
    "read_task": (
        lambda connection: tasks.read_task(connection, client_id=CLIENT, task_id=TASK),
        {"tasks_pkey"},
    ),
    "insert_task, known key": (
        lambda connection: tasks.insert_task(
            connection, new_task(uuid.UUID(int=0), idempotency_key=KEY)
        ),
        {"tasks_pkey", "tasks_idempotency_key"},
    ),
    "read_callbacks": (
        lambda connection: callbacks.read_callbacks(connection, TASK, limit=50),
        {"callbacks_task"},
    ),
    "claimed_ids": (
        lambda connection: questions.claimed_ids(connection, TASK, limit=3),
        {"callbacks_task"},
    ),
    "insert_callback": (
        lambda connection: callbacks.insert_callback(
            connection, new_callback(TASK), Verdict.APPLIED
        ),
        set(),
    ),
    "census": (
        census.take,
        {"tasks_queue", "tasks_leases", "tasks_submit_by", "tasks_lapses", "tasks_ask"},
    ),
    "client_by_key": (
        lambda connection: clients.client_by_key(connection, digest("17")),
        {"api_keys_digest_key"},
    ),
}


@pytest.mark.parametrize(("work", "indexes"), HOT.values(), ids=HOT.keys())
async def test_a_hot_statement_goes_by_its_index(
    crowd: Database, work: Work, indexes: set[str]
) -> None:
    found = [node for plan in await plans(crowd, work) for node in plan]
    assert found
    assert {node["Index Name"] for node in found if "Index Name" in node} == indexes
    assert [node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"] == []


@pytest.mark.parametrize(
    "name",
    [
        "claim_queued",
        "claim_questions",
        "free_lost",
        "end_lapsed queued",
        "end_lapsed unconfirmed",
        "end_lapsed running",
        "read_callbacks",
    ],
)
async def test_the_order_comes_from_the_index_too(crowd: Database, name: str) -> None:
    work, _ = HOT[name]
    assert "Sort" not in {node["Node Type"] for plan in await plans(crowd, work) for node in plan}


async def test_the_crowd_is_really_there(crowd: Database, sql_connection: Sql) -> None:
    """What is explained finds rows: an empty table would be read by index as well."""
    counted = await sql_connection.fetch("SELECT state, count(*) FROM tasks GROUP BY state")
    assert {row["state"] for row in counted} == set(State)
    assert sum(row["count"] for row in counted) == 20_000
    async with crowd.begin() as connection:
        assert len(await tasks.claim_queued(connection, limit=50, lease=30)) == 50
        assert len(await questions.claim_questions(connection, limit=10, lease=30)) == 10
        assert await leases.free_lost(connection, limit=200, lapses_in=1)
        for state in (State.QUEUED, State.UNCONFIRMED, State.RUNNING):
            assert await leases.end_lapsed(connection, state, limit=200)
        new = new_task(uuid.UUID(int=0), idempotency_key=KEY)
        assert (await tasks.insert_task(connection, new)).id == TASK
        assert await clients.client_by_key(connection, digest("17")) is not None
        assert len(await callbacks.read_callbacks(connection, TASK, limit=50)) == 2
        await connection.rollback()
