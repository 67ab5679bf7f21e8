"""After an erasure no column of any table has anything of what was said, and the archive neither.

The columns are asked for from the database, none is listed here: every one that can hold a text has
a mark of its own before the erasure, or a reason why it cannot. So a new column, or a new table,
fails this test until somebody has thought about it.
"""

import io
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from tests.api.conftest import StartInside
from tests.api.stage import Sql
from tests.api.test_erasure import MARKS, furnish
from tests.gateway import OPERATOR
from tests.services.callers import Caller, listening
from tests.upstream import Upstream

MARK = re.compile(r"zq\w+zq")

NOBODYS = {
    "admin_keys": "operators' keys",
    "alembic_version": "the schema",
    "schema_releases": "the schema",
    "processes": "the gateway's own",
    "bulk_runs": "numbers only",
    "audit_entries": "cannot be changed, and its entries name no content",
    "kie_slots": "ids only",
    "feed_writer": "ids only",
    "feed": "ids only",
    "queue_sizes": "numbers only",
    "balance_readings": "numbers only",
    "spend_daily": "numbers only",
    "erased_tasks": "what an erasure leaves: ids and a hash",
}
"""Tables without anything that a client, a receiver or kie.ai wrote."""

FIXED = {
    "clients.name": "stays: nobody may take it again",
    "files.sha256": "a hash",
}
"""Columns that take no mark, beside those that take only words of ours."""

ROWS = """
INSERT INTO kie_breakers (client_id, model, hold_reason, held_since, held_at, held_until)
    SELECT id, 'm', 'kie_busy', now(), now(), now() FROM clients;
INSERT INTO disabled_urls (client_id, url) SELECT client_id, webhook_url FROM tasks LIMIT 1;
INSERT INTO budgets (client_id, period, credits, mode, thresholds)
    SELECT id, 'day', 5, 'warn', '{80}' FROM clients;
INSERT INTO files (id, client_id, name, content_type, bytes, sha256, url, expires_at)
    SELECT gen_random_uuid(), id, 'n', 't', 1, sha256(''), 'u', now() FROM clients;
INSERT INTO usage_entries (client_id, task_id, day, created_day, model, metadata, reserved)
    SELECT client_id, id, now(), now(), model, metadata, 0 FROM tasks;
INSERT INTO delivery_urls (client_id, lane, host) SELECT id, 1, 'h' FROM clients;
INSERT INTO delivery_hosts (host) VALUES ('h');
INSERT INTO models SELECT client_id, model, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, now() FROM tasks LIMIT 1;
UPDATE kie_account SET hold_client_id = (SELECT id FROM clients), hold_reason = 'kie_busy',
    held_since = now(), held_at = now(), held_until = now(),
    failed_clients = ARRAY(SELECT id FROM clients), failures = 1;
"""
"""What the traffic of this test leaves no row of."""

ENDED = ("state", "left_state", "fail_class", "left_class")

OF_A_CLIENT = {
    **{f"usage_entries.{name}": "a word of ours" for name in ENDED},
    "usage_daily.model": "what it used stays",
    "usage_entries.model": "the same, not folded yet",
    "clients.name": "nobody may take it again",
    "delivery_hosts.host": "a receiver's host, ten days at most",
    "kie_account.pause_note": "an operator's words",
    "kie_account.restored_detail": "the gateway's words about the database",
}
"""What may stay of an erased client."""

OF_A_TASK = OF_A_CLIENT | {
    "kie_account.hold_detail": "kie.ai's words about the account",
    "kie_account.failed_models": "models",
    "kie_account.succeeded_model": "a model",
}
"""What may stay of an erased task, beside its client's own."""

THE_CLIENTS = frozenset(
    ("clients", "api_keys", "client_queues", "files", "kie_breakers", "models", "model_hours")
) | frozenset(("delivery_urls", "budgets"))
"""Tables of a client of which nothing belongs to one task."""

TEXTS = {
    "text": "{}",
    "bytea": "convert_to({}, 'UTF8')",
    "json": "json_build_object({0}, {0})",
    "jsonb": "jsonb_build_object({0}, {0})",
    "_text": "ARRAY[{}]",
}
"""The types that hold texts, and how a mark is written as one."""


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[Caller]:
    async with listening() as caller:
        yield caller


async def text_columns(sql: Sql) -> dict[str, str]:
    """Return the type of every column that can hold a text, by `table.column`."""
    rows = await sql.fetch(
        "SELECT table_name, column_name, udt_name FROM information_schema.columns"
        " WHERE table_schema = 'public'"
    )
    unknown = {row["udt_name"] for row in rows} - TEXTS.keys() - OTHER_TYPES
    assert not unknown, f"can these hold a text? {unknown}"
    return {
        f"{row['table_name']}.{row['column_name']}": row["udt_name"]
        for row in rows
        if row["udt_name"] in TEXTS
    }


OTHER_TYPES = {
    *("uuid", "bool", "int2", "int4", "int8", "float8", "numeric", "timestamptz", "date"),
    *("_uuid", "_int4", "_int8", "int8multirange", "varchar"),
}
"""Of numbers, ids and instants; `varchar` is Alembic's own."""


async def marked(sql: Sql, columns: Mapping[str, str]) -> set[str]:
    """Return the columns that have a mark in some row."""
    found = set()
    for name, kind in columns.items():
        table, column = name.split(".")
        text = f"encode({column}, 'escape')" if kind == "bytea" else f"{column}::text"
        query = f"SELECT string_agg({text}, ' ') FROM {table}"  # noqa: S608  # from the catalogue
        if MARK.search(await sql.fetchval(query) or ""):
            found.add(name)
    return found


async def plant(sql: Sql, name: str, kind: str) -> str | None:
    """Write a mark into a column of every row; returns why that was refused."""
    table, column = name.split(".")
    mark = f"'zq{table}_{column}zq' || translate(ctid::text, '(,)', '___')"
    value = TEXTS[kind].format(mark)
    try:
        done = await sql.execute(f"UPDATE {table} SET {column} = {value}")  # noqa: S608  # as above
    except asyncpg.PostgresError as error:
        return str(error)
    return "it has no row" if done == "UPDATE 0" else None


async def words_of_ours(sql: Sql) -> set[str]:
    """Return the columns that take nothing but words of a list."""
    rows = await sql.fetch(
        "SELECT conrelid::regclass::text AS table, attname AS column FROM pg_constraint"
        " JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)"
        " WHERE contype = 'c' AND array_length(conkey, 1) = 1"
        " AND pg_get_constraintdef(pg_constraint.oid) ~ '= ANY|= ''[a-z_]+''::text'"
    )
    return {f"{row['table']}.{row['column']}" for row in rows}


async def mark_every_column(sql: Sql, columns: Mapping[str, str]) -> None:
    """Have a mark in every column, by the traffic or planted; fails where there is none."""
    natural, ours = await marked(sql, columns), await words_of_ours(sql)
    bare: dict[str, str] = {}
    for name in columns.keys() - natural - ours - FIXED.keys():
        if name.split(".")[0] not in NOBODYS:
            why = await plant(sql, name, columns[name])
            bare |= {name: why} if why else {}
    assert bare == {}, "these may hold content, and this test could not show that it goes"


@pytest.mark.parametrize("whole", [True, False], ids=["a client", "its tasks"])
async def test_no_column_keeps_anything(
    start_inside: StartInside,
    upstream: Upstream,
    caller: Caller,
    sql: Sql,
    logged: io.StringIO,
    tmp_path: Path,
    whole: bool,  # noqa: FBT001  # a parameter
) -> None:
    archive = tmp_path / "archive"
    inside = await start_inside(delivery_allow_loopback=True, archive_url=f"file://{archive}")
    services = inside.services
    ids = await furnish(inside.gateway, services, upstream, caller, sql)
    await services.sweeper.sweep()
    await sql.execute(ROWS)
    columns = await text_columns(sql)
    await mark_every_column(sql, columns)
    await sql.execute("UPDATE artifacts SET state = 'stored', due_at = NULL, finished_at = now()")
    archive.mkdir(exist_ok=True)
    for (name,) in await sql.fetch(
        "SELECT object FROM artifacts UNION SELECT object_name FROM files"
    ):
        (archive / name).write_text(MARKS["result"])
    before = len(logged.getvalue())

    if whole:
        await services.erasure.client(OPERATOR, "tests")
    for task_id in () if whole else ids:
        await services.erasure.of_any_client(OPERATOR, UUID(task_id))
    await services.archiver.archive_due()
    await services.archiver.ended()
    if whole:
        assert (await services.erasure.client(OPERATOR, "tests")).left == {}
    kept = {one.name for one in archive.rglob("*") if one.is_file()}
    assert all(name.startswith("zqfiles_") and not whole for name in kept), kept
    left = {
        name
        for name in await marked(sql, columns)
        if whole or name.split(".")[0] not in THE_CLIENTS
    }
    assert left <= (OF_A_CLIENT if whole else OF_A_TASK).keys()
    said = MARK.findall(logged.getvalue()[before:])
    assert said == []
