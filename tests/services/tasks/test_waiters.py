"""The waiters: nobody is missed, looks are shared, and it works without LISTEN."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import event

from app.domain.errors import NotFoundError
from app.domain.task import State
from app.services.services import Services
from app.services.tasks.waiters import POLL
from app.store.connections.engine import Database
from app.worker import at_work
from tests.fixtures.gateway import Wire
from tests.stage import eventually
from tests.store.stage import Sql, put_client, put_task

SETTLE = "UPDATE tasks SET state = 'succeeded', finished_at = now() WHERE id = ANY($1)"
"""What another process commits whose announcement is lost."""
SLACK = 1.0
"""Seconds that a look may be late on a busy machine."""


@pytest_asyncio.fixture
async def alive(services: Services) -> AsyncIterator[Services]:
    """Lend services that listen and look after waiters."""
    async with at_work(services, ()):
        yield services


@asynccontextmanager
async def only_polling(services: Services) -> AsyncIterator[None]:
    """Look after waiters without hearing of anything."""
    polling = asyncio.create_task(services.waiters.run())
    try:
        yield
    finally:
        polling.cancel()
        await asyncio.wait({polling})


async def put(sql: Sql, client_id: UUID, count: int) -> list[UUID]:
    at = {"due_at": 3600.0, "expires_at": 3600.0, "submitted_at": 0.0}
    return [await put_task(sql, client_id, State.RUNNING, at=at) for _ in range(count)]


Waiter = asyncio.Task[list[Any]]


def wait_for(
    services: Services, client_id: UUID, ids: Sequence[UUID], seconds: float = 50
) -> Waiter:
    """Start to wait for all of them."""
    return asyncio.create_task(
        services.reader.all_when_final(client_id, ids, mode="all", seconds=seconds)
    )


async def entered(services: Services, count: int) -> None:
    """Wait until so many waiters are in, and have looked for themselves."""
    database = services.waiters._database

    async def look() -> bool | None:
        waiting = sum(map(len, services.waiters._waiting.values()))
        return (waiting == count and database.checked_out == 0) or None

    await eventually(look)


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """Collect the statements that a process sends while it serves."""
    sent: list[str] = []

    def note(*about: Any) -> None:
        _, _, statement, *_ = about
        sent.append(statement)

    engine = database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


def listeners(sql: Sql) -> Any:
    return sql.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()"
        " AND (query LIKE 'LISTEN%' OR query LIKE 'SELECT pg_notify(%')"
    )


# -- nobody is missed


@pytest.mark.parametrize("moment", ["before the look", "after the look"])
async def test_a_task_that_rests_while_one_enters_is_not_missed(
    alive: Services, sql: Sql, moment: str
) -> None:
    """The waiter enters before it looks: what happens meanwhile comes by either way."""
    client_id = await put_client(sql)
    (task_id,) = await put(sql, client_id, 1)
    if moment == "before the look":
        future = alive.waiters.enter(task_id)
        await sql.execute(SETTLE, [task_id])
        (task,) = await wait_for(alive, client_id, [task_id])
        alive.waiters.leave(task_id, future)
    else:
        waiter = wait_for(alive, client_id, [task_id])
        await entered(alive, 1)
        await sql.execute(SETTLE, [task_id])
        alive.signals.announce(task_id.hex)
        (task,) = await waiter
    assert task["state"] == "succeeded"


async def test_every_moment_of_a_settlement_is_as_good(alive: Services, sql: Sql) -> None:
    """Settled and announced while waiters come in: whoever is first, all are told at once."""
    client_id = await put_client(sql)
    ids = await put(sql, client_id, 40)
    started = time.perf_counter()

    async def settle(task_id: UUID) -> None:
        await sql_locked(task_id)
        alive.signals.announce(task_id.hex)

    lock = asyncio.Lock()

    async def sql_locked(task_id: UUID) -> None:
        async with lock:  # one connection sets the stage
            await sql.execute(SETTLE, [task_id])

    waiters = [wait_for(alive, client_id, [task_id]) for task_id in ids]
    await asyncio.gather(*map(settle, ids), *waiters)
    assert {waiter.result()[0]["state"] for waiter in waiters} == {"succeeded"}
    assert time.perf_counter() - started < POLL + SLACK


async def test_whoever_waited_has_left(alive: Services, sql: Sql) -> None:
    """Ids given twice, refusals, lapses and cancellations leave nobody behind."""
    client_id = await put_client(sql)
    mine, other = await put(sql, client_id, 2)
    await wait_for(alive, client_id, [mine, other, mine], seconds=0)
    with pytest.raises(NotFoundError):
        await wait_for(alive, client_id, [mine, UUID(int=1)])
    given_up = wait_for(alive, client_id, [mine])
    await entered(alive, 1)
    given_up.cancel()
    await asyncio.wait({given_up})
    assert dict(alive.waiters._waiting) == {}


# -- looks are shared


async def test_three_hundred_waiters_share_their_looks(
    alive: Services, wire: Wire, sql: Sql
) -> None:
    """One look each on coming in; then a few for all, when another process ends the tasks."""
    other = await wire()
    client_id = await put_client(sql)
    ids = await put(sql, client_id, 300)
    async with at_work(other, ()):
        with counted(alive.waiters._database) as sent:
            waiters = [wait_for(alive, client_id, [task_id]) for task_id in ids]
            await entered(alive, 300)
            coming_in = len(sent)
            await sql.execute("UPDATE tasks SET expires_at = now()")
            turns = [await other.sweeper.sweep() for _ in range(3)]
            answers = await asyncio.gather(*waiters)
    assert turns == [0, 0, None]  # 200 in one transaction at most
    assert [(task["id"], task["state"]) for (task,) in answers] == [
        (task_id, "expired") for task_id in ids
    ]
    assert coming_in < 300 + 10
    assert len(sent) - coming_in < 20


async def test_many_waiters_for_one_task_are_one_look(alive: Services, sql: Sql) -> None:
    client_id = await put_client(sql)
    (task_id,) = await put(sql, client_id, 1)
    waiters = [wait_for(alive, client_id, [task_id]) for _ in range(100)]
    await entered(alive, 100)
    with counted(alive.waiters._database) as sent:
        await sql.execute(SETTLE, [task_id])
        alive.signals.announce(task_id.hex)
        answers = await asyncio.gather(*waiters)
    assert {task["state"] for (task,) in answers} == {"succeeded"}
    assert len(sent) < 5


async def test_nobody_looks_for_what_nobody_waits_for(alive: Services, sql: Sql) -> None:
    ids = await put(sql, await put_client(sql), 50)

    async def handled() -> bool | None:
        return (not alive.waiters._announced and not alive.waiters._woken.is_set()) or None

    with counted(alive.waiters._database) as sent:
        alive.signals.announce(*(task_id.hex for task_id in ids))
        assert not alive.waiters._woken.is_set()  # nobody waits for anything
        (waited, *others) = ids
        future = alive.waiters.enter(waited)
        alive.signals.announce(*(task_id.hex for task_id in others))
        assert alive.waiters._woken.is_set()
        await eventually(handled)
        assert sent == []
    alive.waiters.leave(waited, future)


@pytest.mark.parametrize("mode", ["any", "all"])
async def test_many_tasks_are_read_by_one_statement_at_the_start_and_one_at_the_end(
    services: Services, sql: Sql, mode: Literal["any", "all"]
) -> None:
    client_id = await put_client(sql)
    ids = await put(sql, client_id, 100)
    with counted(services.reader._database) as sent:
        tasks = await services.reader.all_when_final(client_id, ids, mode=mode, seconds=0)
    assert [task["id"] for task in tasks] == ids
    assert len(sent) == 2
    await sql.execute(SETTLE, ids)
    with counted(services.reader._database) as sent:
        tasks = await services.reader.all_when_final(client_id, ids, mode=mode, seconds=50)
    assert {task["state"] for task in tasks} == {"succeeded"}
    assert len(sent) == 1


async def test_a_strange_task_among_many_is_found_by_the_same_statement(
    services: Services, sql: Sql
) -> None:
    client_id = await put_client(sql)
    ids = await put(sql, client_id, 10)
    strange = await put(sql, await put_client(sql, "another"), 1)
    with counted(services.reader._database) as sent, pytest.raises(NotFoundError):
        await wait_for(services, client_id, [*ids, *strange])
    assert len(sent) == 2  # the other asks whether it was erased


# -- without LISTEN


async def test_without_announcements_waiters_are_answered_by_the_next_look(
    services: Services, sql: Sql
) -> None:
    client_id = await put_client(sql)
    ids = await put(sql, client_id, 20)
    async with only_polling(services):
        waiters = [wait_for(services, client_id, [task_id]) for task_id in ids]
        await entered(services, 20)
        await sql.execute(SETTLE, ids)
        started = time.perf_counter()
        answers = await asyncio.gather(*waiters)
    assert {task["state"] for (task,) in answers} == {"succeeded"}
    assert time.perf_counter() - started < POLL + SLACK


async def test_a_flood_of_announcements_does_not_keep_the_polling_away(
    services: Services, sql: Sql
) -> None:
    """Others' tasks move all the time; the announcement of this one is lost."""
    client_id = await put_client(sql)
    mine, busy = await put(sql, client_id, 2)
    loop = asyncio.get_running_loop()
    flooding = True

    def flood() -> None:
        if flooding:
            services.signals.announce(busy.hex)
            loop.call_later(0.001, flood)

    async with only_polling(services):
        waiter, other = [wait_for(services, client_id, [one]) for one in (mine, busy)]
        await entered(services, 2)
        flood()
        await sql.execute(SETTLE, [mine])
        done, _ = await asyncio.wait({waiter}, timeout=POLL + SLACK)
        flooding = False
        await sql.execute(SETTLE, [busy])
        await asyncio.gather(waiter, other)
    assert done


async def test_a_cut_line_is_mended_and_meanwhile_nobody_waits_longer_than_a_look(
    alive: Services, wire: Wire, sql: Sql
) -> None:
    client_id = await put_client(sql)
    first, second = await put(sql, client_id, 2)

    async def listening() -> Any:
        return await listeners(sql) or None

    before = {row["pid"] for row in await eventually(listening)}
    waiter = wait_for(alive, client_id, [first])
    await entered(alive, 1)
    for pid in before:
        await sql.execute("SELECT pg_terminate_backend($1, 5000)", pid)
    await sql.execute(SETTLE, [first])
    started = time.perf_counter()
    assert (await waiter)[0]["state"] == "succeeded"
    assert time.perf_counter() - started < POLL + SLACK

    again = {row["pid"] for row in await eventually(listening)}
    assert not again & before
    other = await wire()
    async with at_work(other, ()):
        waiter = wait_for(alive, client_id, [second])
        await entered(alive, 1)
        await sql.execute(SETTLE, [second])
        with counted(alive.waiters._database) as sent:
            other.signals.announce(second.hex)
            assert (await waiter)[0]["state"] == "succeeded"
        assert len(sent) < 5


async def test_the_end_of_the_process_lets_everyone_go(alive: Services, sql: Sql) -> None:
    client_id = await put_client(sql)
    ids = await put(sql, client_id, 5)
    waiters = [wait_for(alive, client_id, [task_id]) for task_id in ids]
    await entered(alive, 5)
    alive.waiters.close()
    answers = await asyncio.gather(*waiters)
    assert {task["state"] for (task,) in answers} == {"running"}
    started = time.perf_counter()
    await wait_for(alive, client_id, ids)
    assert time.perf_counter() - started < SLACK
