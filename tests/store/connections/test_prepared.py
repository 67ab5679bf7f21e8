"""A statement that goes past SQLAlchemy's execution answers as one that does not."""

import asyncio
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import Integer, Select, Text, bindparam, literal_column, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

import app.store
from app.domain.task import State
from app.store.connections.engine import Database
from app.store.connections.prepared import Prepared
from app.store.tasks import rows
from tests.statements import through_sqlalchemy
from tests.store.stage import Sql, put_task

ONE = literal_column("1", Integer)
SLOW = Prepared(lambda: select(literal_column("pg_sleep(60)").label("slept")))
LISTED = Prepared(
    lambda: select(literal_column("7", Integer).label("n")).where(
        bindparam("word", type_=Text).in_(["one", "two"])
    )
)
BROKEN = Prepared(lambda: select((ONE / bindparam("by", type_=Integer)).label("share")))


async def test_a_task_reads_the_same_either_way(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    task_id = await put_task(
        sql,
        client_id,
        State.QUEUED,
        metadata='{"order": "7"}',
        input='{"n": 1.50}',
        credits_consumed="1.50",
    )
    async with database.read() as connection:
        straight = await rows.read_task(connection, client_id=client_id, task_id=task_id)
    async with database.begin() as connection:
        within = await rows.read_task(connection, client_id=client_id, task_id=task_id)
    with through_sqlalchemy():
        async with database.begin() as connection:
            usual = await rows.read_task(connection, client_id=client_id, task_id=task_id)
    assert straight is not None
    assert straight == within
    assert usual is not None
    assert dict(straight) == dict(usual)
    assert {name: type(value) for name, value in straight.items()} == {
        name: type(value) for name, value in usual.items()
    }
    async with database.read() as connection:
        assert await rows.read_task(connection, client_id=uuid4(), task_id=task_id) is None


async def test_an_error_is_sqlalchemys_and_the_connection_goes_on(database: Database) -> None:
    async with database.read() as connection:
        with pytest.raises(DBAPIError) as raised:
            await BROKEN.first(connection, {"by": 0})
        assert raised.value.orig is not None
        assert isinstance(raised.value.orig.__cause__, asyncpg.DivisionByZeroError)
        assert not raised.value.connection_invalidated
        found = await BROKEN.first(connection, {"by": 1})
    assert found == {"share": 1}


async def test_a_cancelled_read_gives_its_connection_up(database: Database) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), database.read() as connection:
            await SLOW.first(connection, {})
    assert database.checked_out == 0
    async with database.read() as connection:
        assert await BROKEN.first(connection, {"by": 1}) == {"share": 1}


async def test_a_transaction_is_begun_and_undone_around_it(database: Database, sql: Sql) -> None:
    making = Prepared(lambda: text("CREATE TABLE made_by_prepared ()"))

    async def both() -> None:
        async with database.begin() as connection:
            await making.all(connection)
            await BROKEN.one(connection, {"by": 0})

    with pytest.raises(DBAPIError):
        await both()
    assert await sql.fetchval("SELECT to_regclass('made_by_prepared')") is None
    async with database.begin() as connection:
        assert (await BROKEN.one(connection, {"by": 1})).share == 1


async def test_lists_in_a_statement_are_written_out(database: Database) -> None:
    async with database.read() as connection:
        found = [await LISTED.scalar(connection, {"word": word}) for word in ("one", "two", "six")]
        assert found == [7, 7, None]
        with pytest.raises(KeyError):
            await LISTED.scalar(connection, {})


async def test_a_cancelled_statement_of_a_transaction_gives_its_connection_up(
    database: Database,
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), database.begin() as connection:
            await SLOW.one(connection)
    assert database.checked_out == 0
    async with database.begin() as connection:
        assert (await BROKEN.one(connection, {"by": 1})).share == 1


# -- statements are built when they first run


def _prepared() -> Iterator[tuple[str, Prepared]]:
    """List the store's, each with its name."""
    for found in pkgutil.walk_packages(app.store.__path__, "app.store."):
        for name, value in vars(import_module(found.name)).items():
            several = value.values() if isinstance(value, dict) else (value,)
            yield from ((f"{found.name}.{name}", x) for x in several if isinstance(x, Prepared))


def test_every_statement_can_be_built() -> None:
    statements: dict[str, Any] = {name: one._build() for name, one in _prepared()}
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    built = {name: str(one.compile(dialect=dialect)) for name, one in statements.items()}
    assert len(built) > 30
    assert all(built.values())


async def test_a_statement_is_built_once_and_not_kept(database: Database) -> None:
    built: list[Select[int]] = []

    def build() -> Select[int]:
        built.append(select(ONE.label("one")))
        return built[-1]

    statement = Prepared(build)
    assert not built
    async with database.read() as connection:
        assert [await statement.scalar(connection) for _ in range(3)] == [1, 1, 1]
    assert len(built) == 1
    assert "statement" not in vars(statement)
