"""Databases of the tests: what is in them goes quickly, and new ones are copied, not migrated."""

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

TABLES = (
    *(
        "delivery_attempts",
        "deliveries",
        "delivery_hosts",
        "delivery_urls",
        "disabled_urls",
        "failing_urls",
    ),
    "artifacts",
    *(
        "erased_tasks",
        "callbacks",
        "feed",
        "task_events",
        "tasks",
        "queue_sizes",
        "client_queues",
        "kie_slots",
        "kie_breakers",
        "processes",
        "audit_entries",
        "bulk_runs",
        "admin_keys",
    ),
    *("usage_entries", "usage_daily", "spend_daily", "budgets"),
    "files",
    *("model_hours", "models", "balance_readings"),
    *("api_keys", "clients"),
)
"""Whose rows go after a test; those that refer to others first."""

KEEP_ACCOUNT = """
INSERT INTO kie_account
    (id, counter, system_identifier, timeline, database_oid, server_started_at)
SELECT 1, coalesce(counter, 0), system_identifier, timeline, database_oid, server_started_at
FROM json_to_record(nullif(current_setting('tests.account', true), '')::json) AS kept
    (counter bigint, system_identifier bigint, timeline bigint, database_oid bigint,
    server_started_at timestamptz)
"""
"""The row anew, but for what tells the database from another."""

TAKEN = f"BEGIN; LOCK TABLE {', '.join(TABLES)} IN EXCLUSIVE MODE"
"""Who dies may still be committing."""

FULL = " UNION ALL ".join(
    f"SELECT '{table}' WHERE EXISTS (SELECT FROM {table})"  # noqa: S608  # our own names
    for table in TABLES
)
"""Names the tables that have rows: most have none, and each DELETE is planned anew."""

LEFT = (
    "SELECT set_config('tests.account', to_json(kie_account)::text, true) FROM kie_account",
    "DELETE FROM kie_account",
    # Processes that live longer than a test would take a new counter for a loss.
    KEEP_ACCOUNT,
    "UPDATE feed_writer SET holder = NULL, leased_until = NULL WHERE leased_until IS NOT NULL",
    "COMMIT",
)
"""What has the same row in every empty database."""


async def emptied(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Leave the database as it was migrated, though a gateway may be writing to it.

    It locks tables in another order than we do: who is found in a deadlock gives way, and we
    begin again. TRUNCATE makes new files: 41 ms where this takes 3.
    """
    while True:
        try:
            await connection.execute(TAKEN)
            full = [row[0] for row in await connection.fetch(FULL)]
            deletes = (f"DELETE FROM {table}" for table in full)  # noqa: S608  # our own names
            await connection.execute("; ".join((*deletes, *LEFT)))
        except asyncpg.DeadlockDetectedError:
            await connection.execute("ROLLBACK")
        else:
            return


RELAXED = {
    # What guards against a loss of power, which a server of the tests does not outlive anyway.
    **dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit"), "off"),
    # A statement is planned once on each connection. By default it is planned at each of its first
    # five executions, and few connections of a test see more: planning was most of what it took.
    "plan_cache_mode": "force_generic_plan",
}
"""Settings of a server that only tests use."""


def with_database(dsn: str, name: str) -> str:
    """Return the DSN of another database of the same server."""
    head, _, query = dsn.partition("?")
    return f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")


def execute(dsn: str, *statements: str) -> None:
    """Run statements one by one, each in a transaction of its own. Blocks."""

    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def fetch(dsn: str, query: str, *arguments: object) -> Any:
    """Return the first value of the first row of a query's answer. Blocks."""

    async def run() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    return asyncio.run(run())


def relaxed(dsn: str) -> None:
    """Spare a server that only tests use what they do not need."""
    settings = (f"ALTER SYSTEM SET {name} = {value}" for name, value in RELAXED.items())
    execute(dsn, *settings, "SELECT pg_reload_conf()")


def migrated(server: str, run: Path) -> str:
    """Return the name of a migrated database to copy; the first process of the run makes it.

    `run` is a directory that the processes of the run share.
    """
    name = template(run)
    with _locked(run / "template.lock"):
        done = run / "template.done"
        if not done.exists():
            from app.store import schema  # noqa: PLC0415  # tests without a database do not wait

            execute(server, f"CREATE DATABASE {name}")
            schema.upgrade(with_database(server, name))
            done.touch()
    return name


def template(run: Path) -> str:
    return f"template_{run.name.rpartition('-')[2]}"


def drop_template(server: str, run: Path) -> None:
    if (run / "template.done").exists():
        execute(server, f"DROP DATABASE IF EXISTS {template(run)} WITH (FORCE)")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
