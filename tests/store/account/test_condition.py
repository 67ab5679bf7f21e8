"""The account: how it is held, probed, paused and throttled, and what operators are shown of it."""

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from app.domain.admission import FREE, PAUSES, Condition, HoldReason, Pair, Run
from app.domain.task import FINAL, State
from app.store.account import admission, condition
from app.store.account.standing import Standing, note_success, others_are_active, standing
from app.store.connections.engine import Database
from tests.each import each
from tests.store.stage import Sql, admit, around, limits, pass_time, put_client, put_queue, put_task

BUSY, ACCOUNT = HoldReason.KIE_BUSY, HoldReason.KIE_ACCOUNT
PAIR = Pair(client_id=UUID(int=1), model="m")
RUN = Run(
    failures=3, clients=frozenset({UUID(int=1), UUID(int=2)}), models=frozenset({"m", "größer"})
)
HOLD = Condition(hold_reason=BUSY, hold_tries=2, run=RUN)


async def set_condition(
    database: Database, after: Condition, *, wait: float | None = 30, detail: str | None = "429: no"
) -> None:
    async with database.begin() as connection:
        await condition.set_condition(
            connection, after, detail=detail, wait=None if after.hold_reason is None else wait
        )


async def found(database: Database, since: datetime, *, lock: bool = False) -> Standing:
    async with database.begin() as connection:
        return await standing(connection, PAIR, since=since, lock=lock)


async def claim_probe(database: Database) -> int | None:
    async with database.begin() as connection:
        return await condition.claim_probe(connection, lease=30)


async def end_probe(database: Database, *, good: bool) -> None:
    async with database.begin() as connection:
        await condition.end_probe(connection, good=good, wait=90)


async def row(sql: Sql) -> dict[str, Any]:
    """Return the account, its instants as seconds from now."""
    found = await sql.fetchrow("SELECT *, clock_timestamp() AS read_at FROM kie_account")
    assert found is not None
    return {
        name: (value - found["read_at"]).total_seconds() if isinstance(value, datetime) else value
        for name, value in found.items()
    }


async def now(sql: Sql) -> datetime:
    found = await sql.fetchval("SELECT clock_timestamp()")
    assert isinstance(found, datetime)
    return found


# -- the condition


@each("lock", [True, False])
@each(
    "kept",
    [
        FREE,
        Condition(run=RUN),
        Condition(hold_reason=BUSY, hold_tries=3, hold_client_id=UUID(int=7), run=RUN),
        *(Condition(hold_reason=reason, hold_tries=3) for reason in PAUSES),
    ],
)
async def test_a_condition_is_kept(
    database: Database, sql: Sql, kept: Condition, *, lock: bool
) -> None:
    await set_condition(database, kept)
    look = await found(database, await now(sql), lock=lock)
    assert (look.account, look.probed) == (kept, True)


async def test_an_attempt_probes_a_hold_that_it_began_after(database: Database, sql: Sql) -> None:
    before = await now(sql)
    assert (await found(database, before)).probed  # there is nothing to probe
    await set_condition(database, HOLD)
    assert not (await found(database, before)).probed
    assert (await found(database, await now(sql))).probed
    between = await now(sql)
    await set_condition(database, HOLD)  # prolonged: what was sent before is no probe of this
    assert not (await found(database, between)).probed


async def test_a_hold_says_why_since_when_and_until_when(database: Database, sql: Sql) -> None:
    await set_condition(database, HOLD, wait=30)
    found = await row(sql)
    assert (found["hold_reason"], found["hold_detail"]) == ("kie_busy", "429: no")
    assert (found["held_since"], found["held_at"]) == (around(0), around(0))
    assert found["held_until"] == around(30)


async def test_a_hold_that_goes_on_keeps_its_beginning_and_another_begins_anew(
    database: Database, sql: Sql
) -> None:
    await set_condition(database, HOLD)
    await pass_time(sql, 100)
    await set_condition(database, HOLD)
    found = await row(sql)
    assert (found["held_since"], found["held_at"]) == (around(-100), around(0))
    await set_condition(database, Condition(hold_reason=ACCOUNT, hold_tries=1))
    found = await row(sql)
    assert (found["held_since"], found["held_at"]) == (around(0), around(0))


async def test_a_free_account_says_nothing(database: Database, sql: Sql) -> None:
    await set_condition(database, HOLD)
    await set_condition(database, FREE, detail=None)
    found = await row(sql)
    names = ("hold_reason", "hold_detail", "held_since", "held_at", "held_until", "probed_at")
    assert [found[name] for name in names] == [None] * len(names)
    assert (found["hold_tries"], found["failures"]) == (0, 0)
    assert (found["failed_clients"], found["failed_models"]) == ([], [])


async def test_a_new_hold_has_to_be_proved_anew(database: Database, sql: Sql) -> None:
    await set_condition(database, Condition(hold_reason=ACCOUNT, hold_tries=1), wait=-1)
    await end_probe(database, good=True)
    assert (await row(sql))["probed_at"] == around(0)
    await set_condition(database, Condition(hold_reason=ACCOUNT, hold_tries=2))
    assert (await row(sql))["probed_at"] is None


# -- a hold for the troubles of one client


async def test_a_hold_for_one_client_is_void_while_anothers_tasks_wait(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    held = Condition(hold_reason=HoldReason.KIE_UNANSWERED, hold_tries=1, hold_client_id=client_id)
    await set_condition(database, held)
    await put_queue(sql, client_id, 3)
    assert await admit(database, limits()) == []
    assert (await shown(database))["hold_reason"] == HoldReason.KIE_UNANSWERED
    other = await put_client(sql, "other")
    await put_queue(sql, other, 1, first=101)
    assert (await shown(database))["hold_reason"] is None
    assert {claimed.client_id for claimed in await admit(database, limits())} == {client_id, other}


async def shown(database: Database) -> dict[str, Any]:
    async with database.read() as connection:
        return dict(await condition.status(connection, limits()))


OPEN = [state for state in State if state not in FINAL]


@pytest.mark.parametrize("state", State)
async def test_a_client_is_active_that_has_tasks_which_are_not_final(
    database: Database, sql: Sql, client_id: UUID, state: State
) -> None:
    other = await put_client(sql, "other")
    await put_task(sql, client_id, state)
    async with database.read() as connection:
        assert await others_are_active(connection, other) is (state in OPEN)
        assert not await others_are_active(connection, client_id)


# -- the last success


async def note(database: Database, model: str) -> None:
    async with database.begin() as connection:
        await note_success(connection, Pair(client_id=UUID(int=1), model=model))


async def test_a_success_is_noted_once_a_second(database: Database, sql: Sql) -> None:
    for model in ("first", "second"):
        await note(database, model)
    assert (await row(sql))["succeeded_model"] == "first"
    assert not (await found(database, await now(sql))).success_is_old
    await pass_time(sql, 1)
    assert (await found(database, await now(sql))).success_is_old
    await note(database, "third")
    assert (await row(sql))["succeeded_model"] == "third"


async def test_nobody_waits_to_note_a_success(database: Database, sql: Sql) -> None:
    """Who admits has the account's row: another success will do."""
    async with database.begin() as admitting:
        await admission.lock_account(admitting, wait=True)
        async with asyncio.timeout(5):
            await note(database, "first")
    assert (await row(sql))["succeeded_model"] is None


# -- the free credit call


@pytest.mark.parametrize("reason", [*PAUSES, None])
async def test_only_an_account_that_kie_refuses_is_probed_for_free(
    database: Database, reason: HoldReason | None
) -> None:
    await set_condition(
        database, Condition(hold_reason=reason, hold_tries=3 if reason else 0), wait=-1
    )
    assert await claim_probe(database) == (3 if reason is ACCOUNT else None)


async def test_a_probe_is_claimed_when_it_is_due_and_by_one(database: Database, sql: Sql) -> None:
    await set_condition(database, Condition(hold_reason=ACCOUNT, hold_tries=1), wait=20)
    assert await claim_probe(database) is None
    await pass_time(sql, 21)
    assert [await claim_probe(database) for _ in range(2)] == [1, None]
    assert (await row(sql))["held_until"] == around(30)
    await pass_time(sql, 31)  # its process died
    assert await claim_probe(database) == 1


async def test_nothing_is_probed_in_a_pause(database: Database) -> None:
    await set_condition(database, Condition(hold_reason=ACCOUNT, hold_tries=1), wait=-1)
    async with database.begin() as connection:
        await condition.pause(connection, None)
    assert await claim_probe(database) is None


async def test_a_good_probe_lets_one_task_be_risked(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 3)
    await set_condition(database, Condition(hold_reason=ACCOUNT, hold_tries=1), wait=-1)
    assert await claim_probe(database) == 1
    assert await admit(database, limits()) == []
    await end_probe(database, good=True)
    assert await claim_probe(database) is None
    assert len(await admit(database, limits())) == 1
    assert (await row(sql))["hold_reason"] == ACCOUNT  # only an accepted create ends it


async def test_a_bad_probe_prolongs_the_hold(database: Database, sql: Sql, client_id: UUID) -> None:
    await put_queue(sql, client_id, 3)
    await set_condition(database, Condition(hold_reason=ACCOUNT, hold_tries=1), wait=-1)
    await claim_probe(database)
    await end_probe(database, good=False)
    found = await row(sql)
    assert (found["hold_tries"], found["held_until"], found["probed_at"]) == (2, around(90), None)
    await pass_time(sql, 91)
    assert await admit(database, limits()) == []
    assert await claim_probe(database) == 2


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("after", [FREE, HOLD])
async def test_a_probe_that_comes_late_changes_no_other_condition(
    database: Database, sql: Sql, after: Condition, *, good: bool
) -> None:
    await set_condition(database, after)
    before = await row(sql)
    await end_probe(database, good=good)
    changed = await row(sql)
    assert changed["hold_reason"] == before["hold_reason"]
    assert (changed["hold_tries"], changed["probed_at"]) == (before["hold_tries"], None)


# -- others use the account


async def record_throttling(database: Database, since: datetime, creates: int = 20) -> None:
    async with database.begin() as connection:
        await condition.record_throttling(connection, limits(creates=creates), since=since)


async def test_a_burst_of_refusals_takes_a_quarter_of_the_limit_once(
    database: Database, sql: Sql
) -> None:
    began = await now(sql)
    for _ in range(5):
        await record_throttling(database, began)
    found = await row(sql)
    assert (found["creates_allowed"], found["throttled_at"]) == (15, around(0))


async def test_each_later_refusal_takes_a_quarter_of_what_was_left_and_leaves_one(
    database: Database, sql: Sql
) -> None:
    left = []
    for _ in range(10):
        await record_throttling(database, await now(sql))
        left.append((await row(sql))["creates_allowed"])
    assert left == [15, 11, 8, 6, 4, 3, 2, 1, 1, 1]


async def test_what_grew_back_meanwhile_counts(database: Database, sql: Sql) -> None:
    await record_throttling(database, await now(sql))
    await pass_time(sql, 25)
    await record_throttling(database, await now(sql))
    assert (await row(sql))["creates_allowed"] == 12  # three quarters of 17


async def test_the_smallest_limit_stays(database: Database, sql: Sql) -> None:
    await record_throttling(database, await now(sql), creates=1)
    assert (await row(sql))["creates_allowed"] == 1


# -- what operators do and see


async def test_a_pause_keeps_its_beginning_and_its_newest_note(
    database: Database, sql: Sql
) -> None:
    for note in ("kie.ai is down", "until Monday"):
        async with database.begin() as connection:
            await condition.pause(connection, note)
        await pass_time(sql, 0)
    found = await row(sql)
    assert (found["paused_at"], found["pause_note"]) == (around(0), "until Monday")
    since = await sql.fetchval("SELECT paused_at FROM kie_account")
    async with database.begin() as connection:
        await condition.pause(connection, None)
    assert await sql.fetchval("SELECT paused_at FROM kie_account") == since
    async with database.begin() as connection:
        await condition.resume(connection)
    found = await row(sql)
    assert (found["paused_at"], found["pause_note"]) == (None, None)


async def test_a_balance_is_kept_exactly_with_its_instant(database: Database, sql: Sql) -> None:
    balance = Decimal("123456789012345678901234567890.1230")
    async with database.begin() as connection:
        await condition.keep_balance(connection, balance)
    found = await row(sql)
    assert (str(found["balance"]), found["balance_at"]) == (str(balance), around(0))


async def test_what_is_free_and_what_is_used(database: Database, sql: Sql, client_id: UUID) -> None:
    await put_queue(sql, client_id, 9)
    given = limits(creates=20, running=50)
    await admit(database, given, limit=3)
    await put_task(sql, client_id, State.RUNNING)
    await put_task(sql, client_id, State.UNCONFIRMED, at={"submitted_at": -60})
    await put_task(sql, client_id, State.UNCONFIRMED, at={"submitted_at": -1000})
    async with database.read() as connection:
        found = dict(await condition.status(connection, given))
    assert found == {
        "paused_at": None,
        "pause_note": None,
        "hold_reason": None,
        "hold_detail": None,
        "held_since": None,
        "held_until": None,
        "creates_allowed": 20,
        "creates_free": 17,
        "running_limit": 50,
        "running": 5,
    }


async def test_what_others_use_is_not_free(database: Database, sql: Sql, client_id: UUID) -> None:
    await put_queue(sql, client_id, 20)
    given = limits(creates=20)
    await admit(database, given, limit=17)
    await record_throttling(database, await now(sql) + timedelta(seconds=1))
    async with database.read() as connection:
        found = await condition.status(connection, given)
    assert (found["creates_allowed"], found["creates_free"]) == (15, 0)
