"""A statement that goes past SQLAlchemy's execution answers as one that does not."""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import Integer, bindparam, literal_column, select

from app.domain.task import State
from app.store.engine import Database
from app.store.prepared import Prepared
from app.store.tasks import rows
from tests.store.stage import Sql, put_task

ONE = literal_column("1", Integer)
SLOW = Prepared(select(literal_column("pg_sleep(60)").label("slept")))
BROKEN = Prepared(select((ONE / bindparam("by", type_=Integer)).label("share")))


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
        usual = await rows.read_task(connection, client_id=client_id, task_id=task_id)
    assert straight is not None
    assert usual is not None
    assert dict(straight) == dict(usual)
    assert {name: type(value) for name, value in straight.items()} == {
        name: type(value) for name, value in usual.items()
    }
    async with database.read() as connection:
        assert await rows.read_task(connection, client_id=uuid4(), task_id=task_id) is None


async def test_an_error_is_the_drivers_and_the_connection_goes_on(database: Database) -> None:
    async with database.read() as connection:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await BROKEN.first(connection, {"by": 0})
        found = await BROKEN.first(connection, {"by": 1})
    assert found == {"share": 1}


async def test_a_cancelled_read_gives_its_connection_up(database: Database) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), database.read() as connection:
            await SLOW.first(connection, {})
    assert database.checked_out == 0
    async with database.read() as connection:
        assert await BROKEN.first(connection, {"by": 1}) == {"share": 1}
