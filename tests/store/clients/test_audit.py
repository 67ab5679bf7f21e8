"""The audit is only ever added to: by the database's own word, whatever the application does."""

import os

import asyncpg
import pytest
import structlog

from app.domain.audit import Action, Actor, Operator
from app.store.clients import audit
from app.store.connections.engine import Database
from tests.store.stage import Sql

ANN = Operator(Actor.ADMIN_API, "ann", "10.0.0.7", "r-1")


async def _note(database: Database) -> None:
    async with database.begin() as connection:
        await audit.note(connection, Action.ADMISSION_PAUSED, operator=ANN, detail={"note": "n"})


async def test_an_entry_says_who_and_is_logged_once_committed(database: Database, sql: Sql) -> None:
    with structlog.testing.capture_logs() as lines:
        await _note(database)
    (entry,) = await sql.fetch("SELECT actor, who, address, request_id FROM audit_entries")
    assert tuple(entry) == ("admin_api", "ann", "10.0.0.7", "r-1")
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("audit", "info")
    told = {name: line[name] for name in ("action", "who", "address", "request_id", "detail")}
    assert told == {
        "action": "admission_paused",
        "who": "ann",
        "address": "10.0.0.7",
        "request_id": "r-1",
        "detail": {"note": "n"},
    }


async def test_what_is_rolled_back_is_not_logged(database: Database, sql: Sql) -> None:
    class DefectError(Exception):
        pass

    async def breaks() -> None:
        async with database.begin() as connection:
            await audit.note(connection, Action.ADMISSION_PAUSED, operator=ANN)
            raise DefectError

    with structlog.testing.capture_logs() as lines:
        with pytest.raises(DefectError):
            await breaks()
        async with database.begin():  # on the same connection
            pass
    assert lines == []
    assert await sql.fetchval("SELECT count(*) FROM audit_entries") == 0


ROLE = f"tests_foothold_{os.getpid()}"
BECOME = f"CREATE ROLE {ROLE}; GRANT ALL ON audit_entries TO {ROLE}; SET LOCAL ROLE {ROLE}"
OTHERS = (
    "UPDATE audit_entries SET who = 'bob'",
    "DELETE FROM audit_entries",
    "TRUNCATE audit_entries",
)


@pytest.mark.parametrize("statement", OTHERS)
async def test_a_role_that_does_not_own_the_table_changes_no_entry(
    database: Database, sql: Sql, statement: str
) -> None:
    """Even with every grant: only a role that owns the table, for retention, may remove."""
    await _note(database)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only ever added"):  # noqa: PT012
        async with sql.transaction():
            await sql.execute(BECOME)
            await sql.execute(statement)
    assert await sql.fetchval("SELECT who FROM audit_entries") == "ann"


async def test_such_a_role_adds_and_reads(database: Database, sql: Sql) -> None:
    await _note(database)
    transaction = sql.transaction()
    await transaction.start()
    try:
        await sql.execute("CREATE ROLE tests_foothold")
        await sql.execute("GRANT SELECT, INSERT ON audit_entries TO tests_foothold")
        await sql.execute("SET LOCAL ROLE tests_foothold")
        await sql.execute(
            "INSERT INTO audit_entries (actor, action) VALUES ('gateway', 'foreign_id')"
        )
        assert await sql.fetchval("SELECT count(*) FROM audit_entries") == 2
    finally:
        await transaction.rollback()


async def test_the_owner_removes_and_does_not_change(database: Database, sql: Sql) -> None:
    await _note(database)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only ever added"):
        await sql.execute("UPDATE audit_entries SET who = 'bob'")
    assert await sql.execute("DELETE FROM audit_entries") == "DELETE 1"
