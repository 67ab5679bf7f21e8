"""The gateway's tables as the lab sees them, and the one way in which it makes time pass."""

import contextlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

import asyncpg

from app.services.deliveries.deliver import LEASE_MARGIN
from tests.faults.lab.audit import Delivery, Move, Statement, Task
from tests.faults.lab.truth import Facts
from tests.faults.shifting import PROBE_NOW, SKIP, waking

DELIVERY_TIMEOUT = 2
"""Seconds; the receiver answers at once."""
Rows: TypeAlias = "list[asyncpg.Record]"

SETTLING = timedelta(seconds=3)
"""For so long an open task is left to its callback before it is asked about."""
UNRENEWED = timedelta(seconds=10)
"""A lease of a living process was renewed less than that ago."""
DELIVERY_LEASE = timedelta(seconds=DELIVERY_TIMEOUT + LEASE_MARGIN)
SENT_LONG_SINCE = timedelta(seconds=5)
"""A delivery that was sent so long ago and is not settled was sent by somebody who died."""

_TASKS = """
SELECT id::text, coalesce(idempotency_key, metadata->>'call') AS key, state, fail_source,
       kie_task_id,
       due_at IS NOT NULL OR leased_until IS NOT NULL OR expires_at IS NOT NULL AS owes,
       coalesce(extract(epoch FROM clock_timestamp() - least(due_at, leased_until, expires_at,
                CASE state WHEN 'queued' THEN submit_by END)), 0)::float8 AS overdue
FROM tasks WHERE coalesce(idempotency_key, metadata->>'call') LIKE $1 || '%' ORDER BY id
"""
_MOVES = """
SELECT task_id::text, kind, from_state AS left, to_state AS target, reason,
       extract(epoch FROM at)::float8 AS at
FROM task_events WHERE task_id = ANY($1::uuid[]) ORDER BY id
"""
_STATEMENTS = """
SELECT task_id::text, source, verdict, signature, kie_task_id, kie_state AS end,
       times_seen AS times
FROM callbacks WHERE task_id = ANY($1::uuid[]) ORDER BY received_at, id
"""
_DELIVERIES = """
SELECT 'msg_' || replace(id::text, '-', '') AS webhook_id, task_id::text, event, state,
       origin_id IS NOT NULL AS repeats
FROM deliveries WHERE task_id = ANY($1::uuid[]) ORDER BY id
"""
_KEPT = """
SELECT id::text, jsonb_build_object('state', state, 'result', result, 'result_urls', result_urls,
  'credits_consumed', credits_consumed, 'fail_code', fail_code, 'fail_message', fail_message,
  'duration_seconds', duration_seconds,
  'kie_created_at', round(extract(epoch FROM kie_created_at) * 1000),
  'kie_completed_at', round(extract(epoch FROM kie_completed_at) * 1000))::text AS kept
FROM tasks WHERE id = ANY($1::uuid[])
"""
_SKIP = waking(
    SKIP + "AND (finished_at IS NOT NULL OR updated_at < clock_timestamp() - $1::interval)",
    *("poll", "queue"),
)
_FREE_UNRENEWED = """
UPDATE tasks SET leased_until = clock_timestamp() WHERE leased_until BETWEEN clock_timestamp()
AND clock_timestamp() + interval '30 s' - $1::interval
AND pg_postmaster_start_time() < clock_timestamp() - 2 * $1::interval
"""
_RETRY = """
UPDATE deliveries SET due_at = clock_timestamp(),
leased_until = CASE WHEN leased_until > clock_timestamp() + $1::interval THEN leased_until
WHEN leased_until IS NOT NULL THEN least(leased_until, clock_timestamp()) END
WHERE state = 'pending' AND (due_at > clock_timestamp() OR leased_until <= clock_timestamp() + $1)
"""
_FREE_ALL = "UPDATE {} SET leased_until = clock_timestamp() WHERE leased_until > clock_timestamp()"
_LAPSE = """
UPDATE tasks SET expires_at = clock_timestamp() WHERE id = ANY($1::uuid[])
AND state = 'unconfirmed' AND due_at IS NULL AND expires_at > clock_timestamp()
"""
_INSTANTS = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_name IN ('kie_account', 'kie_breakers', 'kie_slots')
  AND data_type = 'timestamp with time zone'
"""
_NAMES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


class Tables:
    """Reads and shifts rows; a connection for each look, since PostgreSQL comes and goes."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def names(self) -> frozenset[str]:
        return frozenset(row[0] for row in await self._rows(_NAMES)) - {"alembic_version"}

    async def read(self, prefix: str) -> list[Task]:
        """Return the tasks whose keys begin so, with their histories and what kie.ai said."""
        rows = await self._rows(_TASKS, prefix)
        ids = [row["id"] for row in rows]
        moves = _by_task(await self._rows(_MOVES, ids))
        statements = _by_task(await self._rows(_STATEMENTS, ids))
        return [
            Task(
                **row,
                moves=[Move(**move) for move in moves[row["id"]]],
                statements=[Statement(**said) for said in statements[row["id"]]],
            )
            for row in rows
        ]

    async def deliveries(self, ids: Sequence[str]) -> list[Delivery]:
        """Return what was put out about these tasks."""
        return [Delivery(**row) for row in await self._rows(_DELIVERIES, list(ids))]

    async def kept(self, ids: Sequence[str]) -> Mapping[str, Facts]:
        """Return by task what is kept of its end; instants are unix milliseconds."""
        rows = await self._rows(_KEPT, list(ids))
        return {row["id"]: json.loads(row["kept"]) for row in rows}

    async def hasten(self) -> None:
        """Make due what waits for a later minute, and let the leases of the dead run out."""
        await self._rows(_SKIP, SETTLING)
        await self._rows(_FREE_UNRENEWED, UNRENEWED)
        await self._rows(_RETRY, DELIVERY_LEASE - SENT_LONG_SINCE)
        for statement in PROBE_NOW:
            await self._rows(statement)

    async def let_an_hour_pass(self) -> None:
        """Between runs: the account forgets what it used and what it learned of its limits."""
        for table, column in await self._rows(_INSTANTS):
            await self._rows(f"UPDATE {table} SET {column} = {column} - interval '1 hour'")  # noqa: S608  # names of the schema's own

    async def free_all_leases(self) -> None:
        """To be used while no process lives."""
        for table in ("tasks", "deliveries"):
            await self._rows(_FREE_ALL.format(table))

    async def lapse(self, ids: Sequence[str]) -> None:
        """End the bound of unconfirmed tasks that nobody is asking about."""
        await self._rows(_LAPSE, list(ids))

    async def _rows(self, statement: str, *values: object) -> Rows:
        """Shifting many rows may cross the gateway's own locks: whoever is told so tries again."""
        connection = await asyncpg.connect(self._dsn)
        try:
            while True:
                with contextlib.suppress(asyncpg.DeadlockDetectedError):
                    return await connection.fetch(statement, *values)
        finally:
            await connection.close()


def _by_task(rows: Rows) -> Mapping[str, list[dict[str, Any]]]:
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        values = dict(row)
        found[values.pop("task_id")].append(values)
    return found
