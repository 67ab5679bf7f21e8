"""Creates that come in a crowd: each is stored by itself, and one admits for all."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from app.domain.task import State
from app.services.services import Services
from app.services.tasks.create import Created
from app.services.tasks.crowd import Crowd
from app.services.tasks.line import NEXT
from app.store.signals import QUEUE
from app.store.tasks import storing
from tests.services.tasks.test_lost_commits import DRAFT
from tests.stage import eventually
from tests.store.stage import put_client, put_queue, put_task
from tests.upstream import Upstream

MANY = NEXT + 7


async def crowd(
    services: Services, sql: Any, key: Callable[[int], str | None]
) -> tuple[list[Created], Callable[[], int]]:
    """Create many while nobody has the turn yet; returns them, and how often one admitted."""
    client_id = await put_client(sql)
    admissions = 0
    claim = services.submitter.claim

    async def counted(*given: Any, **options: Any) -> Any:
        nonlocal admissions
        admissions += 1
        return await claim(*given, **options)

    services.submitter.claim = counted  # type: ignore[method-assign]
    line = services.submitter.line
    await line.begin(1)
    try:
        creating = [
            asyncio.create_task(services.creates.create(client_id, DRAFT, key(n)))
            for n in range(MANY)
        ]

        async def stored() -> bool | None:
            count = await sql.fetchval("SELECT count(*) FROM tasks")
            return count == MANY - NEXT - 1 or None

        await eventually(stored)  # the first ones wait within their transaction
    finally:
        line.end()
    return await asyncio.gather(*creating), lambda: admissions


@pytest.mark.parametrize("key", [lambda _: None, str], ids=["keyless", "with keys"])
async def test_all_are_sent_once_and_few_admit(
    services: Services, sql: Any, upstream: Upstream, key: Callable[[int], str | None]
) -> None:
    created, admissions = await crowd(services, sql, key)
    await services.submitter.drain()
    assert len({one.id for one in created}) == MANY == len(upstream.creates)
    # What has a key is not held: who admits for itself may take it along, and nobody waits for it.
    assert key(0) is not None or all(one.submission is not None for one in created)
    assert admissions() < MANY
    rows = await sql.fetch("SELECT state, attempt FROM tasks")
    assert {(row["state"], row["attempt"]) for row in rows} == {("running", 1)}


async def test_who_finds_no_room_is_released_with_the_others(wire: Any, sql: Any) -> None:
    services = await wire(kie_creates_per_10s=NEXT + 2)
    created, _ = await crowd(services, sql, lambda _: None)
    await services.submitter.drain()
    assert sum(one.submission is not None for one in created) == NEXT + 2
    left = await sql.fetch("SELECT due_at FROM tasks WHERE state = 'queued'")
    assert len(left) == MANY - NEXT - 2
    assert all(row["due_at"] is not None for row in left)


async def test_where_it_fails_for_all_each_is_released_by_itself(
    services: Services, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task exists, and its caller is told so; it is sent in its turn."""

    async def away(*_: object) -> Any:
        raise ConnectionRefusedError

    monkeypatch.setattr(storing, "release_all", away)
    monkeypatch.setattr("app.services.tasks.crowd.ADMIT_PATIENCE", 0.1)
    created, _ = await crowd(services, sql, lambda _: None)
    assert len(created) == MANY
    assert not await sql.fetchval(
        "SELECT count(*) FROM tasks WHERE state = 'queued' AND due_at IS NULL"
    )
    await services.submitter.admit()
    await services.submitter.drain()
    assert await sql.fetchval("SELECT count(*) FROM tasks WHERE state = 'running'") == MANY


async def test_nobody_sends_what_is_not_told_yet(services: Services, sql: Any) -> None:
    """Another process admits while the crowd still waits: it leaves them what has no key."""
    line = services.submitter.line
    client_id = await put_client(sql)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(NEXT + 1):
            await stack.enter_async_context(line.place())
        await line.begin(1)
        creating = asyncio.create_task(services.creates.create(client_id, DRAFT, None))

        async def is_held() -> Any:
            return await sql.fetchval("SELECT due_at IS NULL FROM tasks")

        assert await eventually(is_held)
        line.end()
        assert (await creating).submission is not None


async def test_what_others_went_before_is_left_to_the_queue(services: Services, sql: Any) -> None:
    """As many were admitted as wait, but others."""
    mine, other = [await put_client(sql, name) for name in ("mine", "other")]
    await put_queue(sql, other, 1)
    await sql.execute("UPDATE client_queues SET paused_at = now() WHERE client_id = $1", mine)
    held = await put_task(sql, mine, State.QUEUED)
    crowd = Crowd(services.intake, services.submitter, uuid4)
    with services.signals.subscribed(QUEUE) as woken:
        joined = await crowd.admit(held, is_held=True)
        assert woken.is_set()
    assert (joined.is_held, joined.sending) == (False, None)
    await services.submitter.drain()
    assert await sql.fetchval("SELECT state FROM tasks WHERE client_id = $1", other) == "running"
