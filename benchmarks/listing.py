"""Listing 200,000 tasks page by page while others are created: the last page against the first.

`python -m benchmarks.listing [tasks]`. Pages of 200 through the real service; each page's time is
told as a ratio to the first pages' median. Every seeded task must come exactly once.
"""

import asyncio
import statistics
import time
from uuid import UUID

import asyncpg

from app.domain.admission import Limits
from app.domain.callback_url import CallbackUrls
from app.domain.pace import Paces
from app.domain.paging import Filter, Place
from app.domain.task import State
from app.services.limits.large import LargeAnswers
from app.services.tasks.read import Reader
from app.services.tasks.waiters import Waiters
from app.store.connections.engine import Database
from app.store.signals import Signals
from app.wiring import new_id, utc_now
from benchmarks.stand import database, numbers, told

PAGE = 200
WARM = 20
CREATED_BESIDE = 5000
ALLOWED = 1.5

CLIENT = "INSERT INTO clients (id, name, signing_secret) VALUES ($1, 'bench', 'x')"
SEED = """
INSERT INTO tasks (id, client_id, state, model, input, metadata, priority, fingerprint,
                   submit_by, created_at, finished_at)
SELECT gen_random_uuid(), $1, CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'succeeded' END, 'm',
       json_build_object('prompt', repeat('x', 300)), jsonb_build_object('order', n::text), 5,
       'x', now(), now() - interval '1 day' + n * interval '1 ms', now()
FROM generate_series(1, $2::int) n
"""
ONE = """
INSERT INTO tasks (id, client_id, state, model, input, metadata, priority, fingerprint, submit_by)
VALUES ($1, $2, 'queued', 'm', '{}', '{}', 5, 'x', now())
"""


def main(count: int) -> None:
    with database() as dsn:
        asyncio.run(_measured(dsn, count))


async def _measured(dsn: str, count: int) -> None:
    client = new_id()
    connection = await asyncpg.connect(dsn)
    await connection.execute(CLIENT, client)
    await connection.execute(SEED, client, count)
    await connection.execute("VACUUM ANALYZE tasks")
    pool = Database(dsn)
    room = Waiters(pool, Signals(dsn))
    urls, large = CallbackUrls([b"key"], None), LargeAnswers(2**34, lambda _: None)
    reader = Reader(pool, room, urls, Limits(), Paces(), utc_now, large)
    creating = asyncio.create_task(_create_beside(connection, client))
    await _listed(reader, client, "all, others created beside", Filter(), count)
    await creating
    await _listed(reader, client, "failed ones", Filter(states=(State.FAILED,)), count // 10)
    await connection.close()
    await pool.dispose()


async def _create_beside(connection: "asyncpg.Connection[asyncpg.Record]", client: UUID) -> None:
    for _ in range(CREATED_BESIDE):
        await connection.execute(ONE, new_id(), client)


async def _listed(reader: Reader, client: UUID, name: str, narrowed: Filter, expected: int) -> None:
    times: list[float] = []
    seen: set[UUID] = set()
    place: Place | None = None
    count = 0
    while True:
        started = time.perf_counter()
        page, place = await reader.page(client, narrowed, after=place, limit=PAGE)
        times.append(1000 * (time.perf_counter() - started))
        settled = [task["id"] for task in page if task["state"] != "queued"]
        count += len(settled)
        seen.update(settled)
        if place is None:
            break
    first = statistics.median(times[:WARM])
    last = statistics.median(times[-WARM:])
    print(
        f"{name}: {len(times)} pages of {PAGE}, {count} tasks, {count - len(seen)} twice, "
        f"{expected - len(seen)} missed"
    )
    print(told("  a page", times))
    print(
        f"  first {WARM} pages {first:.1f} ms, last {WARM} {last:.1f} ms: ratio {last / first:.2f}"
    )
    slow = sum(value / first > ALLOWED for value in times)
    print(f"  pages over {ALLOWED} times the first ones: {slow} of {len(times)}")


if __name__ == "__main__":
    main(*numbers(__doc__, tasks=200_000))
