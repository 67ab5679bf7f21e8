"""The schema in the database is the one that the code speaks of, and migrations get there."""

import asyncio
import io
import os
import re
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import fields
from enum import StrEnum
from typing import TextIO

import asyncpg
import pytest
import pytest_asyncio
from alembic import command
from alembic.config import Config

from app.api.schemas import deliveries as delivery_schemas
from app.api.schemas import tasks as task_schemas
from app.domain.access import Role
from app.domain.admission import Call, HoldReason
from app.domain.amendment import NAMES
from app.domain.audit import Action, Actor
from app.domain.delivery import DeliveryState, DisableReason, EventType
from app.domain.dialect import Dialect
from app.domain.draft import Draft
from app.domain.evidence import Signature, Verdict
from app.domain.files import ArtifactState
from app.domain.polling import DuePoll
from app.domain.report import Report
from app.domain.sources import Kind
from app.domain.spend import Mode, Period
from app.domain.task import FINAL, Change, FailClass, FailSource, Source, State
from app.store import releases, schema, tables
from app.store.account import admission
from app.store.connections.engine import Database
from app.store.deliveries import history
from app.store.tasks import callbacks, rows, storing
from tests.each import each


def config(dsn: str, stdout: TextIO = sys.stdout) -> Config:
    found = Config(stdout=stdout)
    found.set_main_option("script_location", str(schema.MIGRATIONS).replace("%", "%%"))
    found.attributes["dsn"] = dsn
    return found


@pytest_asyncio.fixture
async def scratch(
    server: str, sql_connection: "asyncpg.Connection[asyncpg.Record]"
) -> AsyncIterator[str]:
    """Lend an empty database for one test."""
    name = f"scratch_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    await sql_connection.execute(f"CREATE DATABASE {name}")
    head, _, query = server.partition("?")
    yield f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
    await sql_connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def present(dsn: str) -> str | None:
    database = Database(dsn, pool_size=1)
    async with database.read() as connection:
        found = await schema.present(connection)
    await database.dispose()
    return found


async def shape(dsn: str) -> set[tuple[str, ...]]:
    """Every column, constraint and index, as PostgreSQL writes them."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        """
        SELECT table_name, column_name::text,
               data_type || is_nullable || coalesce(column_default, '')
        FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL
        SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
        """
    )
    await connection.close()
    return {tuple(row) for row in rows}


async def test_the_tables_and_the_migrations_agree(dsn: str) -> None:
    said = io.StringIO()
    await asyncio.to_thread(command.check, config(dsn, said))
    assert "No new upgrade operations detected" in said.getvalue()


async def test_migrating_again_changes_nothing(scratch: str) -> None:
    assert await present(scratch) is None
    await asyncio.to_thread(schema.upgrade, scratch)
    assert await present(scratch) == schema.needed() is not None
    before = await shape(scratch)
    await asyncio.to_thread(schema.upgrade, scratch)
    assert await shape(scratch) == before


async def test_a_migrated_database_has_statistics_and_our_settings(scratch: str) -> None:
    """For every session of the role, also for one that a pooler lends."""
    await asyncio.to_thread(schema.upgrade, scratch)
    connection = await asyncpg.connect(scratch)
    try:
        for name, value in (("jit", "off"), ("synchronous_commit", "on")):
            assert await connection.fetchval(f"SHOW {name}") == value
        query = "SELECT reltuples FROM pg_class WHERE relname = 'tasks'"
        assert await connection.fetchval(query) == 0  # -1: never looked at
    finally:
        await connection.close()


async def migrator(dsn: str) -> int:
    """Migrate in a process of its own; returns its exit status."""
    program = "import sys; from app.store import schema; schema.upgrade(sys.argv[1])"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", program, dsn, cwd=schema.MIGRATIONS.parent
    )
    return await process.wait()


@pytest.mark.long
async def test_migrators_that_come_together_all_end_well(scratch: str) -> None:
    assert await asyncio.gather(*(migrator(scratch) for _ in range(3))) == [0, 0, 0]
    assert await present(scratch) == schema.needed()


async def test_down_to_nothing_and_up_again(scratch: str) -> None:
    await asyncio.to_thread(schema.upgrade, scratch)
    before = await shape(scratch)
    await asyncio.to_thread(command.downgrade, config(scratch), "base")
    assert {table for table, *_ in await shape(scratch)} == {"alembic_version"}
    assert await present(scratch) is None
    await asyncio.to_thread(schema.upgrade, scratch)
    assert await shape(scratch) == before


def test_each_migration_says_which_releases_run_on_it() -> None:
    """Those before the table of releases cannot: nobody ran on them."""
    scripts = list(releases.scripts().walk_revisions())[::-1]
    said = {one.revision: getattr(one.module, "oldest_release", None) for one in scripts}
    first = list(said).index("0007_releases")
    assert all(
        re.fullmatch(r"\d+\.\d+\.\d+", release or "") for release in list(said.values())[first:]
    ), said


def test_revisions_are_read_as_alembic_reads_them() -> None:
    assert releases.known() == tuple(one.revision for one in releases.scripts().walk_revisions())


async def test_the_feed_goes_on_in_the_order_that_it_had(scratch: str) -> None:
    await asyncio.to_thread(command.upgrade, config(scratch), "0004_undeliverable")
    connection = await asyncpg.connect(scratch)
    client_id, task_id = uuid.uuid4(), uuid.uuid4()
    await connection.execute(
        "INSERT INTO clients (id, name, signing_secret) VALUES ($1, 'c', '')", client_id
    )
    await connection.execute(
        "INSERT INTO tasks (id, client_id, state, model, input, metadata, priority, fingerprint,"
        " submit_by) VALUES ($1, $2, 'queued', 'm', '{}', '{}', 5, '', now())",
        task_id,
        client_id,
    )
    for xid in (30, 10, 20, 10):
        await connection.execute(
            "INSERT INTO task_events (task_id, client_id, xid, to_state, attempt)"
            " VALUES ($1, $2, $3, 'queued', 0)",
            task_id,
            client_id,
            xid,
        )
    await asyncio.to_thread(schema.upgrade, scratch)
    feed = await connection.fetch("SELECT * FROM feed ORDER BY position")
    assert [row["event_id"] for row in feed] == [2, 4, 3, 1]
    assert {row["client_id"] for row in feed} == {client_id}
    assert len({row["token"] for row in feed}) == 4
    writer = await connection.fetchrow("SELECT position, seen FROM feed_writer")
    assert tuple(writer or ()) == (feed[-1]["position"], 4)
    await asyncio.to_thread(command.downgrade, config(scratch), "0004_undeliverable")
    assert await connection.fetchval("SELECT count(*) FROM task_events WHERE xid = 0") == 4
    await connection.close()


WORDS: dict[str, type[StrEnum]] = {
    "tasks.state": State,
    "tasks.fail_source": FailSource,
    "tasks.fail_class": FailClass,
    "tasks.settled_by": Source,
    "tasks.dialect": Dialect,
    "deliveries.event": EventType,
    "deliveries.state": DeliveryState,
    "deliveries.dialect": Dialect,
    "disabled_urls.reason": DisableReason,
    "kie_account.hold_reason": HoldReason,
    "kie_breakers.hold_reason": HoldReason,
    "kie_slots.kind": Call,
    "admin_keys.role": Role,
    "budgets.period": Period,
    "budgets.mode": Mode,
    "audit_entries.actor": Actor,
    "audit_entries.action": Action,
    "task_events.kind": Change,
    "task_events.from_state": State,
    "task_events.to_state": State,
    "callbacks.source": Source,
    "callbacks.signature": Signature,
    "callbacks.verdict": Verdict,
    "artifacts.kind": Kind,
    "artifacts.state": ArtifactState,
}
OTHERS = {
    "budgets.credits",
    "artifacts.due",
    "artifacts.stored",
    "clients.archive_days",
    "clients.weight",
    "clients.requests_per_second",
    "clients.streams",
    "clients.waits",
    "clients.running_share",
    "clients.queued_tasks",
    "clients.queued_bytes",
    "deliveries.due",
    "tasks.priority",
    "tasks.final",
    "kie_account.single",
    "kie_account.held",
    "kie_breakers.held",
    "feed_writer.single",
    "files.bytes",
    "files.sha256",
}
"""Checks of something else than words."""


async def checks(sql: "asyncpg.Connection[asyncpg.Record]") -> dict[str, str]:
    """Return the definition of every CHECK by `table.name`."""
    rows = await sql.fetch(
        "SELECT conrelid::regclass::text AS of, conname, pg_get_constraintdef(oid) AS definition"
        " FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
    )
    found = {}
    for row in rows:
        name = row["conname"].removeprefix(f"{row['of']}_").removesuffix("_check")
        found[f"{row['of']}.{name}"] = row["definition"]
    return found


async def test_every_check_is_accounted_for(
    sql: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    assert set(await checks(sql)) == set(WORDS) | OTHERS


@each("column", WORDS)
async def test_an_enum_is_the_check_of_its_column(
    sql: "asyncpg.Connection[asyncpg.Record]", column: str
) -> None:
    definition = (await checks(sql))[column]
    assert re.search(rf"\b{column.rpartition('.')[2]} = ANY", definition)
    assert sorted(re.findall(r"'([\w.]+)'::text", definition)) == sorted(WORDS[column])


async def test_the_final_states_are_those_with_an_end(
    sql: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    definition = (await checks(sql))["tasks.final"]
    assert sorted(re.findall(r"'(\w+)'::text", definition)) == sorted(FINAL)
    assert "finished_at IS NOT NULL" in definition


async def test_a_revision_that_nobody_knows_is_a_sentence(scratch: str) -> None:
    connection = await asyncpg.connect(scratch)
    await connection.execute("CREATE TABLE alembic_version (version_num text)")
    await connection.execute("INSERT INTO alembic_version VALUES ('7c1d0e5a94b2')")
    with pytest.raises(schema.UnknownRevisionError, match="at revision 7c1d0e5a94b2, which"):
        await asyncio.to_thread(schema.upgrade, scratch)
    await connection.close()


async def test_there_is_one_account(scratch: str) -> None:
    await asyncio.to_thread(schema.upgrade, scratch)
    connection = await asyncpg.connect(scratch)
    assert await connection.fetchval("SELECT count(*) FROM kie_account") == 1
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("INSERT INTO kie_account (id) VALUES (2)")
    await connection.close()


def columns(table: type[tables.Base]) -> set[str]:
    return set(table.__table__.c.keys())


def test_a_task_has_one_name_for_one_thing() -> None:
    made_up = {
        "hold_reason",
        "estimated_start_at",
        "estimated_finish_at",
        "confirmed",
        "result_expires_at",
        "urls",
        "artifacts",
    }
    computed = ["confirmed", "result_expires_at", "urls"]
    assert list(task_schemas.Task.model_fields) == [*rows.ANSWERED, *computed]
    assert set(rows.ANSWERED) - made_up <= columns(tables.Task)
    assert not made_up & columns(tables.Task)
    assert len(set(rows.ANSWERED)) == len(rows.ANSWERED)


def test_a_callback_has_one_name_for_one_thing() -> None:
    shown = [{"body": "raw"}.get(name, name) for name in callbacks.ANSWERED]
    assert sorted(task_schemas.Callback.model_fields) == sorted(shown)
    assert set(callbacks.ANSWERED) == columns(tables.Callback)


def test_a_delivery_has_one_name_for_one_thing() -> None:
    made_up = ["webhook_id", "attempts"]
    assert list(delivery_schemas.Delivery.model_fields) == [*history.ANSWERED, *made_up]
    assert set(history.ANSWERED) <= columns(tables.Delivery)
    attempt = set(delivery_schemas.DeliveryAttempt.model_fields)
    assert attempt == columns(tables.DeliveryAttempt) - {"delivery_id"}


KEPT_BY_TASK = (*NAMES, "kie_state")


@pytest.mark.parametrize(
    ("kept", "table"),
    [(KEPT_BY_TASK, tables.Task), (callbacks._REPORTED, tables.Callback)],
    ids=["task", "callback"],
)
def test_what_is_kept_of_a_report_has_the_reports_names(
    kept: tuple[str, ...], table: type[tables.Base]
) -> None:
    known = {field.name for field in fields(Report)}
    assert set(kept) <= known
    assert set(kept) <= columns(table)


def test_nothing_that_both_a_report_and_a_table_know_is_left_out() -> None:
    known = {field.name for field in fields(Report)}
    for kept, table in ((KEPT_BY_TASK, tables.Task), (callbacks._REPORTED, tables.Callback)):
        # `result_urls` is a tuple there and a list here, so a callback's is written by hand
        assert known & columns(table) <= {*kept, "result_urls"}


def test_a_new_task_is_stored_under_its_own_names() -> None:
    given = {*storing.NewTask.__slots__, *Draft.__slots__} - {
        *("draft", "submit_within", "unknown_cost")
    }
    assert given <= columns(tables.Task)
    assert set(admission.ClaimedTask.__slots__) - {"slot"} <= columns(tables.Task)


def test_a_slot_has_the_slots_own_name() -> None:
    assert "slot" in columns(tables.KieSlot) & set(admission.ClaimedTask.__slots__)
    assert "slot" in set(DuePoll.__slots__)


def test_what_is_accepted_is_what_is_answered() -> None:
    assert set(task_schemas.TaskCreate.model_fields) - {"submit_within"} <= set(rows.ANSWERED)
