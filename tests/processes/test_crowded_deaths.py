"""A process is killed with its hands full: another takes all of it up when the leases are over.

Nothing here is hastened: each test waits for real leases to run out.
"""

import asyncio
import signal
from collections import Counter

import pytest

from tests.gateway import Gateway
from tests.processes.conftest import At, Connection, Start
from tests.processes.test_deaths import has_gone_through_the_queue
from tests.stage import eventually
from tests.upstream import Upstream, succeeded

pytestmark = pytest.mark.long

RESUMED_WITHIN = 60.0
"""Seconds from the death until another process has taken everything up."""
ROOMY = {
    "GATEWAY_KIE_CREATES_PER_10S": "100",
    "GATEWAY_KIE_MAX_RUNNING": "100",
    "GATEWAY_KIE_QUERIES_PER_SECOND": "200",
}
ALL_DUE = "UPDATE tasks SET due_at = clock_timestamp()"
LEASED = "SELECT count(*) FROM tasks WHERE leased_until > clock_timestamp()"
LOCK = "SELECT id FROM tasks WHERE kie_task_id = ANY($1) FOR UPDATE"
WAITING_FOR_LOCKS = "SELECT count(*) FROM pg_locks WHERE NOT granted"


async def _counts(sql: Connection) -> Counter[str]:
    rows = await sql.fetch("SELECT state, count(*) FROM tasks GROUP BY state")
    return Counter({row["state"]: row["count"] for row in rows})


async def _all_are(sql: Connection, state: str, count: int) -> None:
    async def look() -> bool | None:
        return (await _counts(sql)) == {state: count} or None

    await eventually(look, RESUMED_WITHIN)


async def _running(gateway: Gateway, sql: Connection, count: int) -> list[str]:
    """Create so many tasks; returns kie.ai's ids."""
    await asyncio.gather(*(gateway.create() for _ in range(count)))
    await _all_are(sql, "running", count)
    return [row["kie_task_id"] for row in await sql.fetch("SELECT kie_task_id FROM tasks")]


async def test_100_tasks_that_are_asked_about_and_settled_are_taken_up(
    start: Start, at: At, upstream: Upstream, sql: Connection
) -> None:
    serving = await start("serve", "--no-worker", **ROOMY)
    kie_ids = await _running(await at(await serving.ready()), sql, 100)
    settling = kie_ids[:50]
    upstream.records = {kie_id: succeeded(kie_id) for kie_id in kie_ids}
    told = asyncio.Event()

    async def hold(kie_id: str) -> None:
        await (told if kie_id in settling else asyncio.Event()).wait()

    upstream.on_query = hold
    await sql.execute(ALL_DUE)
    doomed = await start("worker", **ROOMY)

    async def asked_about_all() -> bool | None:
        return set(upstream.queries) == set(kie_ids) or None

    await eventually(asked_about_all, RESUMED_WITHIN)
    async with sql.transaction():  # whoever settles waits here for the row
        assert len(await sql.fetch(LOCK, settling)) == 50
        told.set()

        async def settles() -> bool | None:
            return await sql.fetchval(WAITING_FOR_LOCKS) > 0 or None

        await eventually(settles)
        assert await sql.fetchval(LEASED) == 100
        await doomed.end(signal.SIGKILL)
    assert await _counts(sql) == {"running": 100}

    upstream.on_query = None
    await start("worker", **ROOMY)
    await _all_are(sql, "succeeded", 100)


async def test_20_creates_in_flight_are_unconfirmed_and_found_by_their_callbacks(
    start: Start, at: At, upstream: Upstream, sql: Connection
) -> None:
    upstream.holds()
    doomed = await start("serve", **ROOMY)
    victim = await at(await doomed.ready())
    lost = [asyncio.create_task(victim.post()) for _ in range(20)]

    async def all_sent() -> bool | None:
        return len(upstream.creates) == 20 or None

    await eventually(all_sent)
    assert await _counts(sql) == {"submitting": 20}
    await doomed.end(signal.SIGKILL)
    await asyncio.gather(*lost, return_exceptions=True)
    paths = [create["callBackUrl"].split("/", 3)[3] for create in upstream.creates]

    survivor = await start("serve", **ROOMY)
    witness = await at(await survivor.ready())
    await _all_are(sql, "unconfirmed", 20)
    for number, path in enumerate(paths):
        told = f"told-by-the-callback-{number}"
        upstream.records[told] = succeeded(told)
        upstream.urls[told] = f"https://gateway.test/{path}"
        answer = await witness.call_back(path, succeeded(told))
        assert answer.status_code == 200

    await _all_are(sql, "succeeded", 20)
    rows = await sql.fetch("SELECT DISTINCT kie_task_id FROM tasks")
    assert len(rows) == 20
    await has_gone_through_the_queue(witness, upstream)
    sent = Counter(create["callBackUrl"] for create in upstream.creates)
    assert [sent[f"https://gateway.test/{path}"] for path in paths] == [1] * 20
