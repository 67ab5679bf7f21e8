"""Admission beside held pairs: who passes, one probe at a time, and at what cost."""

from collections import Counter
from decimal import Decimal
from uuid import UUID

import pytest

from app.domain.admission import Limits
from app.domain.breaker import UNKNOWNS_IN_A_ROW
from app.domain.task import State
from app.store.account import admission, pairs
from app.store.backlog import read_backlog
from app.store.connections.engine import Database
from tests.store.stage import (
    Sql,
    admit,
    around,
    end_all,
    limits,
    pass_time,
    put_breaker,
    put_client,
    put_queue,
    put_task,
)

WIDE = limits(creates=1000, running=1000)
"""Limits that keep nothing back."""


async def ids(database: Database, given: Limits = WIDE, limit: int = 50) -> list[UUID]:
    return [claimed.id for claimed in await admit(database, given, limit=limit)]


async def next_chance(database: Database, given: Limits = WIDE) -> float | None:
    async with database.read() as connection:
        return (await admission.next_chance(connection, given)).seconds


async def hold_account(sql: Sql, client_id: UUID | None = None, model: str | None = None) -> None:
    """Hold the account, with a probe due, and let a pair be the last that succeeded."""
    await sql.execute(
        "UPDATE kie_account SET hold_reason = 'kie_busy', hold_tries = 1, held_at = now(),"
        " held_until = now(), succeeded_client_id = $1, succeeded_model = $2",
        client_id,
        model,
    )


# -- who passes


async def test_what_a_pair_holds_is_passed_by_its_own_client_and_all_others(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    other = await put_client(sql, "other")
    await put_queue(sql, client_id, 5, first=1, model="held", priority=9)
    mine = await put_queue(sql, client_id, 3, first=101, model="m")
    mine += await put_queue(sql, client_id, 3, first=201, model="z")
    theirs = await put_queue(sql, other, 3, first=301, model="held")
    await put_breaker(sql, client_id, "held")
    assert set(await ids(database)) == {*mine, *theirs}
    assert await ids(database) == []


async def test_priority_and_age_order_what_is_left(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_breaker(sql, client_id, "held")
    await put_queue(sql, client_id, 2, first=1, model="held")
    low = await put_queue(sql, client_id, 2, first=11, model="a", priority=1)
    high = await put_queue(sql, client_id, 2, first=31, model="b", priority=9)
    usual = await put_queue(sql, client_id, 2, first=21, model="c", priority=5)
    assert await ids(database, limit=3) == [*high, usual[0]]
    assert await ids(database) == [usual[1], *low]


async def test_a_client_pays_no_turn_for_what_is_held(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    other = await put_client(sql, "other")
    await put_breaker(sql, client_id, "held")
    await put_queue(sql, client_id, 50, first=1, model="held", priority=9)
    await put_queue(sql, client_id, 50, first=101)
    await put_queue(sql, other, 50, first=201)
    taken = await admit(database, WIDE, limit=20)
    assert Counter(claimed.client_id for claimed in taken) == {client_id: 10, other: 10}


@pytest.mark.parametrize("state", [State.SUBMITTING, None])
async def test_a_held_pair_is_probed_by_one_task_at_a_time(
    database: Database, sql: Sql, client_id: UUID, state: State | None
) -> None:
    queue = await put_queue(sql, client_id, 5, model="held")
    await put_breaker(sql, client_id, "held", held_for=-1)
    if state is not None:  # from before the hold
        await put_task(sql, client_id, state, model="held", at={"leased_until": 30})
        assert await ids(database) == []
        assert await next_chance(database) is None  # an answer opens it, not time
        await end_all(sql)
    assert await next_chance(database) == 0
    assert await ids(database) == queue[:1]
    assert await ids(database) == []
    await end_all(sql)
    assert await ids(database) == queue[1:2]


@pytest.mark.parametrize("unknowns", range(1, UNKNOWNS_IN_A_ROW))
async def test_a_suspect_pair_has_no_more_under_way_than_may_still_be_lost(
    database: Database, sql: Sql, client_id: UUID, unknowns: int
) -> None:
    queue = await put_queue(sql, client_id, 5, model="suspect")
    others = await put_queue(sql, client_id, 5, first=101, model="m")
    await put_breaker(sql, client_id, "suspect", reason=None, unknowns=unknowns)
    left = UNKNOWNS_IN_A_ROW - unknowns
    assert set(await ids(database)) == {*queue[:left], *others}
    assert await ids(database) == []
    assert await next_chance(database) is None
    await sql.execute("DELETE FROM kie_breakers")
    assert await ids(database) == queue[left:]


# -- when there may be more


async def test_where_only_held_pairs_wait_the_next_probe_is_the_next_chance(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    other = await put_client(sql, "other")
    await put_queue(sql, client_id, 2, first=1, model="held")
    await put_queue(sql, other, 2, first=101, model="held")
    await put_breaker(sql, client_id, "held", held_for=40)
    await put_breaker(sql, client_id, "of which nothing waits", held_for=5)
    assert await next_chance(database) == 0  # the other's
    await put_breaker(sql, other, "held", held_for=20)
    assert await next_chance(database) == around(20)
    await pass_time(sql, 21)
    assert await next_chance(database) == 0
    await put_queue(sql, client_id, 1, first=201, model="m")
    assert await next_chance(database) == 0


async def test_held_pairs_count_as_waiting_only_once_their_probe_is_due(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    async def overdue() -> float:
        async with database.read() as connection:
            return (await read_backlog(connection, WIDE)).overdue["submit"]

    await put_queue(sql, client_id, 2, model="held")
    await put_breaker(sql, client_id, "held", held_for=40)
    await pass_time(sql, 30)
    assert await overdue() == 0
    await pass_time(sql, 30)
    assert await overdue() == around(20)
    assert len(await ids(database)) == 1
    assert await overdue() == 0


# -- where a probe of the account goes


async def test_it_goes_to_the_pair_that_succeeded_last(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    other = await put_client(sql, "other")
    await put_queue(sql, other, 5, first=1, priority=9)
    await put_queue(sql, client_id, 5, first=101, model="m", priority=9)
    (proven, *_) = await put_queue(sql, client_id, 2, first=201, model="proven", priority=0)
    await hold_account(sql, client_id, "proven")
    assert await ids(database) == [proven]


@pytest.mark.parametrize(
    "why", ["held", "not queued", "not due", "client paused", "client unknown", "nothing yet"]
)
async def test_otherwise_it_goes_where_it_would_go(
    database: Database, sql: Sql, client_id: UUID, why: str
) -> None:
    other = await put_client(sql, "other")
    (head,) = await put_queue(sql, other, 1, first=1)
    proven = await put_queue(sql, client_id, why != "not queued", first=101, model="proven")
    await hold_account(sql, client_id, "proven")
    broken = {
        "held": "UPDATE kie_breakers SET held_until = now()",
        "not due": "UPDATE tasks SET due_at = now() + interval '1 min' WHERE model = 'proven'",
        "client paused": "UPDATE client_queues SET paused_at = now() FROM clients"
        " WHERE client_id = clients.id AND name = 'tests'",
        "client unknown": "UPDATE kie_account SET succeeded_client_id = gen_random_uuid()",
        "nothing yet": "UPDATE kie_account SET succeeded_model = NULL, succeeded_client_id = NULL",
    }
    if why == "held":
        await put_breaker(sql, client_id, "proven")
    await sql.execute(broken.get(why, "SELECT"))
    (taken,) = await ids(database)
    assert taken == head or (why in {"client unknown", "nothing yet"} and taken in proven)


async def test_it_goes_rather_to_a_pair_that_is_not_held(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    other = await put_client(sql, "other")
    await put_queue(sql, client_id, 2, first=1, model="held", priority=9)
    (free,) = await put_queue(sql, other, 1, first=101)
    await put_breaker(sql, client_id, "held", held_for=-1)
    await sql.execute("UPDATE client_queues SET pass = 100 WHERE client_id = $1", other)
    await hold_account(sql)
    assert await ids(database) == [free]
    await end_all(sql)
    assert len(await ids(database)) == 1  # only held ones are left: one of those


# -- what the task would cost that is risked


async def put_cost(sql: Sql, client_id: UUID, model: str, credits_consumed: str | None) -> None:
    await put_task(
        sql,
        client_id,
        State.SUCCEEDED,
        model=model,
        credits_consumed=None if credits_consumed is None else Decimal(credits_consumed),
    )


async def test_the_cost_is_the_highest_that_the_model_had(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    async def cost() -> Decimal | None:
        async with database.read() as connection:
            return await admission.highest_cost(connection, limits())

    assert await cost() is None
    for consumed in ("3.5", "400", None, "20"):
        await put_cost(sql, client_id, "dear", consumed)
    await put_cost(sql, client_id, "cheap", "2")
    await put_queue(sql, client_id, 1, first=1, model="new")
    assert await cost() is None
    await put_queue(sql, client_id, 1, first=101, model="dear", priority=9)
    assert await cost() == 400
    await put_queue(sql, client_id, 1, first=201, model="cheap", priority=0)
    await hold_account(sql, client_id, "cheap")
    await sql.execute(
        "UPDATE kie_account SET hold_reason = 'kie_account', held_until = now() + interval '1 min'"
    )
    assert await cost() == 2  # the probe goes there


async def test_so_many_models_of_one_client_are_looked_at_and_the_rest_follow(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_breaker(sql, client_id, "000", held_for=300)
    for number in range(pairs.MODELS_AT_ONCE + 10):
        await put_queue(sql, client_id, 1, first=1 + number, model=f"{number:03}")
    taken = [len(await ids(database, limit=1000)) for _ in range(3)]
    assert taken == [pairs.MODELS_AT_ONCE - 1, 10, 0]
