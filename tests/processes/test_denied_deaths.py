"""A process is killed between its 503 and the withdrawal of what it stored: nobody sends it."""

import signal

import pytest

from tests.faults.lab.patience import passed
from tests.gateway import BODY
from tests.processes.conftest import At, Connection, Start
from tests.proxy import between
from tests.services.tasks.test_lost_commits import COMMIT
from tests.stage import eventually
from tests.upstream import Upstream

pytestmark = pytest.mark.long

WINDOW = 3.0
TIGHT = {"GATEWAY_KIE_CREATES_PER_10S": "1", "GATEWAY_KIE_CREATE_WINDOW": str(WINDOW)}
WITHDRAWN_WITHIN = 40.0
"""Seconds: 15 from its creation, and until the sweep comes round."""
HELD_BACK = "SELECT count(*) FROM tasks WHERE state = 'queued' AND due_at IS NULL"
STATES = "SELECT state, count(*) FROM tasks GROUP BY state"


async def test_what_a_dead_process_denied_is_withdrawn_and_not_sent(
    dsn: str, start: Start, at: At, upstream: Upstream, sql: Connection
) -> None:
    """The other process sends what comes later, and leaves that one."""
    async with between(dsn) as (cutter, through):
        doomed = await start("serve", GATEWAY_DATABASE_URL=through, **TIGHT)
        other = await start("serve", **TIGHT)
        gateway, living = await at(await doomed.ready()), await at(await other.ready())
        await gateway.create()  # takes the one slot: what comes next is not admitted at once
        cutter.holds_the_answers_to(COMMIT)
        denied = await gateway.http.post("/v1/tasks", json=BODY, timeout=30)
        assert (denied.status_code, denied.json()["code"]) == (503, "database_unavailable")
        assert await doomed.end(signal.SIGKILL) == -signal.SIGKILL
    assert await sql.fetchval(HELD_BACK) == 1
    sent = [await living.create() for _ in range(2)]
    for task in sent:
        await living.reaches(task["id"], "running")

    async def look() -> bool | None:
        found = {row["state"]: row["count"] for row in await sql.fetch(STATES)}
        return found == {"canceled": 1, "running": 3} or None

    await eventually(look, WITHDRAWN_WITHIN)
    assert (await living.task(denied.json()["task_id"]))["state"] == "canceled"
    await passed(2 * WINDOW)
    assert len(upstream.creates) == 3
    assert not any(denied.json()["task_id"] in each["callBackUrl"] for each in upstream.creates)
    assert await sql.fetchval("SELECT count(*) FROM deliveries") == 0
