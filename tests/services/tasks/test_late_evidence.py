"""What kie.ai cannot say yet, and what it is asked after the gateway has given up."""

from typing import Any

import pytest

from app.services.services import Services
from tests.fixtures.gateway import Wire
from tests.gateway import Gateway
from tests.services.stage import ask, due_in, due_now, put_asked
from tests.store.stage import put_client
from tests.upstream import Upstream, running, succeeded

HOUR = 3600.0

# -- after the bound


async def _expired(gateway: Gateway, services: Services, sql: Any) -> dict[str, Any]:
    task = await gateway.create()
    await sql.execute("UPDATE tasks SET expires_at = now()")
    assert await services.sweeper.sweep() == 0
    return task


async def _is_old(sql: Any, hours: float) -> None:
    """Let the expired task be that old, and its next question due if it has one."""
    await sql.execute(
        "UPDATE tasks SET finished_at = now() - make_interval(secs => $1),"
        " due_at = CASE WHEN due_at IS NOT NULL THEN now() END",
        hours * HOUR,
    )


async def test_an_expired_task_is_asked_about_after_2_6_and_24_hours(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await _expired(gateway, services, sql)
    waits = [await due_in(sql, task["id"])]
    assert await services.poller.poll_due() is not None
    for hours in (2, 6, 24):
        await _is_old(sql, hours)
        assert await ask(services) == 0
        waits.append(await due_in(sql, task["id"]))
    expected = [hours * HOUR for hours in (2, 4, 18)]
    assert waits == [*(pytest.approx(seconds, abs=5) for seconds in expected), None]
    assert upstream.queries == [task["kie_task_id"]] * 3
    await _is_old(sql, 48)
    assert await ask(services) is None
    assert (await gateway.task(task["id"]))["state"] == "expired"


@pytest.mark.parametrize("answer", ["late", "not visible", "unanswered"])
async def test_late_evidence_settles_an_expired_task(
    answer: str, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    """Whatever was answered before: an expired task misses none of its three questions."""
    first = {
        "late": running("x"),
        "not visible": {"code": 422, "msg": "recordInfo is null", "data": None},
        "unanswered": {"code": 500, "msg": "internal", "data": None},
    }[answer]
    task = await _expired(gateway, services, sql)
    upstream.records[task["kie_task_id"]] = first | (
        running(task["kie_task_id"]) if answer == "late" else {}
    )
    await _is_old(sql, 2)
    assert await ask(services) == 0
    assert await due_in(sql, task["id"]) == pytest.approx(4 * HOUR, abs=5)
    upstream.records[task["kie_task_id"]] = succeeded(task["kie_task_id"])
    await _is_old(sql, 6)
    assert await ask(services) == 0
    after = await gateway.task(task["id"])
    assert (after["state"], after["settled_by"], after["fail_code"]) == ("succeeded", "query", None)
    assert await due_in(sql, task["id"]) is None
    moves = await sql.fetch("SELECT to_state FROM task_events ORDER BY id")
    assert [move["to_state"] for move in moves][-2:] == ["expired", "succeeded"]


async def test_a_task_that_expired_without_an_id_is_not_asked_about(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    await gateway.create()
    await sql.execute(
        "UPDATE tasks SET state = 'unconfirmed', kie_task_id = NULL, expires_at = now()"
    )
    assert await services.sweeper.sweep() == 0
    for hours in (2, 6, 24):
        await _is_old(sql, hours)
        await ask(services)
    assert upstream.queries == []
    assert await sql.fetchval("SELECT due_at IS NULL FROM tasks")


# -- not yet


NOT_YET = {
    "404": {"code": 404, "msg": "not found", "data": None},
    "422": {"code": 422, "msg": "recordInfo is null", "data": None},
}


@pytest.mark.parametrize("age", [0, 30, 89, 600])
@pytest.mark.parametrize("answer", NOT_YET)
async def test_not_visible_means_not_yet(
    answer: str, age: int, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    """Records appear some seconds late; allow 90. An older one is not given up for it either."""
    services = await wire(public_url=None)
    client_id = await put_client(sql)
    task_id = await put_asked(sql, client_id, "an-id")
    await sql.execute("UPDATE tasks SET submitted_at = now() - make_interval(secs => $1)", age)
    upstream.records["an-id"] = NOT_YET[answer]
    assert await ask(services) == 0
    row = await sql.fetchrow("SELECT state, tries, expires_at > now() AS bound FROM tasks")
    assert tuple(row) == ("running", 1, True)
    wait = await due_in(sql, task_id)
    assert wait is not None
    assert 1.5 < wait < 30
    assert await sql.fetchval("SELECT count(*) FROM callbacks") == 0

    upstream.records["an-id"] = succeeded("an-id")
    await due_now(sql)
    assert await ask(services) == 0
    assert await sql.fetchval("SELECT state FROM tasks") == "succeeded"
