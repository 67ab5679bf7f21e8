"""How long queues are: counted without reading them whole, and right however they were counted."""

import random
import uuid
from uuid import UUID

import pytest

from app.domain.admission import QueueBounds
from app.domain.task import State
from app.store.account import bounds, forecast, sizes
from app.store.account.sizes import Queued
from app.store.connections.engine import Database
from app.store.tasks import storing
from tests.store.explained import plans
from tests.store.stage import Sql, limits, new_task, put_breaker, put_client, put_queue

LONG = 1200
NO_SLOTS = limits(creates=20)


async def counted(database: Database) -> list[UUID]:
    """Count what is due to be counted, as the sweep does."""
    async with database.begin() as connection:
        found = list((await bounds.over(connection)).uncounted)
        for client_id in found:
            await sizes.count(connection, client_id)
        return found


async def queued(database: Database, client_id: UUID, bounds: QueueBounds | None = None) -> Queued:
    async with database.read() as connection:
        return await sizes.queued(connection, client_id, NO_SLOTS, bounds or QueueBounds())


async def places(database: Database, client_id: UUID, ids: list[UUID]) -> dict[UUID, float]:
    """Return the seconds until each starts; one slot, a second for each task before it."""
    given = limits(creates=1, window=1.0, running=10**6)
    async with database.read() as connection:
        found = await forecast.forecast(connection, client_id, ids, given)
    return {task_id: one.wait or 0.0 for task_id, one in found.items()}


async def put_long(sql: Sql, client_id: UUID, tasks: int = LONG) -> list[UUID]:
    """Queue many tasks of three priorities, some of a model that is held."""
    found = []
    for number, (priority, model) in enumerate(((9, "m"), (5, "held"), (5, "m"), (1, "m"))):
        share = tasks // 4
        first = 1 + number * tasks
        found += await put_queue(sql, client_id, share, first=first, priority=priority, model=model)
    await put_breaker(sql, client_id, "held", held_for=600)
    await sql.execute("UPDATE tasks SET input_bytes = 7")
    return found


async def test_a_place_is_the_same_whether_it_was_counted_or_not(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    ids = await put_long(sql, client_id)
    asked = random.Random(1).sample(ids, 60)  # noqa: S311  # no secret
    before = await places(database, client_id, asked)
    assert await counted(database) == [client_id]
    assert await sql.fetchval("SELECT sum(open_tasks) FROM queue_sizes") == LONG * 3 // 4
    assert await places(database, client_id, asked) == pytest.approx(before, abs=1.0)
    assert len({round(wait) for wait in before.values()}) > 30


async def test_others_see_the_same_too(database: Database, sql: Sql, client_id: UUID) -> None:
    await put_long(sql, client_id)
    other = await put_client(sql, "other")
    mine = await put_queue(sql, other, 900, first=100_000)
    asked = mine[::100]
    before = await places(database, other, asked)
    assert set(await counted(database)) == {client_id, other}
    assert await places(database, other, asked) == pytest.approx(before, abs=1.0)


async def test_what_came_and_went_since_the_count_is_seen(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_long(sql, client_id)
    await counted(database)
    assert (await queued(database, client_id)).tasks == LONG
    assert (await queued(database, client_id)).bytes == 7 * LONG
    async with database.begin() as connection:
        new = new_task(client_id, input={"prompt": "x" * 1000})
        await storing.insert_task(connection, new)
        found = await sizes.queued(connection, client_id, NO_SLOTS, QueueBounds())
        assert (found.tasks, found.bytes > 7 * LONG + 1000) == (LONG + 1, True)
    await sql.execute("UPDATE tasks SET state = 'running'")
    assert (await queued(database, client_id)).tasks == LONG  # the next count corrects it
    await sql.execute("UPDATE queue_sizes SET counted_at = counted_at - interval '1 h'")
    assert await counted(database) == [client_id]
    assert (await queued(database, client_id)).tasks == 0
    assert await sql.fetchval("SELECT count(*) FROM queue_sizes") == 0


async def test_a_queue_is_not_counted_again_at_once(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_long(sql, client_id)
    assert await counted(database) == [client_id]
    assert await counted(database) == []
    await sql.execute("UPDATE queue_sizes SET took = 10, counted_at = now() - interval '100 s'")
    assert await counted(database) == []  # it is a heavy one: every 200 s
    await sql.execute("UPDATE queue_sizes SET counted_at = now() - interval '201 s'")
    assert await counted(database) == [client_id]


async def test_a_short_queue_is_not_counted_by_the_sweep(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, sizes.SHORT)
    assert await counted(database) == []
    assert (await queued(database, client_id)).tasks == sizes.SHORT


@pytest.mark.parametrize(
    ("own", "over"), [((None, None), False), ((2, None), True), ((3, None), False)]
)
async def test_a_client_may_have_bounds_of_its_own(
    database: Database, sql: Sql, client_id: UUID, own: tuple[int, int], *, over: bool
) -> None:
    await put_queue(sql, client_id, 3)
    await sql.execute("UPDATE clients SET queued_tasks = $1, queued_bytes = $2", *own)
    assert (await queued(database, client_id)).is_over is over
    assert (await queued(database, client_id, QueueBounds(tasks=2))).is_over is (own[0] != 3)


# -- however many wait

SEED = """
INSERT INTO tasks (id, client_id, state, model, input, metadata, priority, fingerprint,
                   input_bytes, submit_by, due_at)
SELECT lpad(to_hex(100000 + n), 32, '0')::uuid, $1, 'queued', 'm',
       format('{"prompt": "%s"}', repeat('a cat ', 50))::json, '{}', 5, '\\x00', 315,
       now() + interval '1 hour', now() - interval '1 second'
FROM generate_series(1, $2::int) n
"""
WITHIN = 150
"""Pages that a look may read beyond what it reads of an empty queue, whatever waits."""


async def pages(database: Database, client_id: UUID, asked: UUID | None) -> int:
    """Return the pages that a create reads for its look ahead; given a task, a GET of it."""

    async def work(connection: object) -> None:
        task_id = asked
        if task_id is None:
            new = new_task(client_id, id=uuid.UUID(int=2**100))
            await storing.insert_task(connection, new)  # type: ignore[arg-type]
            bounds = QueueBounds(tasks=10**6)
            await sizes.queued(connection, client_id, NO_SLOTS, bounds)  # type: ignore[arg-type]
            task_id = new.id
        await forecast.forecast(connection, client_id, [task_id], NO_SLOTS)  # type: ignore[arg-type]

    found = await plans(database, work, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)")
    return sum(plan[0]["Shared Hit Blocks"] + plan[0]["Shared Read Blocks"] for plan in found)


async def _grows(database: Database, sql: Sql, client_id: UUID, tasks: int) -> None:
    await sql.execute("ANALYZE tasks")
    empty = await pages(database, client_id, None)
    await sql.execute(SEED, client_id, tasks)
    await sql.execute("ANALYZE tasks")
    assert await counted(database) == [client_id]
    assert await pages(database, client_id, None) < empty + WITHIN
    for number in (1, tasks // 2, tasks):
        assert await pages(database, client_id, UUID(int=100000 + number)) < empty + WITHIN


async def test_a_look_ahead_reads_a_few_pages_of_a_long_queue(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await _grows(database, sql, client_id, 8_000)


@pytest.mark.long
async def test_a_look_ahead_reads_a_few_pages_of_a_hundred_thousand(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await _grows(database, sql, client_id, 100_000)


async def test_the_states_that_are_not_queued_count_nothing(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 5)
    await sql.execute("UPDATE tasks SET state = $1", State.RUNNING.value)
    assert (await queued(database, client_id)).tasks == 0
