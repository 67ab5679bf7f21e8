"""Fill an empty database with finished tasks, and with everything that is kept below them.

`python -m benchmarks.seed TASKS [--dsn URL]`. By INSERT … SELECT, thousands of tasks a statement,
with all indexes in place, as a gateway would have grown. Sizes are those of an image model: inputs
of half a kilobyte, a callback that repeats them, two result URLs, one delivery that arrived. Texts
are of digits that do not compress to nothing. What is numbered goes on from 1, so that any seeded
row can be named: see `task_id`. Without a DSN it fills a server of its own, tells sizes and goes.
"""

import argparse
import asyncio
import sys
import time
from uuid import UUID

import asyncpg

from app.store import schema
from benchmarks.against.postgres import server
from benchmarks.scene import Connection, own_database, say

CLIENTS = 10
MODELS = 20
BATCH = 10_000
"""Tasks of one statement."""
SAY_EVERY = 10.0
DAYS = 30
"""Over which the tasks spread, whatever their number."""

TABLES = (
    *("tasks", "callbacks", "task_events", "feed", "deliveries", "delivery_attempts"),
    *("usage_entries", "usage_daily", "spend_daily"),
)

HELD = """
INSERT INTO clients (id, name, signing_secret, webhook_url)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'seeded-' || n, '\\x00', 'https://hooks.example/' || n
FROM generate_series(0, $1::int - 1) n
"""
QUEUES = "INSERT INTO client_queues (client_id) SELECT id FROM clients ON CONFLICT DO NOTHING"

FINISHED = """
WITH given AS (
    SELECT $1::int AS first, $2::int AS last, $3::int AS tasks, $4::timestamptz AS until
),
numbered AS MATERIALIZED (
    SELECT n, lpad(to_hex(n % 10), 32, '0')::uuid AS client_id,
           until - make_interval(days => 30) * (tasks - n + 1) / tasks AS at,
           md5('kie ' || n) AS kie_id, n % 20 = 0 AS failed,
           'https://tempfile.example/r/' || md5('r' || n) AS url,
           (md5('a' || n) || md5('b' || n) || md5('c' || n) || md5('d' || n)) AS words
    FROM given, generate_series(first, last) n
), made AS MATERIALIZED (
    SELECT *, CASE WHEN failed THEN 'failed' ELSE 'succeeded' END AS state,
           seeded_id(n, at) AS id, seeded_id(n, at + interval '41 s') AS later_id,
           'vendor/model-' || n % 20 AS model,
           format('{"prompt": "%s %s %s %s", "aspect_ratio": "16:9", "output_format": "png"}',
                  words, words, words, words) AS input
    FROM numbered
), stored AS (
    INSERT INTO tasks (id, client_id, state, model, input, input_bytes, metadata, priority,
        fingerprint, idempotency_key, attempt, kie_task_id, kie_state, result, result_urls,
        fail_code, fail_message, fail_source, fail_class, retryable, credits_consumed,
        duration_seconds, settled_by, confirmed_at, kie_created_at, kie_completed_at, created_at,
        submit_by, submitted_at, finished_at, updated_at, version, reserved, booked)
    SELECT id, client_id, state, model, input::json, length(input),
        jsonb_build_object('order', 'A-' || n, 'shop', 'shop-' || n % 50), 5,
        decode(md5('f' || n), 'hex'), CASE WHEN n % 2 = 0 THEN md5('key ' || n) END, 1, kie_id,
        CASE WHEN failed THEN 'fail' ELSE 'success' END,
        CASE WHEN NOT failed THEN json_build_object('resultUrls', ARRAY[url || '-0.png',
            url || '-1.png']) END,
        CASE WHEN NOT failed THEN ARRAY[url || '-0.png', url || '-1.png'] ELSE '{}' END,
        CASE WHEN failed THEN '500' END, CASE WHEN failed THEN 'Internal Error' END,
        CASE WHEN failed THEN 'kie' END, CASE WHEN failed THEN 'provider' END,
        CASE WHEN failed THEN true END, CASE WHEN failed THEN 0 ELSE 4 + n % 20 END, 31.5,
        'callback', at + interval '42 s', at + interval '1 s', at + interval '40 s', at,
        at + interval '1 hour', at + interval '1 s', at + interval '41 s', at + interval '42 s', 4,
        4 + n % 20, true
    FROM made
), reported AS (
    INSERT INTO callbacks (id, task_id, source, received_at, body, sha256, headers, signature,
        verdict, code, message, kie_task_id, kie_state, result, result_urls, credits_consumed,
        duration_seconds)
    SELECT later_id, id, 'callback', at + interval '41 s',
        convert_to(format('{"code":200,"msg":"success","data":{"taskId":"%s","model":"%s",'
            '"state":"success","param":"%s","resultJson":"%s","costTime":31,'
            '"creditsConsumed":%s,"completeTime":1776862607160,"createTime":1776862567160}}',
            kie_id, model, replace(input, '"', '\\"'), url || '-0.png ' || url || '-1.png', n % 20),
            'UTF8'),
        sha256(words::bytea),
        '{"content-type": "application/json", "user-agent": "kie", "content-length": "1400"}',
        'unchecked', 'applied', 200, 'success', kie_id, 'success',
        json_build_object('resultUrls', ARRAY[url || '-0.png', url || '-1.png']),
        ARRAY[url || '-0.png', url || '-1.png'], 4 + n % 20, 31.5
    FROM made
), moved AS (
    INSERT INTO task_events (task_id, client_id, from_state, to_state, attempt, at)
    SELECT id, client_id, step.from_state, coalesce(step.to_state, made.state),
           CASE WHEN step.number = 0 THEN 0 ELSE 1 END, at + make_interval(secs => step.number)
    FROM made CROSS JOIN (VALUES (0, NULL, 'queued'), (1, 'queued', 'submitting'),
        (2, 'submitting', 'running'), (41, 'running', NULL)) step (number, from_state, to_state)
    ORDER BY at + make_interval(secs => step.number)
    RETURNING id, client_id
), placed AS (
    INSERT INTO feed (client_id, position, event_id, token)
    SELECT client_id, id, id, (random() * 2147483647)::int FROM moved ORDER BY id
), owed AS (
    INSERT INTO deliveries (id, client_id, task_id, event, url, host, body, state, tries,
                            created_at, finished_at)
    SELECT later_id, client_id, id, 'task.' || state, 'https://hooks.example/' || n % 10,
        'hooks.example', convert_to(format('{"id":"%s","event":"task.%s","data":{"id":"%s",'
            '"model":"%s","state":"%s","input":%s,"metadata":{"order":"A-%s"},"kie_task_id":"%s",'
            '"result_urls":["%s-0.png","%s-1.png"],"created_at":"%s","finished_at":"%s"}}',
            later_id, state, id, model, state, input, n, kie_id, url, url, at, at), 'UTF8'),
        'delivered', 1, at + interval '41 s', at + interval '42 s'
    FROM made
)
INSERT INTO delivery_attempts (delivery_id, number, at, seconds, status, address, answer,
                               answer_bytes, answer_type)
SELECT later_id, 1, at + interval '42 s', 0.05, 200, '192.0.2.1', 'ok', 2, 'text/plain' FROM made
"""
IDS = """
CREATE OR REPLACE FUNCTION seeded_id(n bigint, at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
        || substr(md5('id' || n), 1, 3) || '8' || substr(md5('id' || n), 4, 15))::uuid
"""
"""As UUIDv7: in the order of their making."""
SUMS = (
    """
INSERT INTO usage_daily (client_id, day, model, key, value, succeeded, failed, canceled, expired,
                         credits, seconds)
SELECT client_id, (finished_at AT TIME ZONE 'UTC')::date, model, key, value,
       count(*) FILTER (WHERE state = 'succeeded'), count(*) FILTER (WHERE state = 'failed'),
       0, 0, sum(credits_consumed), sum(duration_seconds)
FROM tasks CROSS JOIN LATERAL (
    VALUES ('', ''), ('metadata.shop', metadata ->> 'shop')
) counted (key, value)
GROUP BY 1, 2, 3, 4, 5
""",
    """
INSERT INTO spend_daily (client_id, day, spent, reserved)
SELECT client_id, (created_at AT TIME ZONE 'UTC')::date, sum(credits_consumed), 0
FROM tasks GROUP BY 1, 2
""",
    "UPDATE feed_writer SET (seen, position) = (SELECT max(id), max(id) FROM task_events)",
)

FIND = "SELECT id FROM tasks WHERE kie_task_id = md5('kie ' || $1::int)"

SIZES = """
SELECT t.relname AS of, NULL AS index, pg_table_size(t.oid) AS bytes
FROM pg_class t WHERE t.relname = ANY ($1)
UNION ALL
SELECT t.relname, i.indexrelid::regclass::text, pg_relation_size(i.indexrelid)
FROM pg_class t JOIN pg_index i ON i.indrelid = t.oid WHERE t.relname = ANY ($1)
ORDER BY 1, 2 NULLS FIRST
"""


async def seed(dsn: str, tasks: int) -> None:
    """Store so many finished tasks; the database is migrated and has none."""
    sql = await asyncpg.connect(dsn)
    try:
        if await sql.fetchval("SELECT EXISTS (SELECT FROM tasks)"):
            message = "the database has tasks already: seed an empty one"
            raise SystemExit(message)
        await sql.execute("SET synchronous_commit = off")
        await sql.execute("SET session_replication_role = replica")  # our own rows: no checks
        await sql.execute(IDS)
        await sql.execute(HELD, CLIENTS)
        await sql.execute(QUEUES)
        await _finished(sql, tasks)
        for statement in SUMS:
            await sql.execute(statement)
        await sql.execute(f"VACUUM (ANALYZE) {', '.join(TABLES)}")
        await sql.execute("CHECKPOINT")
    finally:
        await sql.close()


async def _finished(sql: Connection, tasks: int) -> None:
    until = await sql.fetchval("SELECT now()")
    started = said = time.monotonic()
    for first in range(1, tasks + 1, BATCH):
        last = min(tasks, first + BATCH - 1)
        await sql.execute(FINISHED, first, last, tasks, until)
        now = time.monotonic()
        if now - said > SAY_EVERY or last == tasks:
            said = now
            say(f"{last:,} of {tasks:,} tasks, {last / (now - started):,.0f} a second")


async def task_id(sql: Connection, number: int) -> UUID:
    """Return the id of the task that was seeded as such a one, counted from 1."""
    found: UUID = await sql.fetchval(FIND, number)
    return found


async def sizes(sql: Connection) -> dict[tuple[str, str | None], int]:
    """Return the bytes of each table (with what it keeps out of line), and of each index."""
    rows = await sql.fetch(SIZES, list(TABLES))
    return {(row["of"], row["index"]): row["bytes"] for row in rows}


async def _tell(dsn: str, tasks: int) -> None:
    sql = await asyncpg.connect(dsn)
    try:
        found = await sizes(sql)
    finally:
        await sql.close()
    for (table, index), size in found.items():
        print(f"{size / tasks:9.1f} bytes per task  {'  ' + index if index else table}")
    print(f"{sum(found.values()) / tasks:9.1f} bytes per task in all")


def fill(dsn: str, tasks: int) -> None:
    started = time.monotonic()
    asyncio.run(seed(dsn, tasks))
    say(f"seeded {tasks:,} tasks in {time.monotonic() - started:.0f} s")
    asyncio.run(_tell(dsn, tasks))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seed", description=__doc__)
    parser.add_argument("tasks", type=int)
    parser.add_argument("--dsn", help="a database of its own: it is migrated, and has no tasks yet")
    given = parser.parse_args()
    if given.dsn:
        schema.upgrade(given.dsn)
        fill(given.dsn, given.tasks)
        return 0
    with server() as postgres, own_database(postgres.dsn) as dsn:
        fill(dsn, given.tasks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
