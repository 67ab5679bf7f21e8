"""What a process does where the database is not as it remembers: nothing is sent before a word."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import TypeAlias

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr

from app.domain.errors import InvalidRequestError
from app.domain.restore import Verdict
from app.services.services import Services
from app.wiring import utc_now
from tests.fixtures.gateway import Wire
from tests.gateway import OPERATOR, SECRET
from tests.services.world import DRAFT

ME = OPERATOR
Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

MOVED = "UPDATE kie_account SET system_identifier = 1, server_started_at = '2020-01-01'"
RESTARTED = "UPDATE kie_account SET server_started_at = '2020-01-01'"
LOST = "UPDATE kie_account SET counter = counter - 1"
ALL_LOOKED_LONG_AGO = "UPDATE kie_account SET changed_at = now() - interval '1 minute'"


UNKNOWN = """
UPDATE kie_account SET counter = 0, system_identifier = NULL, timeline = NULL, database_oid = NULL,
    server_started_at = NULL
"""


@pytest_asyncio.fixture(autouse=True)
async def unknown(sql: Sql) -> AsyncIterator[None]:
    """No process has seen the database, before the test and after it: identities stay else."""
    await sql.execute(UNKNOWN)
    yield
    await sql.execute(UNKNOWN)


@pytest_asyncio.fixture
async def one(services: Services) -> Services:
    """A process that has seen the database, with a client to create for."""
    await services.keys.create("tests")
    assert await beat(services) is Verdict.ACCEPT
    assert await beat(services) is Verdict.GO_ON
    return services


async def beat(services: Services) -> Verdict:
    return await services.witness.beat("serve")


async def create(services: Services, sql: Sql) -> str:
    """Create a task; returns its state once what was admitted is sent."""
    client_id = await sql.fetchval("SELECT id FROM clients")
    created = await services.creates.create(client_id, DRAFT, None)
    await services.submitter.drain()
    state: str = await sql.fetchval("SELECT state FROM tasks WHERE id = $1", created.id)
    return state


async def hold_reason(services: Services) -> str | None:
    reason: str | None = (await services.pauses.status()).account["hold_reason"]
    return reason


async def actions(sql: Sql) -> list[str]:
    found = await sql.fetch("SELECT action FROM audit_entries ORDER BY id")
    return [row["action"] for row in found if not row["action"].startswith("key")]


async def test_an_admission_moves_the_counter_on(one: Services, sql: Sql) -> None:
    """So that the loss of the admission alone is missed, whenever the last beat was."""
    before = await sql.fetchval("SELECT counter FROM kie_account")
    assert await create(one, sql) == "running"
    assert await sql.fetchval("SELECT counter FROM kie_account") == before + 1
    assert one.witness._remembered == before + 1


async def test_an_admission_that_is_lost_stops_the_next_one(one: Services, sql: Sql) -> None:
    """The admission moves the counter on itself: there was no beat between it and the loss."""
    assert await create(one, sql) == "running"
    await sql.execute(LOST)

    assert await create(one, sql) == "queued"
    assert await beat(one) is Verdict.HOLD
    assert await hold_reason(one) == "database_restored"
    assert await actions(sql) == ["database_held"]
    assert await beat(one) is Verdict.HOLD
    assert await actions(sql) == ["database_held"], "it is said once"


async def test_a_hold_ends_by_a_persons_word_alone(one: Services, sql: Sql, wire: Wire) -> None:
    await one.pauses.pause(ME, client=None, note=None)
    assert await create(one, sql) == "queued"
    await sql.execute(LOST)
    assert await beat(one) is Verdict.HOLD
    fresh = await wire()
    assert await beat(fresh) is Verdict.HOLD, "nor by a process that remembers nothing"
    await one.pauses.resume(ME, client=None)
    assert await create(one, sql) == "queued"
    assert len(await one.stuck.review()) == 1, "what came later was not sent before"

    assert await one.restores.resume(ME)

    assert await beat(one) is Verdict.GO_ON, "what it remembers from before counts no more"
    assert await create(one, sql) == "running"
    assert (await hold_reason(one), await one.stuck.review()) == (None, [])
    assert not await one.restores.resume(ME)


@pytest.mark.parametrize("change", [MOVED, RESTARTED])
async def test_nothing_is_sent_before_the_server_is_judged(
    change: str, one: Services, sql: Sql
) -> None:
    await sql.execute(change)
    assert await create(one, sql) == "queued"
    assert await beat(one) is Verdict.ACCEPT
    assert await create(one, sql) == "running"
    assert await actions(sql) == (["database_accepted"] if change == MOVED else [])


async def test_all_that_live_are_heard_before_anything_is_sent(
    one: Services, sql: Sql, wire: Wire
) -> None:
    """The other one admitted last, and that is lost: only the other one can know."""
    other = await wire()
    assert await beat(other) is Verdict.GO_ON
    assert await beat(one) is Verdict.GO_ON
    assert await create(other, sql) == "running"
    await sql.execute(LOST)
    await sql.execute(RESTARTED)
    await sql.execute("UPDATE processes SET looked_at = 'the server as it was'")

    assert await beat(one) is Verdict.WAIT
    assert await hold_reason(one) == "database_changed"
    assert await create(one, sql) == "queued"
    assert await beat(other) is Verdict.HOLD
    assert await beat(one) is Verdict.HOLD


async def test_the_dead_are_not_waited_for_for_long(one: Services, sql: Sql, wire: Wire) -> None:
    other = await wire()
    await beat(other)
    await sql.execute(RESTARTED)
    await sql.execute("UPDATE processes SET looked_at = 'the server as it was'")
    assert await beat(one) is Verdict.WAIT
    await sql.execute(ALL_LOOKED_LONG_AGO)
    assert await beat(one) is Verdict.ACCEPT
    assert await create(one, sql) == "running"


async def test_a_process_that_leaves_is_not_waited_for(one: Services, sql: Sql, wire: Wire) -> None:
    other = await wire()
    await beat(other)
    await sql.execute(RESTARTED)
    await sql.execute("UPDATE processes SET looked_at = 'the server as it was'")
    await other.witness.leave()
    assert await beat(one) is Verdict.ACCEPT


async def test_a_fresh_process_holds_another_database_unless_one_remembers_it(
    one: Services, sql: Sql, wire: Wire
) -> None:
    fresh = await wire()
    await sql.execute(MOVED)
    await sql.execute("UPDATE processes SET looked_at = 'the server as it was'")
    assert await beat(fresh) is Verdict.WAIT
    assert await beat(one) is Verdict.ACCEPT, "it remembers, and nobody else is awaited"
    assert await beat(fresh) is Verdict.GO_ON

    await sql.execute(MOVED)
    await sql.execute("DELETE FROM processes")
    assert await beat(await wire()) is Verdict.HOLD


async def test_a_planned_move_stops_sending_here_and_counts_once(
    one: Services, sql: Sql, wire: Wire
) -> None:
    await one.restores.expect_move(ME, within=3600)
    assert await hold_reason(one) == "database_moving"
    assert await create(one, sql) == "queued"
    await one.restores.expect_no_move(ME)
    assert await create(one, sql) == "running"

    await one.restores.expect_move(ME, within=3600)
    await one.witness.leave()
    await sql.execute(MOVED)
    assert await beat(await wire()) is Verdict.ACCEPT
    assert await hold_reason(one) is None
    await sql.execute(MOVED)
    await sql.execute("DELETE FROM processes")
    assert await beat(await wire()) is Verdict.HOLD


async def test_a_move_that_lost_commits_is_held_though_expected(one: Services, sql: Sql) -> None:
    await one.restores.expect_move(ME, within=3600)
    assert await beat(one) is Verdict.GO_ON
    await sql.execute(MOVED)
    await sql.execute(LOST)
    assert await beat(one) is Verdict.HOLD
    with pytest.raises(InvalidRequestError):
        await one.restores.expect_move(ME, within=3600)


# -- processes that differ


async def test_settings_that_differ_are_named_and_no_secret_is_kept(
    one: Services, sql: Sql, wire: Wire
) -> None:
    other = await wire(secret_keys=(SecretStr(f"{SECRET}-rotated"),), kie_max_running=7)
    await beat(other)
    await beat(one)
    await beat(one)

    inspected = await one.witness.inspect()
    assert inspected.differing == ("GATEWAY_KIE_MAX_RUNNING", "GATEWAY_SECRET_KEYS")
    page = (await one.metrics_page.page()).decode()
    assert 'settings_differ{setting="GATEWAY_SECRET_KEYS"} 1.0' in page
    assert 'settings_differ{setting="GATEWAY_KIE_API_KEY"} 0.0' in page
    rows = str(await sql.fetch("SELECT * FROM processes"))
    assert SECRET not in rows
    assert "sk-not-to-be-shown" not in rows

    await sql.execute("UPDATE processes SET beat_at = now() - interval '1 minute'")
    await beat(one)
    assert (await one.witness.inspect()).differing == (), "who is gone differs no more"


async def test_a_clock_that_is_off_is_seen(one: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def ahead() -> datetime:
        return utc_now() + timedelta(minutes=10)

    monkeypatch.setattr(one.witness, "_clock", ahead)
    await beat(one)
    assert (await one.witness.inspect()).clock_ahead == pytest.approx(600, abs=2)
    page = (await one.metrics_page.page()).decode()
    (value,) = [
        float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith("kie_gateway_clock_ahead_seconds ")
    ]
    assert value == pytest.approx(600, abs=2)


async def test_the_long_gone_are_forgotten(one: Services, sql: Sql, wire: Wire) -> None:
    await beat(await wire())
    await sql.execute("UPDATE processes SET beat_at = now() - interval '2 hours'")
    await beat(one)
    assert await sql.fetchval("SELECT count(*) FROM processes") == 1
