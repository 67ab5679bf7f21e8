"""What ends by itself, and that it ends rightly."""

from typing import Any

import pytest

from app.services.services import Services
from app.services.tasks.submit import LOCKED_WAIT
from tests.gateway import Gateway
from tests.services.stage import ask
from tests.store.stage import put_queue
from tests.upstream import Upstream, refused, succeeded


async def test_a_create_whose_process_died_is_unconfirmed_and_never_queued(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    await sql.execute(
        "UPDATE tasks SET state = 'submitting', kie_task_id = NULL, due_at = NULL,"
        " leased_until = now()"
    )
    assert await services.sweeper.sweep() == 0
    assert (await gateway.task(task["id"]))["state"] == "unconfirmed"
    assert await services.submitter.submit_due(10) is None
    assert len(upstream.creates) == 1
    upstream.has("told-by-callback", succeeded("told-by-callback"))
    await gateway.call_back(upstream.callback_path, succeeded("told-by-callback"))
    await ask(services)
    assert (await gateway.task(task["id"]))["state"] == "succeeded"


async def test_a_living_lease_is_left_alone(gateway: Gateway, services: Services, sql: Any) -> None:
    await gateway.create()
    await sql.execute(
        "UPDATE tasks SET state = 'submitting', leased_until = now() + interval '10 s'"
    )
    assert await services.sweeper.sweep() is None
    assert await sql.fetchval("SELECT state FROM tasks") == "submitting"


DEADLINES = [
    ("running", "expired", "no_answer"),
    ("unconfirmed", "expired", "outcome_unknown"),
]


@pytest.mark.parametrize(("state", "end", "fail_code"), DEADLINES)
async def test_a_state_past_its_bound(
    state: str, end: str, fail_code: str, gateway: Gateway, services: Services, sql: Any
) -> None:
    task = await gateway.create()
    await sql.execute("UPDATE tasks SET state = $1, expires_at = now()", state)
    assert await services.sweeper.sweep() == 0
    after = await gateway.task(task["id"])
    assert (after["state"], after["fail_code"], after["fail_source"]) == (end, fail_code, "gateway")
    assert after["finished_at"] is not None
    assert await services.sweeper.sweep() is None


async def test_a_task_that_could_not_be_sent_in_time(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(lambda: refused(429, "slow down"))
    task = await gateway.create(submit_within=60)
    await sql.execute("UPDATE tasks SET submit_by = now(), due_at = now()")
    await sql.execute("UPDATE kie_account SET held_until = now()")
    assert await services.submitter.submit_due(10) == LOCKED_WAIT
    assert await services.sweeper.sweep() == 0
    after = await gateway.task(task["id"])
    assert (after["state"], after["fail_code"]) == ("failed", "submit_deadline")
    assert len(upstream.creates) == 1


async def test_a_breaker_that_nobody_needs_is_removed(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(lambda: refused(455, "maintenance"))
    await gateway.create()
    assert await services.sweeper.sweep() is None
    assert await sql.fetchval("SELECT count(*) FROM kie_breakers") == 1
    await sql.execute(
        "UPDATE kie_breakers SET held_until = now() - interval '20 min', updated_at = now()"
        " - interval '20 min'"
    )
    assert await services.sweeper.sweep() is None
    assert await sql.fetchval("SELECT count(*) FROM kie_breakers") == 0


@pytest.mark.parametrize(("waiting", "instants"), [(500, 1), (501, 20)])
async def test_slots_come_free_apart_where_a_queue_is_long(
    waiting: int, instants: int, gateway: Gateway, services: Services, sql: Any
) -> None:
    """Else a flood takes all of a window at once, again and again."""
    await gateway.create()
    await put_queue(sql, await sql.fetchval("SELECT id FROM clients"), waiting)
    await sql.execute(
        "INSERT INTO kie_slots (kind, slot, free_at, taken_at) SELECT 'create', slot,"
        " now() + interval '9 s', now() FROM generate_series(1, 20) slot"
        " ON CONFLICT (kind, slot) DO UPDATE SET free_at = excluded.free_at"
    )
    await services.sweeper.sweep()
    assert await sql.fetchval("SELECT count(DISTINCT free_at) FROM kie_slots") == instants
