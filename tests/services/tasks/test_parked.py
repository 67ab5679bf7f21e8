"""Questions that break us: set aside after five times in a row, and taken up again."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
import structlog

from app.domain.errors import NotFoundError, NotRefreshableError, NotStuckError
from app.services.services import Services
from app.services.tasks.poll import MAX_POLL_ERRORS, POLL_ERROR_WAIT
from tests.fixtures.gateway import Wire
from tests.gateway import OPERATOR
from tests.services.stage import ask, due_in, due_now, put_asked, slots_are_free
from tests.store.stage import put_client
from tests.upstream import Upstream, running, succeeded

POISON = """
CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.kie_task_id = 'poison' THEN RAISE EXCEPTION 'what nobody thought of'; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER poison BEFORE INSERT ON callbacks FOR EACH ROW EXECUTE FUNCTION refuse_poison();
"""
CURE = "DROP TRIGGER IF EXISTS poison ON callbacks; DROP FUNCTION IF EXISTS refuse_poison"
ME = OPERATOR


@asynccontextmanager
async def poisoned(sql: Any) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    """Let PostgreSQL refuse what is told of one task: a defect, as seen from the services.

    Yields what is logged meanwhile.
    """
    await sql.execute(POISON)
    try:
        with structlog.testing.capture_logs() as logged:
            yield logged
    finally:
        await sql.execute(CURE)


async def _broken(sql: Any, upstream: Upstream, services: Services) -> UUID:
    task_id = await put_asked(sql, await put_client(sql), "poison")
    upstream.records["poison"] = succeeded("poison")
    for count in range(1, MAX_POLL_ERRORS + 1):
        assert await sql.fetchval("SELECT parked_at IS NULL FROM tasks WHERE id = $1", task_id)
        await sql.execute("UPDATE tasks SET due_at = now()")
        await slots_are_free(sql)
        assert await ask(services) == 0
        row = await sql.fetchrow("SELECT poll_errors, last_poll_error, leased_until FROM tasks")
        assert tuple(row) == (count, "DBAPIError", None)
        assert await due_in(sql, task_id) == pytest.approx(POLL_ERROR_WAIT, abs=5)
    return task_id


async def test_a_task_that_breaks_us_is_set_aside_after_5_times_in_a_row(
    services: Services, upstream: Upstream, sql: Any
) -> None:
    async with poisoned(sql) as logged:
        task_id = await _broken(sql, upstream, services)
        assert len(upstream.queries) == MAX_POLL_ERRORS == 5
        broken, aside = "poll.broken", "task.parked"
        told = [line["event"] for line in logged if line["log_level"] == "error"]
        assert told == [*[broken] * 5, aside]
        assert await sql.fetchval("SELECT parked_at IS NOT NULL FROM tasks")
        await sql.execute("UPDATE tasks SET due_at = now()")
        await slots_are_free(sql)
        assert await ask(services) is None
    assert len(upstream.queries) == 5
    [entry] = await services.clients.audit()
    assert (entry["action"], entry["actor"], entry["task_id"]) == (
        "task_set_aside",
        "gateway",
        task_id,
    )
    assert entry["detail"] == {"error": "DBAPIError"}
    [stuck] = await services.stuck.list()
    assert stuck["id"] == task_id


async def test_it_is_taken_up_again_when_an_operator_says_so(
    services: Services, upstream: Upstream, sql: Any
) -> None:
    async with poisoned(sql):
        task_id = await _broken(sql, upstream, services)
        await services.stuck.release(ME, task_id)
        await slots_are_free(sql)
        assert await ask(services) == 0
        row = await sql.fetchrow("SELECT poll_errors, parked_at FROM tasks")
        assert tuple(row) == (1, None)
    await due_now(sql)
    assert await ask(services) == 0
    row = await sql.fetchrow("SELECT state, poll_errors, parked_at FROM tasks")
    assert tuple(row) == ("succeeded", 0, None)
    with pytest.raises(NotStuckError):
        await services.stuck.release(ME, task_id)
    with pytest.raises(NotFoundError):
        await services.stuck.release(ME, UUID(int=1))
    actions = [entry["action"] for entry in await services.clients.audit()]
    assert actions == ["task_released", "task_set_aside"]


async def test_nobody_waits_for_a_question_that_will_not_be_asked(
    services: Services, upstream: Upstream, sql: Any
) -> None:
    async with poisoned(sql):
        task_id = await _broken(sql, upstream, services)
        client_id = await sql.fetchval("SELECT client_id FROM tasks")
        with pytest.raises(NotRefreshableError):
            await services.commands.refresh(client_id, task_id, seconds=50)


async def test_only_breakdowns_in_a_row_count(
    services: Services, upstream: Upstream, sql: Any
) -> None:
    async with poisoned(sql):
        await put_asked(sql, await put_client(sql), "poison")
        for record in (succeeded, succeeded, succeeded, succeeded, running, succeeded):
            upstream.records["poison"] = record("poison")
            await due_now(sql)
            await slots_are_free(sql)
            assert await ask(services) == 0
        row = await sql.fetchrow("SELECT poll_errors, parked_at FROM tasks")
    assert tuple(row) == (1, None)


async def test_those_that_break_us_keep_no_query_slots(
    wire: Wire, upstream: Upstream, sql: Any
) -> None:
    """Else a few of them would stop all asking for as long as a call may be under way."""
    services = await wire(kie_queries_per_second=1)
    client_id = await put_client(sql)
    await put_asked(sql, client_id, "poison")
    upstream.records["poison"] = succeeded("poison")
    async with poisoned(sql):
        assert await ask(services) == 0
    left = await sql.fetchval(
        "SELECT extract(epoch FROM free_at - clock_timestamp())::float FROM kie_slots"
    )
    assert left <= 1


async def test_a_callback_settles_one_that_was_set_aside(
    services: Services, upstream: Upstream, sql: Any
) -> None:
    async with poisoned(sql):
        task_id = await _broken(sql, upstream, services)
    await services.receiver.receive(task_id, json.dumps(succeeded("poison")).encode(), {})
    row = await sql.fetchrow("SELECT state, poll_errors, parked_at, due_at FROM tasks")
    assert tuple(row)[:3] == ("succeeded", 0, None)
    await due_now(sql)
    await slots_are_free(sql)
    assert await ask(services) == 0
    assert await sql.fetchval("SELECT confirmed_at IS NOT NULL FROM tasks")


async def test_the_bound_of_one_that_was_set_aside_holds(
    services: Services, upstream: Upstream, sql: Any
) -> None:
    async with poisoned(sql):
        await _broken(sql, upstream, services)
    await sql.execute("UPDATE tasks SET expires_at = now()")
    assert await services.sweeper.sweep() == 0
    assert await sql.fetchval("SELECT state FROM tasks") == "expired"
