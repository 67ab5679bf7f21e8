"""The hot statements, exactly as they are sent, among 30,000 tasks: by index, never by reading all.

Nothing about the planner is changed: what is asserted is what production gets.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Mapping
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from app.domain.admission import QueueBounds
from app.domain.delivery import DeliveryState
from app.domain.evidence import Verdict
from app.domain.exact_json import Verbatim
from app.domain.keeping import raw
from app.domain.move import Move
from app.domain.paging import Chosen, Filter, Place
from app.domain.polling import DuePoll
from app.domain.task import State
from app.store.account import accepted, admission, bounds, condition, forecast, queues, sizes
from app.store.account.admission import ClaimedTask
from app.store.backlog import read_backlog
from app.store.clients import clients
from app.store.connections.engine import Connection, Database
from app.store.deliveries import history
from app.store.files import claims, owed
from app.store.tasks import (
    callbacks,
    doubts,
    leases,
    moves,
    overview,
    polls,
    rows,
    storing,
    stuck,
    sweep,
)
from tests.database import with_database
from tests.each import each
from tests.store import needed
from tests.store.explained import Work, plans
from tests.store.stage import Sql, digest, limits, new_callback, new_task

TASK, CLIENT = uuid.UUID(int=7_000), uuid.UUID(int=3)
FLOODER, LAST = CLIENT, uuid.UUID(int=100_000 + 9_999)
"""The client of the flood, and one of its last tasks."""
OTHER = uuid.UUID(int=4)
WIDE = limits(creates=20, running=10_000)
KEY = "key 7000"

SEED = """
INSERT INTO clients (id, name, signing_secret)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'client ' || n, '\\x00' FROM generate_series(0, 9) n;

INSERT INTO client_queues (client_id) SELECT id FROM clients;

INSERT INTO api_keys (id, client_id, digest, hint)
SELECT gen_random_uuid(), lpad(to_hex(n % 10), 32, '0')::uuid, sha256(n::text::bytea), 'kgw_' || n
FROM generate_series(1, 5000) n;

-- most tasks are final, as after some weeks; a backlog waits, part of it due
INSERT INTO tasks (id, client_id, state, model, input, metadata, priority, fingerprint,
                   idempotency_key, kie_task_id, submit_by, submitted_at, finished_at,
                   due_at, leased_until, expires_at, result_urls, booked, credits_consumed)
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
            THEN now() + make_interval(secs => n % 3600 - 60) END,
       CASE WHEN state = 'succeeded' THEN ARRAY['https://r.test/' || n] ELSE '{}' END,
       CASE WHEN state IN ('succeeded', 'failed', 'canceled', 'expired') THEN true END,
       CASE WHEN state = 'succeeded' AND n % 50 <> 0 THEN n % 7 END
FROM (SELECT n, (ARRAY['queued', 'queued', 'queued', 'submitting', 'unconfirmed', 'running',
                       'running', 'expired', 'failed', 'canceled'])[n % 20 + 1] AS found
      FROM generate_series(1, 20000) n) numbered
CROSS JOIN LATERAL (SELECT coalesce(found, 'succeeded') AS state) stated;

INSERT INTO callbacks (id, task_id, source, body, headers, signature, verdict, kie_task_id)
SELECT gen_random_uuid(), lpad(to_hex(n / 2), 32, '0')::uuid, 'callback', '\\x00', '{}', 'valid',
       CASE WHEN n % 3 = 0 THEN 'applied' ELSE 'stale' END, md5(n::text)
FROM generate_series(1, 20000) n;

INSERT INTO artifacts (task_id, n, client_id, kind, digest, state, object, due_at, finished_at)
SELECT id, 1, client_id, 'url', '', CASE WHEN due THEN 'waiting' ELSE 'stored' END, id::text,
       CASE WHEN due THEN now() END, CASE WHEN NOT due THEN now() END
FROM tasks CROSS JOIN LATERAL (SELECT idempotency_key LIKE '%00' AS due) kept
WHERE state = 'succeeded' AND idempotency_key IS NOT NULL;
"""
FLOOD = """  -- and a flood of one client's waits, most of it
INSERT INTO tasks (id, client_id, state, model, input, metadata, priority, fingerprint,
                   submit_by, due_at)
SELECT lpad(to_hex(100000 + n), 32, '0')::uuid,
       lpad(to_hex(CASE WHEN n % 10 = 0 THEN n / 10 % 10 ELSE 3 END), 32, '0')::uuid,
       'queued', 'm', format('{"prompt": "%s"}', repeat('a cat ', 150))::json, '{}', n % 10,
       '\\x00', now() + interval '1 hour', now() - interval '1 second'
FROM generate_series(1, 10000) n;
"""
OWED = """  -- what callers are owed, and the feed that is read
INSERT INTO task_events (task_id, client_id, to_state, attempt)
SELECT id, client_id, 'queued', 0 FROM tasks ORDER BY id;

INSERT INTO deliveries (id, client_id, task_id, event, url, host, body, state, tries, due_at,
                        leased_until)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n % 10), 32, '0')::uuid,
       lpad(to_hex(n), 32, '0')::uuid, 'task.succeeded', 'https://host-' || n % 50 || '.example/a',
       'host-' || n % 50 || '.example', repeat('x', 500)::bytea, state, n / 200 % 2,
       CASE WHEN state = 'pending' THEN now() + make_interval(secs => n % 7200 - 600) END,
       CASE WHEN state = 'pending' AND n % 2000 = 0 THEN now() + interval '20 s' END
FROM (SELECT n, CASE n % 20 WHEN 0 THEN 'pending' WHEN 1 THEN 'exhausted' ELSE 'delivered' END
             AS state FROM generate_series(1, 20000) n) stated;

UPDATE feed_writer SET seen = (SELECT max(id) FROM task_events);
INSERT INTO feed (client_id, position, event_id, token)
SELECT client_id, id, id, 0 FROM task_events;
INSERT INTO delivery_attempts (delivery_id, number, seconds, answer)
SELECT id, 1, 0.1, '' FROM deliveries WHERE state <> 'pending';
"""
TABLES = "clients, api_keys, tasks, task_events, callbacks, kie_slots, artifacts"
NOTHING_BY_ITSELF = """
DO $$ DECLARE found regclass; BEGIN
    FOR found IN SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public'
    LOOP EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', found); END LOOP;
END $$
"""


@pytest_asyncio.fixture(scope="module")
async def crowd(dsn: str, template: str, sql_connection: Sql) -> AsyncIterator[Database]:
    """Lend a database of its own: plans depend on what others left in tables and statistics."""
    own = f"{urlsplit(dsn).path.strip('/')}_crowd"
    await sql_connection.execute(f"CREATE DATABASE {own} TEMPLATE {template}")
    database = Database(with_database(dsn, own), pool_size=2, command_timeout=60)
    try:
        async with database.begin() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            for statements in (
                NOTHING_BY_ITSELF,
                SEED,
                FLOOD,
                OWED,
                f"ANALYZE {TABLES}, feed, deliveries, delivery_attempts",
            ):
                await driver.execute(statements)
        yield database
    finally:
        await database.dispose()
        await sql_connection.execute(f"DROP DATABASE {own} WITH (FORCE)")


LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
CLAIMED = ClaimedTask(
    id=TASK,
    client_id=CLIENT,
    attempt=1,
    tries=0,
    model="m",
    input=Verbatim("{}"),
    slot=1,
    submitted_at=LONG_AGO,
    updated_at=LONG_AGO,
    version=2,
    traceparent=None,
)


def expire(state: State) -> Work:
    return lambda connection: sweep.expire(connection, state, limit=200, ask_in=7200)


def admit(
    connection: Connection, *, plain: bool = True, limit: int = 20
) -> Awaitable[list[ClaimedTask]]:
    return admission.admit(
        connection,
        limits=WIDE,
        limit=limit,
        lease=30,
        taken_for=70,
        claim=uuid.UUID(int=1),
        plain=plain,
    )


def ask(connection: Connection) -> Awaitable[list[DuePoll]]:
    return polls.claim_due(connection, queries=10, lease=30, taken_for=60)


HOT: dict[str, tuple[Work, set[str]]] = {
    "free_lost": (
        lambda connection: sweep.free_lost(connection, limit=200, expires_in=3600, window=10),
        {"tasks_leases", "tasks_pkey"},
    ),
    "expire queued": (expire(State.QUEUED), {"tasks_submit_by", "tasks_pkey"}),
    "expire unconfirmed": (expire(State.UNCONFIRMED), {"tasks_expires", "tasks_pkey"}),
    "expire running": (expire(State.RUNNING), {"tasks_expires", "tasks_pkey"}),
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
    "accept": (
        lambda connection: accepted.accept(
            *(connection, Move(id=TASK, left=State.SUBMITTING, target=State.RUNNING)),
            *(CLAIMED, "of nobody"),
            window=10,
            answered_ago=0,
        ),
        {"tasks_pkey", "tasks_kie_task_id", "callbacks_task"},
    ),
    "lock_task": (lambda connection: rows.lock_task(connection, TASK), {"tasks_pkey"}),
    "read_task": (
        lambda connection: rows.read_task(connection, client_id=CLIENT, task_id=TASK),
        {"tasks_pkey", "artifacts_pkey"},
    ),
    "claim_due artifacts": (
        lambda connection: claims.claim_due(connection, room=4, lease=30),
        {"artifacts_due", "artifacts_pkey", "tasks_pkey", "clients_pkey"},
    ),
    "lapse": (
        lambda connection: owed.lapse(connection, limit=100),
        {"artifacts_stored"},
    ),
    "read_by_kie_id": (
        lambda connection: rows.read_by_kie_id(connection, client_id=CLIENT, kie_task_id="x"),
        {"tasks_kie_task_id", "artifacts_pkey"},
    ),
    "owns_result": (
        lambda connection: rows.owns_result(connection, client_id=CLIENT, url="https://r.test/1"),
        {"tasks_result_urls"},
    ),
    "insert_task, known key": (
        lambda connection: storing.insert_task(
            connection, new_task(uuid.UUID(int=0), idempotency_key=KEY)
        ),
        {"tasks_pkey", "tasks_idempotency_key", "tasks_costs", "tasks_queue"},
    ),
    "read_callbacks": (
        lambda connection: callbacks.read_callbacks(connection, TASK, limit=50, weight=10**9),
        {"callbacks_task", "callbacks_pkey"},
    ),
    "tally": (
        lambda connection: callbacks.tally(connection, new_callback(TASK), Verdict.APPLIED, b""),
        {"callbacks_task"},
    ),
    "count_more": (
        lambda connection: callbacks.count_more(connection, TASK),
        {"callbacks_task", "callbacks_pkey"},
    ),
    "ask_in_doubt": (
        lambda connection: doubts.ask_in_doubt(connection, TASK, every=1),
        {"tasks_pkey"},
    ),
    "alleged_ids": (
        lambda connection: polls.alleged_ids(connection, TASK, limit=3),
        {"callbacks_task"},
    ),
    "insert_callback": (
        lambda connection: callbacks.insert_callback(
            connection, new_callback(TASK), Verdict.APPLIED, raw(b"", ())
        ),
        set(),
    ),
    "backlog": (
        lambda connection: read_backlog(connection, WIDE),
        {
            *("tasks_leases", "tasks_submit_by", "tasks_expires", "tasks_polls"),
            *("tasks_seats", "tasks_parked", "tasks_listed_by_state"),
            *(
                "deliveries_first",
                "deliveries_again",
                "deliveries_leased",
                "task_events_pkey",
                "api_keys_client_id_idx",
                "artifacts_due",
            ),
        },
    ),
    "find_key": (
        lambda connection: clients.find_key(connection, digest("17")),
        {"api_keys_digest_key"},
    ),
    "over": (
        bounds.over,
        {
            *("tasks_leases", "tasks_unreleased", "tasks_submit_by", "tasks_expires"),
            *("tasks_queue", "tasks_unbooked"),
        },
    ),
}


@each(("work", "indexes"), HOT.values())
async def test_a_hot_statement_goes_by_its_index(
    crowd: Database, work: Work, indexes: set[str]
) -> None:
    found = [node for plan in await plans(crowd, work) for node in plan]
    assert found
    used = {node["Index Name"] for node in found if "Index Name" in node}
    assert used - SHORT_EITHER_WAY - EITHER_COUNTS == indexes - EITHER_COUNTS
    assert bool(used & EITHER_COUNTS) == bool(indexes & EITHER_COUNTS)
    assert {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"} <= SMALL


LIMITED: dict[str, tuple[Work, set[str]]] = {
    "lock_account": (lambda connection: admission.lock_account(connection, wait=True), set()),
    "admit": (admit, {"tasks_queue", "tasks_seats", "tasks_pkey"}),
    "next_chance": (lambda connection: admission.next_chance(connection, WIDE), {"tasks_seats"}),
    "claimed_by": (
        lambda connection: admission.claimed_by(connection, uuid.UUID(int=1)),
        set(),
    ),
    "forecast": (
        lambda connection: forecast.forecast(connection, FLOODER, [LAST], WIDE),
        {"tasks_seats", "tasks_pkey", "callbacks_pkey"},
    ),
    "claim_due_polls": (ask, {"tasks_polls", "tasks_seats", "tasks_pkey"}),
    "next_poll": (
        lambda connection: polls.next_due(connection, queries=10),
        {"tasks_polls"},
    ),
    "status": (lambda connection: condition.status(connection, WIDE), {"tasks_seats"}),
    "list_queues": (queues.list_queues, set()),
    "list_stuck": (lambda connection: stuck.list_stuck(connection, grace=60, limit=200), set()),
}
SMALL = {
    *("kie_account", "kie_slots", "kie_breakers", "feed_writer"),
    *("client_queues", "clients", "delivery_urls", "pg_database", "queue_sizes"),
    *("budgets", "usage_entries"),
}
"""Tables of a few rows, for which an index would be the longer way."""
SHORT_EITHER_WAY = {f"{table}_pkey" for table in SMALL - {"clients"}}
EITHER_COUNTS = {
    *("tasks_queue", "tasks_queue_by_model", "tasks_queue_newest", "tasks_submit_by"),
}
"""All list the queued tasks and nothing else: to count them, one is as good as another."""
FIRST_FOUND = {"next_chance": {"tasks"}}
"""One queued task is enough: where a third of all tasks wait, the first page has some."""
OPEN = {
    "tasks_parked",
    "tasks_queue",
    "tasks_queue_by_model",
    "tasks_queue_newest",
    "tasks_seats",
    "tasks_polls",
    "tasks_leases",
    "tasks_submit_by",
    "tasks_pkey",
    "tasks_listed_by_state",
}
"""The partial indexes of open tasks, of which several may serve a statement equally well; and the
one that finds a client's tasks in one state, which may be `submitting`."""


@each("name", LIMITED)
async def test_what_keeps_the_limits_reads_open_tasks_alone(crowd: Database, name: str) -> None:
    work, indexes = LIMITED[name]
    found = [node for plan in await plans(crowd, work) for node in plan]
    assert found
    used = {node["Index Name"] for node in found if "Index Name" in node}
    assert indexes <= used
    assert {name for name in used if name.startswith("tasks_")} <= OPEN
    read = {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"}
    assert read <= SMALL | FIRST_FOUND.get(name, set())


async def test_the_queue_is_read_in_its_order(crowd: Database) -> None:
    """The first tasks of a client come from the index, however many wait behind them."""
    *_, plan = await plans(crowd, admit)
    scans = [node for node in plan if node.get("Index Name") == "tasks_queue"]
    assert {node["Node Type"] for node in scans} == {"Index Scan"}
    locked = [node for node in plan if node["Node Type"] == "LockRows"]
    assert [[part["Node Type"] for part in node["Plans"]] for node in locked] == [["Index Scan"]]


HOLD = """
INSERT INTO kie_breakers (client_id, model, hold_reason, hold_tries, held_until)
VALUES ($1, 'm', 'kie_unanswered', 9, now() + interval '300 s') ON CONFLICT DO NOTHING
"""
BESIDE_A_HELD_PAIR: dict[str, Work] = {
    "admit": partial(admit, plain=False),
    "next_chance": lambda connection: admission.next_chance(connection, WIDE),
    "highest_cost": lambda connection: admission.highest_cost(connection, WIDE),
}


def beside_a_held_pair(work: Work) -> Work:
    async def held(connection: Connection) -> None:
        await connection.exec_driver_sql(HOLD, (FLOODER,))
        await work(connection)

    return held


@pytest.mark.parametrize("name", BESIDE_A_HELD_PAIR)
async def test_nobody_reads_over_the_tasks_of_a_held_pair(crowd: Database, name: str) -> None:
    work = beside_a_held_pair(BESIDE_A_HELD_PAIR[name])
    *_, plan = await plans(crowd, work, "EXPLAIN (ANALYZE, FORMAT JSON)")
    queues = ("tasks_queue", "tasks_queue_by_model")
    read = [
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in plan
        if node.get("Index Name") in queues or node["Node Type"] == "Seq Scan"
    ]
    assert read
    assert max(read) < 1000  # of ten thousand


def _overview(narrowed: Filter, client: uuid.UUID | None = None) -> Work:
    after = Place(created_at=datetime(2100, 1, 1, tzinfo=UTC), id=TASK)
    return lambda connection: overview.list_tasks(
        connection, narrowed, client_id=client, after=after, limit=50
    )


OF_ALL: Mapping[str, Work] = {
    "all tasks": _overview(Filter()),
    "all in two states": _overview(Filter(states=(State.FAILED, State.RUNNING))),
    "one client's in a state": _overview(Filter(states=(State.FAILED,)), CLIENT),
    "all deliveries": lambda connection: history.read_page_of_all(
        connection, Chosen(), client_id=None, before=LAST, limit=50
    ),
    "all exhausted": lambda connection: history.read_page_of_all(
        connection,
        Chosen(state=DeliveryState.EXHAUSTED),
        client_id=None,
        before=None,
        limit=50,
        unanswered=True,
    ),
}
"""What operators see of all ten clients: a page of each is read, and no more."""


async def test_a_page_of_all_clients_reads_a_page_of_each(crowd: Database) -> None:
    for name, work in OF_ALL.items():
        found = [
            node
            for plan in await plans(crowd, work, "EXPLAIN (ANALYZE, FORMAT JSON)")
            for node in plan
        ]
        used = {node["Index Name"] for node in found if "Index Name" in node}
        assert any("_listed" in index or index == "deliveries_pkey" for index in used), name
        read = {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"}
        assert read <= SMALL, name
        rows = sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            for node in found
            if "Index Name" in node
        )
        assert rows < 3000, name  # of 30,000 tasks and 20,000 deliveries


STATEMENTS: Mapping[str, Work] = {
    **{name: work for name, (work, _) in (HOT | LIMITED).items()},
    "admit beside a held pair": beside_a_held_pair(BESIDE_A_HELD_PAIR["admit"]),
    **needed.MORE,
}


async def test_every_index_is_named(crowd: Database) -> None:
    async with crowd.read() as connection:
        found = await connection.exec_driver_sql(
            "SELECT indexname FROM pg_indexes WHERE tablename = ANY ($1)", (list(needed.TABLES),)
        )
        assert set(found.scalars()) == needed.NEEDED.keys()


@each("index", needed.NEEDED)
async def test_what_an_index_is_for_goes_by_it(crowd: Database, index: str) -> None:
    for name in needed.NEEDED[index]:
        found = await plans(crowd, STATEMENTS[name])
        assert index in {node.get("Index Name") for plan in found for node in plan}, name


@pytest.mark.parametrize(
    "name",
    [
        "free_lost",
        "expire queued",
        "expire unconfirmed",
        "expire running",
    ],
)
async def test_the_order_comes_from_the_index_too(crowd: Database, name: str) -> None:
    work, _ = HOT[name]
    assert "Sort" not in {node["Node Type"] for plan in await plans(crowd, work) for node in plan}


async def test_the_crowd_is_really_there(crowd: Database) -> None:
    """What is explained finds rows: an empty table would be read by index as well."""
    async with crowd.begin() as connection:
        counted = await connection.exec_driver_sql(
            "SELECT state, client_id, count(*) FROM tasks GROUP BY state, client_id"
        )
        found = {(row["state"], row["client_id"]): row["count"] for row in counted.mappings()}
        assert {state for state, _ in found} == set(State)
        assert sum(found.values()) == 30_000
        assert found[State.QUEUED, FLOODER] > 9_000
        assert await forecast.forecast(connection, FLOODER, [LAST], WIDE)
        assert (await admission.next_chance(connection, WIDE)).seconds == 0
        claimed = await admit(connection, plain=False)
        assert len(claimed) == 20
        assert len(await admission.claimed_by(connection, uuid.UUID(int=1))) == 20
        assert len(await stuck.list_stuck(connection, grace=60, limit=200)) == 200
        assert len(await ask(connection)) == 10
        assert await sweep.free_lost(connection, limit=200, expires_in=1, window=10)
        for state in (State.QUEUED, State.UNCONFIRMED, State.RUNNING):
            assert await sweep.expire(connection, state, limit=200, ask_in=None)
        new = new_task(uuid.UUID(int=0), idempotency_key=KEY)
        assert (await storing.insert_task(connection, new)).id == TASK
        assert await clients.find_key(connection, digest("17")) is not None
        assert len(await callbacks.read_callbacks(connection, TASK, limit=50, weight=9999)) == 2
        await connection.rollback()


PLANNED_ANEW = 5
"""Runs that PostgreSQL plans anew in any case, before it compares."""
KEPT: dict[str, Work] = {
    "insert_task": lambda connection: storing.insert_task(connection, new_task(CLIENT)),
    "admit": partial(admit, limit=1),
    "forecast beside a flood": lambda connection: forecast.forecast(
        connection, OTHER, [LAST], WIDE
    ),
    "queued beside a flood": lambda connection: sizes.queued(
        connection, OTHER, WIDE, QueueBounds()
    ),
    "insert_callback": HOT["insert_callback"][0],
    "accept": HOT["accept"][0],
    "move": HOT["move"][0],
}


@each("work", KEPT.values())
async def test_the_plan_of_a_hot_statement_is_kept(crowd: Database, work: Work) -> None:
    """As in production: the tests' own servers are told to keep each plan."""
    async with crowd.begin() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        for setting in ("DISCARD PLANS", "SET LOCAL plan_cache_mode = auto"):
            await connection.exec_driver_sql(setting)
        read = "SELECT statement, custom_plans FROM pg_prepared_statements"
        before = dict(await driver.fetch(read))
        for _ in range(2 * PLANNED_ANEW):
            nested = await connection.begin_nested()
            await work(connection)
            await nested.rollback()
        after = dict(await driver.fetch(read))
        often = [one for one in after if after[one] - before.get(one, 0) > PLANNED_ANEW]
        assert not often
        await connection.rollback()
