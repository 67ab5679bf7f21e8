"""A create that is answered 503 is not sent later, whoever dies; one with a key may be."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from app.domain.errors import DatabaseUnavailableError
from app.domain.task import State
from app.services.services import Services
from app.services.tasks.submit import LOCKED_WAIT
from app.store.tasks.sweep import RELEASED_WITHIN
from tests.fixtures.gateway import StartGateway
from tests.gateway import BODY, Gateway
from tests.services.tasks.test_lost_commits import COMMIT, DRAFT, Proxied, proxied
from tests.stage import eventually
from tests.store.stage import put_client, put_queue, put_task
from tests.upstream import Upstream

__all__ = ["proxied"]


async def test_what_was_denied_is_not_sent_but_for_what_has_a_key(
    proxied: Proxied, start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    """PostgreSQL commits, and holds its answers for longer than a create is patient."""
    cutter, through = proxied
    gateway = await start_gateway(
        database_url=through, submit_wait=0, worker=True, kie_creates_per_10s=2
    )
    cutter.holds_the_answers_to(COMMIT)
    asked = [gateway.post() for _ in range(3)]
    asked += [gateway.post(key="k"), _drop_in(gateway)]
    *keyless, keyed, dropped_in = await asyncio.gather(*asked)
    assert [answer.status_code for answer in (*keyless, keyed)] == [503] * 4
    assert dropped_in.json()["code"] == 455
    assert upstream.creates == []
    cutter.lets_go()

    async def settled() -> dict[str, str] | None:
        found = await sql.fetch("SELECT id::text, state FROM tasks")
        states = {row["id"]: row["state"] for row in found}
        return states if {*states.values()} <= {"canceled", "running"} else None

    states = await eventually(settled, 40)
    own = keyed.json()["task_id"]
    assert states.pop(own) == "running"
    assert len(upstream.creates) == 1
    assert {answer.json()["task_id"] for answer in keyless} <= {*states}
    assert {*states.values()} == {"canceled"}
    assert await sql.fetchval("SELECT count(*) FROM deliveries") == 0
    assert (await gateway.post(key="k")).json()["id"] == own


async def _drop_in(gateway: Gateway) -> Any:
    return await gateway.http.post("/api/v1/jobs/createTask", json=BODY)


async def test_what_nobody_released_is_withdrawn_and_nobody_else_sends_it(
    services: Services, sql: Any, upstream: Upstream
) -> None:
    """So a process leaves it that dies between its 503 and the withdrawal."""
    client_id = await put_client(sql)
    young, old = [
        await put_task(
            sql,
            client_id,
            State.QUEUED,
            at={"created_at": -age},
            webhook_url="https://caller.example/hook",
        )
        for age in (RELEASED_WITHIN - 5, RELEASED_WITHIN + 1)
    ]
    assert await services.submitter.submit_due(50) == LOCKED_WAIT
    assert await services.submitter.admit() == {}
    await services.sweeper.sweep()
    states = dict(await sql.fetch("SELECT id, state FROM tasks"))
    assert states == {young: "queued", old: "canceled"}
    assert await sql.fetchval("SELECT count(*) FROM deliveries") == 0
    assert upstream.creates == []


async def test_what_is_told_is_released_first(
    start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    """The second one waits for its turn, and any process may send it."""
    gateway = await start_gateway(kie_creates_per_10s=1, kie_create_window=1)
    other = await start_gateway(kie_creates_per_10s=1, kie_create_window=1, worker=True)
    await gateway.create()
    waiting = await gateway.create()
    assert waiting["state"] == "queued"
    assert await sql.fetchval("SELECT due_at IS NOT NULL FROM tasks WHERE id = $1", waiting["id"])
    await other.reaches(waiting["id"], "running")
    assert len(upstream.creates) == 2


async def test_what_was_withdrawn_meanwhile_is_denied(
    start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    """The release comes too late: the sweep of another process was first."""
    gateway = await start_gateway(kie_creates_per_10s=1)
    await gateway.create()
    await sql.execute(SWEPT_FIRST)
    try:
        denied = await gateway.post()
    finally:
        await sql.execute("DROP FUNCTION withdraw CASCADE")
    assert (denied.status_code, denied.json()["code"]) == (503, "database_unavailable")
    assert (
        await sql.fetchval("SELECT state FROM tasks WHERE id = $1", UUID(denied.json()["task_id"]))
        == "canceled"
    )
    assert len(upstream.creates) == 1


SWEPT_FIRST = """
CREATE FUNCTION withdraw() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.state := 'canceled'; NEW.finished_at := now(); RETURN NEW; END
$$;
CREATE TRIGGER withdrawing BEFORE UPDATE ON tasks FOR EACH ROW
    WHEN (OLD.state = 'queued' AND NEW.due_at IS NULL) EXECUTE FUNCTION withdraw()
"""


async def test_what_a_create_claimed_beside_is_sent_before_its_own_task_is_released(
    services: Services, sql: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release may take as long as PostgreSQL is away, and nobody else may send what it took."""
    client_id = await put_client(sql)
    await put_queue(sql, client_id, 50)

    async def withdrawn(*_: object) -> bool:
        return False

    monkeypatch.setattr("app.services.tasks.create.storing.release", withdrawn)
    with pytest.raises(DatabaseUnavailableError):
        await services.creates.create(client_id, DRAFT, None)
    await services.submitter.drain()
    claimed = await sql.fetchval("SELECT count(*) FROM tasks WHERE attempt > 0")
    assert claimed == len(upstream.creates) > 0
