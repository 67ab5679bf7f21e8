"""The election of the process that numbers the feed, and what it announces."""

import asyncio
from uuid import UUID, uuid4

import pytest

from app.domain.task import State
from app.services.services import Services
from app.services.tasks import numbering
from app.services.tasks.numbering import Numbering
from app.store.signals import FEED
from app.worker import at_work, number_loop
from tests.fixtures.gateway import Wire
from tests.stage import PATIENCE, eventually
from tests.store.stage import Sql, put_client, put_task
from tests.store.tasks.test_events import append

HOLDER = "SELECT holder FROM feed_writer"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def candidate(services: Services, me: UUID, clock: Clock | None = None) -> Numbering:
    return Numbering(services.feed._database, services.signals, me, clock or Clock())


async def event(sql: Sql) -> None:
    client_id = await sql.fetchval("SELECT id FROM clients") or await put_client(sql)
    await append(sql, await put_task(sql, client_id, State.QUEUED), client_id)


async def count(sql: Sql) -> int:
    found: int = await sql.fetchval("SELECT count(*) FROM feed")
    return found


async def test_who_is_not_elected_looks_once_a_second(services: Services, sql: Sql) -> None:
    one, other = uuid4(), uuid4()
    clock = Clock()
    elected, waiting = candidate(services, one), candidate(services, other, clock)
    assert await elected.number() is None
    assert await waiting.number() is None
    await event(sql)
    await sql.execute("UPDATE feed_writer SET leased_until = clock_timestamp()")
    assert await waiting.number() == numbering.LOOK  # whatever wakes it: it does not ask
    assert (await sql.fetchval(HOLDER), await count(sql)) == (one, 0)
    clock.now += numbering.LOOK
    assert await waiting.number() is None
    assert (await sql.fetchval(HOLDER), await count(sql)) == (other, 1)


async def test_a_holder_that_stood_still_numbers_nothing(services: Services, sql: Sql) -> None:
    """It wakes up in the belief that it is elected, when another is."""
    clock, other = Clock(), uuid4()
    zombie = candidate(services, uuid4(), clock)
    await zombie.number()
    await sql.execute("UPDATE feed_writer SET leased_until = clock_timestamp()")
    await candidate(services, other).number()
    await event(sql)
    clock.now += 60
    for _ in range(3):
        await zombie.number()
        clock.now += numbering.LOOK
    await zombie.release()
    assert (await sql.fetchval(HOLDER), await count(sql)) == (other, 0)


async def test_who_leaves_does_not_keep_others_waiting(
    services: Services, wire: Wire, sql: Sql
) -> None:
    async with at_work(services, [number_loop(services)]):
        await eventually(lambda: sql.fetchval(HOLDER))
    assert await sql.fetchval(HOLDER) is None
    other = uuid4()
    await candidate(await wire(), other).number()
    assert await sql.fetchval(HOLDER) == other


async def test_an_event_is_numbered_at_once_and_announced(
    services: Services, wire: Wire, sql: Sql
) -> None:
    """Also where it was made and is waited for by other processes."""
    other = await wire()
    async with at_work(services, [number_loop(services)]), at_work(other, ()):
        await eventually(lambda: sql.fetchval(HOLDER))
        with other.signals.subscribed(FEED) as told:
            await event(sql)
            other.signals.announce(uuid4().hex)  # of a task
            async with asyncio.timeout(PATIENCE):
                while await count(sql) != 1:  # who begins to listen is woken for everything
                    await told.wait()
                    told.clear()


async def test_a_full_batch_is_followed_by_the_next(
    services: Services, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbering, "BATCH", 2)
    for _ in range(3):
        await event(sql)
    elected = candidate(services, uuid4())
    assert [await elected.number() for _ in range(2)] == [0, None]
    assert await count(sql) == 3
