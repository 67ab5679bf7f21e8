"""The database goes away and comes back: what is tried again, raised, or let through."""

import asyncio
import socket
import struct
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import pytest
from sqlalchemy import exc, text

from app.domain.errors import DatabaseUnavailableError, OverloadedError
from app.domain.move import Move
from app.domain.task import State
from app.store.connections import engine, server
from app.store.connections.connecting import Connector
from app.store.connections.engine import Connection, Database, Pools
from app.store.connections.sharing import ASKING, ERRAND, SENDER_WAITS
from app.store.tasks import moves, rows, storing
from tests.proxy import between
from tests.stage import eventually
from tests.store.stage import Sql, events, new_task, put_client, put_task

Lent: TypeAlias = Callable[[Database, str], AbstractAsyncContextManager[Connection]]

DIRECTLY = 3.0
"""Seconds that what is not tried again may take."""


async def backend(connection: Connection) -> int:
    pid = await connection.scalar(text("SELECT pg_backend_pid()"))
    assert isinstance(pid, int)
    return pid


async def kill(sql: Sql, pid: int) -> None:
    """End a server process, and return when it is gone."""
    assert await sql.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)


async def test_work_is_done_again_when_its_connection_dies(
    database: Database, sql: Sql, client_id: uuid.UUID
) -> None:
    new = new_task(client_id)
    pids: list[int] = []

    async def work(connection: Connection) -> uuid.UUID:
        pids.append(await backend(connection))
        stored = await storing.insert_task(connection, new)
        if len(pids) == 1:
            await kill(sql, pids[0])
        move = Move(id=new.id, left=State.QUEUED, target=State.CANCELED)
        await moves.cancel(connection, move)
        return stored.id

    assert await database.run(work) == new.id
    assert len(set(pids)) == 2
    assert [event[1] for event in await events(sql, new.id)] == ["queued", "canceled"]


async def test_work_is_done_again_when_its_connection_dies_before_the_commit(
    database: Database, sql: Sql, client_id: uuid.UUID
) -> None:
    new = new_task(client_id)
    pids: list[int] = []

    async def work(connection: Connection) -> uuid.UUID:
        pids.append(await backend(connection))
        stored = await storing.insert_task(connection, new)
        if len(pids) == 1:
            await kill(sql, pids[0])
        return stored.id

    assert await database.run(work) == new.id
    assert len(pids) == 2
    assert len(await events(sql, new.id)) == 1


async def test_work_finds_its_own_rows_when_only_the_answer_of_the_commit_is_lost(
    database: Database, sql: Sql, client_id: uuid.UUID
) -> None:
    new = new_task(client_id, idempotency_key="k")
    tries = 0

    async def work(connection: Connection) -> uuid.UUID:
        nonlocal tries
        tries += 1
        stored = await storing.insert_task(connection, new)
        if tries == 1:
            pid = await backend(connection)
            await connection.exec_driver_sql("COMMIT")
            await kill(sql, pid)
        return stored.id

    assert await database.run(work) == new.id
    assert tries == 2
    assert len(await events(sql, new.id)) == 1


async def test_deadlocked_work_is_done_again(
    database: Database, sql: Sql, client_id: uuid.UUID
) -> None:
    one, other = [await put_task(sql, client_id, State.RUNNING) for _ in range(2)]
    both_hold_one = asyncio.Barrier(2)
    first_tries = {one, other}

    async def lock(first: uuid.UUID, second: uuid.UUID) -> None:
        async def work(connection: Connection) -> None:
            await rows.lock_task(connection, first)
            if first in first_tries:
                first_tries.discard(first)
                await both_hold_one.wait()
            await rows.lock_task(connection, second)

        await database.run(work)

    async with asyncio.timeout(20):
        await asyncio.gather(lock(one, other), lock(other, one))


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def never(_: Connection) -> None:
    pytest.fail("there is no connection to work on")


@pytest.mark.parametrize(("patience", "at_least"), [(0.0, 0.0), (0.5, 0.3)])
async def test_where_nothing_listens_it_is_unavailable_once_patience_is_over(
    patience: float, at_least: float
) -> None:
    away = Database(f"postgresql://nobody@127.0.0.1:{closed_port()}/nothing")
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(DatabaseUnavailableError):
        await away.run(never, patience=patience)
    assert at_least <= loop.time() - began <= patience + DIRECTLY
    await away.dispose()


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


REPORTED = ("server_version", "17.0"), ("in_hot_standby", "off"), ("is_superuser", "on")
LET_IN_AND_ENDED = (
    _message(b"R", bytes(4))
    + b"".join(_message(b"S", f"{name}\0{value}\0".encode()) for name, value in REPORTED)
    + _message(b"S", b"default_transaction_read_only\0off\0")
    + _message(b"Z", b"I")
    + _message(b"E", b"SFATAL\0C57P01\0Mterminating connection\0\0")
)
"""What a server says to a session that it ends before the first statement."""


async def test_a_session_that_is_ended_before_its_first_statement_is_no_defect() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(LET_IN_AND_ENDED)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        ended = Database(f"postgresql://nobody@127.0.0.1:{port}/nothing?sslmode=disable")
        with pytest.raises(DatabaseUnavailableError) as raised:
            await ended.run(never, patience=0.1)
        assert "InternalClientError" in str(raised.value.__cause__)
        await ended.dispose()


async def test_the_error_of_an_absent_database_holds_no_secret() -> None:
    away = Database(f"postgresql://nobody:hunter2@127.0.0.1:{closed_port()}/nothing")
    with pytest.raises(DatabaseUnavailableError) as caught:
        async with away.read():
            pytest.fail("there is no connection to read from")
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__!r}"
    await away.dispose()


async def test_a_statement_that_takes_too_long_counts_as_away(dsn: str) -> None:
    hurried = Database(dsn, command_timeout=0.1)
    with pytest.raises(DatabaseUnavailableError):
        async with hurried.begin() as connection:
            await connection.execute(text("SELECT pg_sleep(60)"))
    async with asyncio.timeout(DIRECTLY), hurried.begin() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    await hurried.dispose()


async def test_patience_ends_a_try_that_hangs(
    database: Database, sql: Sql, client_id: uuid.UUID
) -> None:
    task_id = await put_task(sql, client_id, State.RUNNING)
    async with sql.transaction():
        await sql.execute("SELECT FROM tasks WHERE id = $1 FOR UPDATE", task_id)
        async with asyncio.timeout(DIRECTLY):
            with pytest.raises(DatabaseUnavailableError):
                await database.run(lambda found: rows.lock_task(found, task_id), patience=0.2)


@pytest.mark.parametrize("error", [ZeroDivisionError(), ValueError("no"), KeyError("x")])
async def test_what_work_raises_is_let_through_and_nothing_is_kept(
    database: Database, sql: Sql, client_id: uuid.UUID, error: Exception
) -> None:
    new = new_task(client_id)
    tries = 0

    async def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        await storing.insert_task(connection, new)
        raise error

    with pytest.raises(type(error)) as caught:
        await database.run(work)
    assert caught.value is error
    assert tries == 1
    assert await events(sql, new.id) == []


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELECT * FROM nowhere", exc.ProgrammingError),
        ("INSERT INTO task_events (task_id, to_state, attempt) VALUES (NULL, 'x', 0)", None),
        ("SELECT 1 / 0", exc.DBAPIError),
    ],
)
async def test_what_the_database_refuses_is_let_through_and_not_tried_again(
    database: Database, statement: str, error: type[exc.DBAPIError] | None
) -> None:
    tries = 0

    async def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        await connection.execute(text(statement))

    with pytest.raises(error or exc.IntegrityError):
        await database.run(work)
    assert tries == 1


async def test_a_database_that_lets_nobody_in_is_away_and_says_why(dsn: str) -> None:
    """An operator may change its mind; the cause says what is set wrongly."""
    mistaken = Database(dsn.replace("/test_", "/no_such_"))
    with pytest.raises(DatabaseUnavailableError) as caught:
        await mistaken.run(never, patience=2)
    assert "does not exist" in str(caught.value.__cause__)
    await mistaken.dispose()


@pytest.mark.parametrize("kind", ["begin", "read"])
async def test_connections_that_died_idle_are_replaced(dsn: str, sql: Sql, kind: str) -> None:
    database = Database(dsn, pool_size=3)
    borrow = getattr(database, kind)
    lent: list[Any] = []

    async def pid() -> int:
        async with borrow() as connection:
            lent.append((await connection.get_raw_connection()).driver_connection)
            found = await backend(connection)
            await together.wait()
            return found

    async def all_are_closed() -> bool | None:
        return True if all(one.is_closed() for one in lent) else None

    together = asyncio.Barrier(3)
    pids = await asyncio.gather(*(pid() for _ in range(3)))
    for found in pids:
        await kill(sql, found)
    await eventually(all_are_closed)  # the news of it takes its own way
    together = asyncio.Barrier(1)
    assert await pid() not in pids
    await database.dispose()


async def test_a_transaction_that_is_cancelled_leaves_nothing_behind(
    database: Database, client_id: uuid.UUID
) -> None:
    new = new_task(client_id)
    stored = asyncio.Event()

    async def work(connection: Connection) -> None:
        await storing.insert_task(connection, new)
        stored.set()
        await connection.execute(text("SELECT pg_sleep(60)"))

    running = asyncio.create_task(database.run(work))
    await stored.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(DIRECTLY):
        assert await database.run(lambda found: rows.lock_task(found, new.id)) is None


async def test_each_statement_of_a_read_is_a_transaction(database: Database, sql: Sql) -> None:
    """It sees what was committed meanwhile, and the connection goes back as it came."""
    async with database.read() as connection:
        pid = await backend(connection)
        await put_client(sql, "meanwhile")
        assert await connection.scalar(text("SELECT count(*) FROM clients")) == 1
        state = await sql.fetchval("SELECT state FROM pg_stat_activity WHERE pid = $1", pid)
        assert state == "idle"
    async with database.begin() as connection:
        await connection.execute(text("DELETE FROM clients"))
        await connection.rollback()
    assert await sql.fetchval("SELECT count(*) FROM clients") == 1


async def test_the_connection_used_last_is_lent_next(database: Database) -> None:
    """It has the statements of the one before prepared; neither is checked out meanwhile."""

    async def pid(kind: str) -> int:
        async with getattr(database, kind)() as connection:
            return await backend(connection)

    pids = [await pid(kind) for kind in ("begin", "read", "begin", "read")]
    assert len(set(pids)) == 1
    assert database.checked_out == 0
    await database.close_idle()
    pool: Any = database._engine.pool
    assert pool.checkedout() == 0


async def test_all_are_judged_again_once_one_is_lost(dsn: str, sql: Sql) -> None:
    """They may lead to the same lost server, although they look as if they were open."""
    database = Database(dsn, pool_size=2)
    async with database.read() as one, database.read() as other:
        pids = {await backend(one), await backend(other)}
    lost = 0

    async def lose() -> None:
        nonlocal lost
        async with database.begin() as connection:
            lost = await backend(connection)
            await kill(sql, lost)
            await connection.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailableError):
        await lose()
    async with database.read() as one, database.read() as other:
        found = {await backend(one), await backend(other)}
    assert lost in pids
    assert not found & pids
    await database.dispose()


async def test_a_commit_that_postgresql_refuses_is_an_error(database: Database) -> None:
    """A constraint that is checked at the end; the connection is lent again."""
    async with database.begin() as connection:
        await connection.execute(
            text("CREATE TEMPORARY TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        )
    with pytest.raises(exc.IntegrityError):
        async with database.begin() as connection:
            await connection.execute(text("INSERT INTO late VALUES (1), (1)"))
    async with database.begin() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM late")) == 0
        await connection.execute(text("DROP TABLE late"))


READ_ONLY = "SET default_transaction_read_only = on"


async def test_a_session_that_takes_no_writes_is_not_lent_again(dsn: str) -> None:
    """It would answer every write with an error for as long as the process lives."""
    lent = Database(dsn, pool_size=1)
    try:
        async with lent.read() as connection:
            await connection.execute(text(READ_ONLY))
            turned = await backend(connection)
        with pytest.raises(DatabaseUnavailableError):
            async with lent.begin() as connection:
                await connection.execute(text("UPDATE kie_account SET id = 1"))
        async with lent.begin() as connection:
            assert await backend(connection) != turned
            await connection.execute(text("UPDATE kie_account SET id = 1"))
    finally:
        await lent.dispose()


async def test_sessions_run_as_we_need_them(dsn: str, sql: Sql) -> None:
    name = await sql.fetchval("SELECT current_database()")
    await sql.execute(f"ALTER DATABASE {name} SET jit = on")
    await sql.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    asked = Database(dsn, pool_size=1)
    try:
        async with asked.read() as connection:
            for setting, value in (("jit", "off"), ("synchronous_commit", "on")):
                assert await connection.scalar(text(f"SHOW {setting}")) == value
            assert await connection.scalar(text("SHOW application_name")) == "kie-gateway"
        await sql.execute(f"ALTER DATABASE {name} SET synchronous_commit = remote_apply")
        await asked.dispose()
        async with asked.read() as connection:  # more than we need stays
            assert await connection.scalar(text("SHOW synchronous_commit")) == "remote_apply"
    finally:
        await sql.execute(f"ALTER DATABASE {name} RESET ALL")
        await asked.dispose()


async def test_a_read_only_server_lends_sessions_for_reads(dsn: str, sql: Sql) -> None:
    """A primary whose disk is full is often made read-only: what is there is still shown."""
    name = await sql.fetchval("SELECT current_database()")
    await sql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    full = Database(dsn, pool_size=1)
    try:
        async with full.read() as connection:
            assert not await server.is_writable(connection)
        with pytest.raises(DatabaseUnavailableError):
            async with full.begin() as connection:
                await connection.execute(text("UPDATE kie_account SET id = 1"))
    finally:
        await sql.execute("SET default_transaction_read_only = off")
        await sql.execute(f"ALTER DATABASE {name} RESET ALL")
    async with full.begin() as connection:
        await connection.execute(text("UPDATE kie_account SET id = 1"))
        assert await server.is_writable(connection)
    await full.dispose()


async def test_the_next_host_serves_where_the_first_does_not(dsn: str) -> None:
    """The one that served is asked first from then on."""
    async with between(dsn) as (_, through):
        served = urlsplit(through).netloc.rpartition("@")[2]
        both = through.replace(served, f"127.0.0.1:{closed_port()},{served}")
        connector = Connector(both)
        for _ in range(2):
            connection = await connector()
            assert await connection.fetchval("SELECT 1") == 1
            await connection.close()


@pytest.mark.parametrize("error", [ZeroDivisionError("a defect of ours"), OSError("away")])
async def test_who_insists_is_not_stopped_by_any_error(
    database: Database, sql: Sql, client_id: uuid.UUID, error: Exception
) -> None:
    new = new_task(client_id)
    tries = 0

    async def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        await storing.insert_task(connection, new)
        if tries < 3:
            raise error

    await database.run(work, insist=True)
    assert tries == 3
    assert len(await events(sql, new.id)) == 1


async def test_who_insists_gives_up_rows_that_contradict_each_other_twice(
    database: Database,
) -> None:
    tries = 0

    async def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        await connection.execute(text("INSERT INTO kie_account (id) VALUES (1)"))

    with pytest.raises(exc.IntegrityError):
        await database.run(work, insist=True)
    assert tries == 2


# -- pools apart


@pytest.mark.parametrize(
    ("size", "sizes"),
    [(1, (1, 1)), (2, (1, 1)), (3, (1, 2)), (5, (3, 2)), (10, (6, 4)), (50, (30, 20))],
)
def test_two_fifths_are_kept_for_what_must_not_wait(size: int, sizes: tuple[int, int]) -> None:
    pools = Pools.of("postgresql://nobody@127.0.0.1/nothing", size)
    assert (pools.callers.pool_size, pools.working.pool_size) == sizes
    assert (pools.size, pools.checked_out) == (size, 0)
    assert (pools.callers is pools.working) == (size == 1)


async def test_a_reader_with_many_requests_holds_up_nobody(dsn: str) -> None:
    """Neither another reader, nor what takes no turn, nor what works."""
    pools = Pools.of(dsn, 5)
    ending = asyncio.Event()
    reading = 0

    async def read() -> None:
        nonlocal reading
        async with pools.callers.read("noisy"):
            reading += 1
            await ending.wait()

    noisy = [asyncio.create_task(read()) for _ in range(30)]
    await eventually(lambda: _is(reading, 1))
    async with asyncio.timeout(DIRECTLY):
        async with pools.callers.read() as connection:
            await backend(connection)
        async with pools.working.read() as connection:
            await backend(connection)
    assert pools.checked_out == 1

    async def ask() -> int:
        async with pools.callers.read("quiet"):
            return reading

    quiet = asyncio.create_task(ask())
    await asyncio.wait({quiet}, timeout=0)
    ending.set()
    assert await quiet <= 2
    await asyncio.gather(*noisy)
    await pools.dispose()


@asynccontextmanager
async def _looked_up(pool: Database, whose: str) -> AsyncIterator[Connection]:
    async with pool.look_up(whose) as connection:
        yield connection


@asynccontextmanager
async def _written(pool: Database, whose: str) -> AsyncIterator[Connection]:
    token = ASKING.set(whose)
    try:
        async with pool.begin() as connection:
            yield connection
    finally:
        ASKING.reset(token)


@pytest.mark.parametrize("lent", [_looked_up, _written])
async def test_keys_and_writes_of_one_client_hold_up_no_others(dsn: str, lent: Lent) -> None:
    """However many came before: the quiet one is the next to be let in."""
    pools = Pools.of(dsn, 5)
    step = asyncio.Semaphore(0)
    came: list[str] = []

    async def ask(whose: str) -> None:
        async with lent(pools.callers, whose):
            came.append(whose)
            await step.acquire()

    noisy = [asyncio.create_task(ask("noisy")) for _ in range(30)]
    await eventually(lambda: _is(len(came), 2))
    quiet = asyncio.create_task(ask("quiet"))
    await asyncio.wait({quiet}, timeout=0)
    step.release()
    await eventually(lambda: _is(len(came), 3))
    # One of the noisy was in the next line already.
    step.release()
    await eventually(lambda: _is(len(came), 4))
    assert "quiet" in came
    for _ in range(40):
        step.release()
    await asyncio.gather(quiet, *noisy)
    await pools.dispose()


async def _is(found: int, expected: int) -> bool | None:
    return found == expected or None


async def test_a_callback_does_not_come_after_all_that_is_to_be_sent(dsn: str) -> None:
    database = Database(dsn, pool_size=1)
    step = asyncio.Semaphore(0)
    came: list[object] = []

    async def work(errand: object) -> None:
        ERRAND.set(errand)
        async with database.begin():
            came.append(errand)
            await step.acquire()

    sending = [asyncio.create_task(work(None)) for _ in range(20)]
    await eventually(lambda: _is(len(came), 1))
    callback = asyncio.create_task(work(SENDER_WAITS))
    await asyncio.wait({callback}, timeout=0)
    for _ in range(30):
        step.release()
    await asyncio.gather(callback, *sending)
    assert SENDER_WAITS in came[:3]  # one was in the next line already
    await database.dispose()


async def test_whose_turn_does_not_come_hears_that_it_is_their_own_doing(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_POOL_TIMEOUT", 0.05)
    pools = Pools.of(dsn, 2)
    async with pools.callers.read("noisy"):
        with pytest.raises(OverloadedError):
            async with pools.callers.read("noisy"):
                pass
    async with pools.callers.read("noisy"):
        pass
    await pools.dispose()
