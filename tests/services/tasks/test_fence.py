"""A process that stood still between its claim and its send sends nothing, and proves it."""

from collections.abc import Callable
from typing import Any

from app.config import Settings
from app.domain.fence import Instant
from app.wiring import wired
from tests.services.stage import is_free
from tests.services.tasks.test_lost_commits import DRAFT
from tests.store.stage import put_client
from tests.upstream import Upstream


class Clocks:
    """Stand still, but for a pause after so many looks."""

    def __init__(self, *, looks: int, pause: float) -> None:
        self._looks = looks
        self._pause = pause

    def __call__(self) -> Instant:
        self._looks -= 1
        gone = self._pause if self._looks < 0 else 0.0
        return Instant(boot=1000.0 + gone, wall=1.7e9)


async def test_what_was_claimed_before_a_pause_is_queued_again_and_sent_by_the_next_claim(
    make_settings: Callable[..., Settings], dsn: str, upstream: Upstream, sql: Any
) -> None:
    client_id = await put_client(sql)
    clocks = Clocks(looks=1, pause=25.0)
    async with wired(make_settings(), dsn, clocks=clocks) as services:
        created = await services.creates.create(client_id, DRAFT, None)
        await services.submitter.drain()
        assert upstream.creates == []
        moves = await sql.fetch("SELECT to_state, reason FROM task_events ORDER BY id")
        assert [row["to_state"] for row in moves] == ["queued", "submitting", "queued"]
        assert "stood still" in moves[-1]["reason"]
        assert await is_free(sql)  # nothing is wrong with kie.ai or the way to it
        await services.submitter.submit_due(50)
        await services.submitter.drain()
    assert len(upstream.creates) == 1
    row = await sql.fetchrow("SELECT state, attempt FROM tasks WHERE id = $1", created.id)
    assert tuple(row) == ("running", 2)


async def test_a_pause_that_the_lease_outlives_changes_nothing(
    make_settings: Callable[..., Settings], dsn: str, upstream: Upstream, sql: Any
) -> None:
    client_id = await put_client(sql)
    async with wired(make_settings(), dsn, clocks=Clocks(looks=1, pause=24.0)) as services:
        await services.creates.create(client_id, DRAFT, None)
        await services.submitter.drain()
    assert len(upstream.creates) == 1
    assert await sql.fetchval("SELECT state FROM tasks") == "running"
