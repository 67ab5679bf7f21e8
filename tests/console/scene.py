"""A gateway's database some weeks on, with one of everything that the console shows."""

import struct
import zlib
from pathlib import Path

import asyncpg

from benchmarks import seed

FINISHED = 600
"""Tasks that ended, over 30 days."""


_WORDS = """
UPDATE clients SET name = (ARRAY['shop', 'studio', 'crm-images', 'newsletter', 'avatar-app',
    'intranet', 'print-room', 'kiosk', 'campaigns', 'lab'])[1 + right(name, 1)::int];
UPDATE clients SET webhook_url = 'https://hooks.internal/' || name || '/s3cret-path';
UPDATE tasks SET model = (ARRAY['google/nano-banana', 'google/nano-banana-edit',
    'bytedance/seedream-v4', 'kling/v2-1-standard'])
    [1 + regexp_replace(model, '\\D', '', 'g')::int % 4];
TRUNCATE usage_daily, spend_daily;
"""
_MORE = """
CREATE FUNCTION pg_temp.made(n int, at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
        || substr(md5('scene' || n), 1, 3) || '8' || substr(md5('scene' || n), 4, 15))::uuid;

INSERT INTO tasks (id, client_id, state, model, input, metadata, priority, fingerprint, attempt,
    kie_task_id, kie_state, kie_message, created_at, updated_at, submitted_at, submit_by, due_at,
    expires_at, parked_at, poll_errors, last_poll_error, reserved)
SELECT pg_temp.made(n, at), c.id, state, model, '{"prompt": "a cat"}',
       jsonb_build_object('order', 'A-' || 1000 + n), 5, '\\x00', CASE state WHEN 'queued' THEN 0
       ELSE 1 END, CASE WHEN state = 'running' THEN md5('at kie ' || n) END,
       CASE WHEN state = 'running' THEN 'generating' END,
       CASE WHEN state = 'unconfirmed' THEN 'connection reset while reading the answer' END,
       at, at, CASE WHEN state <> 'queued' THEN at + interval '1 s' END, at + interval '1 hour',
       CASE WHEN n <> 16 THEN now() + interval '40 s' END,
       CASE WHEN state <> 'queued' THEN at + interval '1 day' END,
       CASE WHEN n = 16 THEN now() - interval '2 min' END, CASE WHEN n = 16 THEN 5 ELSE 0 END,
       CASE WHEN n = 16 THEN 'DataError in the answer to a query' END, 8
FROM (SELECT n, now() - make_interval(secs => n * 21) AS at,
        (ARRAY['google/nano-banana', 'bytedance/seedream-v4', 'kling/v2-1-standard'])[1 + n % 3]
            AS model,
        (ARRAY['shop', 'studio', 'shop', 'avatar-app'])[1 + n % 4] AS client,
        CASE WHEN n > 16 THEN 'unconfirmed' WHEN n > 8 THEN 'running' ELSE 'queued' END AS state
      FROM generate_series(1, 18) n) given
JOIN clients c ON c.name = given.client;
INSERT INTO task_events (task_id, client_id, from_state, to_state, attempt, at)
SELECT id, client_id, NULL, 'queued', 0, created_at FROM tasks WHERE finished_at IS NULL;
INSERT INTO task_events (task_id, client_id, from_state, to_state, attempt, at, reason)
SELECT id, client_id, 'queued', 'submitting', 1, submitted_at, NULL FROM tasks
WHERE finished_at IS NULL AND state <> 'queued'
UNION ALL SELECT id, client_id, 'submitting', state, 1, submitted_at + interval '1 s', kie_message
FROM tasks WHERE finished_at IS NULL AND state <> 'queued';

INSERT INTO deliveries (id, client_id, task_id, event, url, host, body, state, tries, created_at,
                        finished_at)
SELECT pg_temp.made(100 + n::int, finished_at), client_id, id, 'task.succeeded',
       'https://hooks.internal/s3cret-path', 'hooks.internal', '{}', 'exhausted', 12,
       finished_at, finished_at + interval '72 hours'
FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM tasks WHERE state = 'succeeded') t
WHERE n % 150 = 0;
INSERT INTO delivery_attempts (delivery_id, number, at, seconds, status, error, answer,
                               answer_bytes, answer_type)
SELECT id, 12, finished_at, 1.2, 502, NULL, 'Bad Gateway', 11, 'text/plain' FROM deliveries
WHERE state = 'exhausted';
INSERT INTO disabled_urls (client_id, url, reason)
SELECT id, 'https://old.internal/s3cret-path', 'gone' FROM clients WHERE name = 'newsletter';

INSERT INTO usage_daily (client_id, day, model, key, value, succeeded, failed, canceled, expired,
                         credits, seconds)
SELECT client_id, (finished_at AT TIME ZONE 'UTC')::date, model, '', '',
       count(*) FILTER (WHERE state = 'succeeded'), count(*) FILTER (WHERE state = 'failed'),
       0, 0, sum(credits_consumed), sum(duration_seconds)
FROM tasks WHERE finished_at IS NOT NULL GROUP BY 1, 2, 3;
INSERT INTO spend_daily (client_id, day, spent, reserved)
SELECT client_id, (created_at AT TIME ZONE 'UTC')::date, sum(coalesce(credits_consumed, 0)), 0
FROM tasks GROUP BY 1, 2;
INSERT INTO models (client_id, model, tasks_24h, succeeded_24h, faults_24h, tasks_7d, succeeded_7d,
    credits_p50, credits_p90, seconds_p50, seconds_p95, measured, last_success_at)
SELECT '00000000-0000-0000-0000-000000000000', model, count(*) / 3,
       count(*) FILTER (WHERE state = 'succeeded') / 3, 0, count(*),
       count(*) FILTER (WHERE state = 'succeeded'), 12, 21, 31, 58, count(*), max(finished_at)
FROM tasks WHERE finished_at IS NOT NULL GROUP BY model ON CONFLICT DO NOTHING;
INSERT INTO balance_readings (at, balance, booked, reserved, unknown)
SELECT now() - make_interval(hours => 10 * n), 9000 + 55 * n + CASE WHEN n > 1 THEN 12 ELSE 0 END,
       6000 - 55 * n, 0, 0 FROM generate_series(0, 60) n;
INSERT INTO budgets (client_id, period, credits, mode, thresholds)
SELECT id, 'month', 2500, 'hard', '{80,95,100}' FROM clients WHERE name IN ('shop', 'studio');
INSERT INTO api_keys (id, client_id, digest, hint, last_used_at)
SELECT gen_random_uuid(), id, sha256(name::bytea), 'kgw_' || left(md5(name), 6), now()
FROM clients;
INSERT INTO admin_keys (id, name, role, digest, hint, last_used_at)
SELECT gen_random_uuid(), name, role, sha256(name::bytea), 'kga_' || left(md5(name), 6), now()
FROM (VALUES ('ann', 'keys'), ('night-shift', 'operate'), ('dashboard', 'read')) k (name, role);
INSERT INTO audit_entries (actor, action, who, client, detail, address)
VALUES ('console', 'admission_paused', 'ann', 'newsletter', '{"note": "wrong prompt"}', '10.1.2.3'),
       ('command_line', 'budget_set', 'root', 'shop', '{"period": "month"}', NULL);
UPDATE client_queues SET paused_at = now() - interval '9 min', pause_note = 'wrong prompt'
WHERE client_id = (SELECT id FROM clients WHERE name = 'newsletter');
INSERT INTO artifacts (task_id, n, client_id, kind, digest, state, object, content_type, bytes,
                       sha256, finished_at)
SELECT t.id, n, t.client_id, 'url', n::text::bytea, 'stored', 'picture-' || n || '.png',
       'image/png', $1, sha256('x'), t.finished_at
FROM (SELECT * FROM tasks WHERE state = 'succeeded' ORDER BY id DESC LIMIT 1) t,
     generate_series(1, 2) n
"""
LATEST = "SELECT id FROM tasks WHERE state = 'succeeded' ORDER BY id DESC LIMIT 1"
LOST = "SELECT id FROM tasks WHERE state = 'unconfirmed' ORDER BY id DESC LIMIT 1"


async def fill(dsn: str, archive: Path) -> None:
    """Fill an empty, migrated database, and the archive with two pictures."""
    await seed.seed(dsn, FINISHED)
    pictures = [picture(number) for number in (1, 2)]
    for number, content in enumerate(pictures, 1):
        (archive / f"picture-{number}.png").write_bytes(content)
    sql = await asyncpg.connect(dsn)
    try:
        await sql.execute("SET session_replication_role = replica")
        await sql.execute(_WORDS)
        await sql.execute(_MORE.replace("$1", str(len(pictures[0]))))
        await sql.execute("ANALYZE")
    finally:
        await sql.close()


def picture(number: int, side: int = 128) -> bytes:
    """Draw a PNG of two colours that run into each other."""
    rows = b"".join(
        b"\0" + b"".join(_colour(number, x / side, y / side) for x in range(side))
        for y in range(side)
    )
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def _colour(number: int, x: float, y: float) -> bytes:
    sun = (x - 0.7) ** 2 + (y - 0.3) ** 2 < 0.02 * number
    if sun:
        return bytes((255, 214, 102))
    return bytes((int(60 + 120 * y), int(90 + 90 * x), int(200 - 60 * number * y)))


async def one(dsn: str, statement: str) -> str:
    """Return what a statement finds, as text."""
    sql = await asyncpg.connect(dsn)
    try:
        return str(await sql.fetchval(statement))
    finally:
        await sql.close()
