"""Breakers: what is kept against a pair, how much of it, and for how long."""

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from app.domain.admission import HoldReason, Pair
from app.domain.breaker import BREAKERS_PER_CLIENT, CLOSED, FORGOTTEN_AFTER, Breaker
from app.store.account import breakers
from app.store.account.standing import Standing, standing
from app.store.connections.engine import Database
from tests.store.stage import Sql, around, pass_time, put_breaker, put_client

HELD = Breaker(hold_reason=HoldReason.KIE_BUSY, hold_tries=2, unknowns=1)


async def keep(
    database: Database, pair: Pair, after: Breaker, *, wait: float = 30, detail: str = "455: no"
) -> None:
    async with database.begin() as connection:
        await breakers.keep_breaker(
            connection, pair, after, detail=detail, wait=wait if after.hold_reason else None
        )


async def look(database: Database, sql: Sql, pair: Pair, since: datetime | None = None) -> Standing:
    since = since or await sql.fetchval("SELECT clock_timestamp()")
    assert since is not None
    async with database.read() as connection:
        return await standing(connection, pair, since=since, lock=False)


async def row(sql: Sql, model: str = "m") -> dict[str, Any]:
    """Return the pair's row, its instants as seconds from now."""
    found = await sql.fetchrow(
        "SELECT *, clock_timestamp() AS read_at FROM kie_breakers WHERE model = $1", model
    )
    assert found is not None
    return {
        name: (value - found["read_at"]).total_seconds() if isinstance(value, datetime) else value
        for name, value in found.items()
    }


async def models(sql: Sql) -> list[str]:
    rows = await sql.fetch("SELECT model FROM kie_breakers ORDER BY model")
    return [found["model"] for found in rows]


@pytest.fixture
def pair(client_id: UUID) -> Pair:
    return Pair(client_id=client_id, model="m")


@pytest.mark.parametrize("kept", [Breaker(unknowns=2), HELD])
async def test_what_is_known_is_kept(
    database: Database, sql: Sql, pair: Pair, kept: Breaker
) -> None:
    found = await look(database, sql, pair)
    assert (found.breaker, found.pair_probed) == (CLOSED, True)
    await keep(database, pair, kept)
    found = await look(database, sql, pair)
    assert (found.breaker, found.pair_probed) == (kept, True)


async def test_an_attempt_probes_a_hold_that_it_began_after(
    database: Database, sql: Sql, pair: Pair
) -> None:
    before = await sql.fetchval("SELECT clock_timestamp()")
    await keep(database, pair, HELD)
    assert not (await look(database, sql, pair, before)).pair_probed
    assert (await look(database, sql, pair)).pair_probed


async def test_a_hold_that_goes_on_keeps_its_beginning(
    database: Database, sql: Sql, pair: Pair
) -> None:
    await keep(database, pair, Breaker(unknowns=2))
    assert (await row(sql))["held_since"] is None
    await keep(database, pair, HELD, detail="455: no")
    await pass_time(sql, 100)
    await keep(database, pair, HELD, detail="455: not yet")
    found = await row(sql)
    assert (found["held_since"], found["held_at"]) == (around(-100), around(0))
    assert (found["held_until"], found["hold_detail"]) == (around(30), "455: not yet")


async def test_nothing_is_left_of_a_pair_that_is_freed(
    database: Database, sql: Sql, pair: Pair
) -> None:
    await keep(database, pair, HELD)
    async with database.begin() as connection:
        await breakers.forget_breaker(connection, pair)
    assert await models(sql) == []


async def test_of_too_many_those_go_whose_holds_end_first(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    other = await put_client(sql, "other")
    await put_breaker(sql, other, "theirs", held_for=1)
    await put_breaker(sql, client_id, "noted", reason=None, unknowns=1)
    for number in range(1, BREAKERS_PER_CLIENT):
        await put_breaker(sql, client_id, f"held {number:03}", held_for=100 + number)
    assert len(await models(sql)) == BREAKERS_PER_CLIENT + 1
    for model, wait, gone in (
        ("new", 30, "noted"),
        ("newer", 1000, "new"),
        ("newest", 1000, "held 001"),
    ):
        await keep(database, Pair(client_id=client_id, model=model), HELD, wait=wait)
        found = await models(sql)
        assert gone not in found
        assert {model, "theirs"} <= set(found)
        assert len(found) == BREAKERS_PER_CLIENT + 1


async def forget_old(database: Database, limit: int = 200) -> int:
    async with database.begin() as connection:
        return await breakers.forget_old(connection, after=FORGOTTEN_AFTER, limit=limit)


async def test_what_ended_long_ago_is_removed(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    old = -FORGOTTEN_AFTER - 60
    await put_breaker(sql, client_id, "ended", since=2 * old, held_for=old)
    await put_breaker(sql, client_id, "noted long ago", reason=None, unknowns=1, since=old)
    await put_breaker(sql, client_id, "ended just now", since=old, held_for=-60)
    await put_breaker(sql, client_id, "held", since=old, held_for=60)
    await put_breaker(sql, client_id, "noted", reason=None, unknowns=1)
    assert await forget_old(database, limit=1) == 1
    assert await forget_old(database) == 1
    assert await models(sql) == ["ended just now", "held", "noted"]


async def test_operators_see_the_worst_first_and_how_many_there_are(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    other = await put_client(sql, "other")
    await put_breaker(sql, client_id, "few", tries=1)
    await put_breaker(sql, other, "many", tries=7, reason=HoldReason.KIE_UNANSWERED)
    await put_breaker(sql, client_id, "some", tries=3)
    await put_breaker(sql, client_id, "noted", reason=None, unknowns=2)
    async with database.read() as connection:
        found = await breakers.list_held(connection, limit=2)
        counted = await breakers.count_held(connection)
    assert [(one["client"], one["model"], one["hold_tries"]) for one in found] == [
        ("other", "many", 7),
        ("tests", "some", 3),
    ]
    assert counted == {HoldReason.KIE_BUSY: 2, HoldReason.KIE_UNANSWERED: 1}


async def test_a_client_that_goes_takes_its_breakers_along(sql: Sql, client_id: UUID) -> None:
    await put_breaker(sql, client_id)
    await sql.execute("DELETE FROM client_queues; DELETE FROM clients")
    assert await models(sql) == []
