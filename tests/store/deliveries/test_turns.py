"""Who is given the places: in turns between clients, first attempts before others, few for slow."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from app.domain.delivery import AGAIN_COUNTS, SLOW_AFTER, SLOW_PLACES
from app.domain.task import State
from app.store.connections.engine import Database
from app.store.deliveries import health
from app.store.deliveries.attempts import DueDelivery
from app.store.deliveries.lanes import LANES
from tests.store.deliveries.stage import HOST, attempt, claim, put_many, settle
from tests.store.stage import Sql, put_client, put_task

OF_ONE = 8
"""Of a host's ten places, for one client."""


@pytest_asyncio.fixture
async def other(sql: Sql) -> tuple[UUID, UUID]:
    """Another client, and a task of its own."""
    client = await put_client(sql, "another")
    return client, await put_task(sql, client, State.SUCCEEDED)


async def fail(
    database: Database, client_id: UUID, times: int, *, path: str = "a", took: float = 0.1
) -> None:
    for _ in range(times):
        async with database.begin() as connection:
            await health.failed(connection, client_id, f"https://{HOST}/{path}", HOST, took)


async def answer(
    database: Database, client_id: UUID, took: float, times: int = 1, *, path: str = "a"
) -> None:
    for _ in range(times):
        async with database.begin() as connection:
            url = f"https://{HOST}/{path}"
            await health.answered(connection, client_id, url, HOST, took, noted=True)


async def lease_over(sql: Sql) -> None:
    await sql.execute("UPDATE deliveries SET leased_until = NULL")


async def take_all(database: Database) -> list[DueDelivery]:
    """Claim until nothing more is given, as a process does that has 100 places."""
    taken: list[DueDelivery] = []
    while found := await claim(database, room=100 - len(taken)):
        taken += found
    return taken


def of(client_id: UUID, claimed: Sequence[DueDelivery]) -> list[DueDelivery]:
    return [one for one in claimed if one.client_id == client_id]


# -- clients


async def test_a_backlog_at_many_slow_hosts_leaves_room_for_the_next_client(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID, other: tuple[UUID, UUID]
) -> None:
    """1,080 at twelve hosts; then something happens to another client, and to a third."""
    for number in range(12):
        await put_many(sql, client_id, task_id, 90, host=f"slow-{number}", again=True)
    taken = await take_all(database)
    assert 30 <= len(taken) <= 34
    await put_many(sql, client_id, task_id, 5, host="well.example", ago=0)
    await put_many(sql, *other, 5, host="fresh.example", ago=0)
    claimed = await claim(database, room=100 - len(taken))
    assert Counter(one.host for one in claimed) == {"well.example": 5, "fresh.example": 5}


async def test_turns_go_by_what_is_under_way_over_all_processes(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID, other: tuple[UUID, UUID]
) -> None:
    for number in range(5):
        await put_many(sql, client_id, task_id, 8, host=f"a-{number}", ago=60)
    assert len(await claim(database, room=19)) == 10
    for number in range(5):
        await put_many(sql, *other, 8, host=f"b-{number}", ago=0)
    claimed = await claim(database, room=19)
    assert (len(of(other[0], claimed)), len(of(client_id, claimed))) == (10, 0)


async def test_a_heavier_client_has_more_turns(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID, other: tuple[UUID, UUID]
) -> None:
    await sql.execute("UPDATE clients SET weight = 3 WHERE id = $1", other[0])
    for number in range(5):
        await put_many(sql, client_id, task_id, 8, host=f"a-{number}", ago=60)
        await put_many(sql, *other, 8, host=f"b-{number}", ago=0)
    claimed = await claim(database, room=27)
    assert len(of(other[0], claimed)) >= 2 * len(of(client_id, claimed)) > 0


# -- first attempts before the others


async def test_12_000_repetitions_do_not_go_before_a_fresh_event(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    await put_many(sql, client_id, task_id, 12_000, ago=3600, again=True)
    repeated = await take_all(database)
    assert len(repeated) == OF_ONE - OF_ONE // 4, "some places are left"
    await put_many(sql, client_id, task_id, 1, path="fresh", ago=0)
    (fresh,) = await claim(database)
    assert fresh.url.endswith("/fresh")


async def test_retries_go_on_beside_any_number_of_fresh_events(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    await put_many(sql, client_id, task_id, 100, path="old", ago=3600)
    await sql.execute("UPDATE deliveries SET tries = 1")
    await put_many(sql, client_id, task_id, 200, path="fresh")
    taken: Counter[str] = Counter()
    held = await claim(database)
    for _ in range(100):
        taken[held[0].url.rsplit("/", 1)[1]] += 1
        await settle(database, attempt(held.pop(0)))
        held += await claim(database)
    assert 10 <= taken["old"] <= 100 / AGAIN_COUNTS


# -- hosts and URLs


async def test_a_host_has_so_many_places_whoever_claims(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID, other: tuple[UUID, UUID]
) -> None:
    await put_many(sql, client_id, task_id, 30, ago=60)
    first = await take_all(database)
    assert len(first) == OF_ONE
    await put_many(sql, *other, 30)
    assert [one.client_id for one in await claim(database)] == [other[0]] * 2
    assert await claim(database) == []
    await settle(database, attempt(first[0]))
    assert [one.client_id for one in await claim(database)] == [other[0]]


async def test_claimers_at_once_do_not_exceed_it(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID, other: tuple[UUID, UUID]
) -> None:
    hosts = ["a.example", "b.example", "c.example"]
    for host in hosts:
        await put_many(sql, client_id, task_id, 100, host=host)
        await put_many(sql, *other, 100, host=host)
    for turn in range(1, 4):
        found = await asyncio.gather(*(claim(database, per_host=4 * turn) for _ in range(12)))
        claimed = list(itertools.chain(*found))
        assert len(claimed) == len({one.id for one in claimed}) == 4 * len(hosts)
        counted = await sql.fetch(
            "SELECT count(*) FROM deliveries WHERE leased_until > now() GROUP BY host"
        )
        assert [row["count"] for row in counted] == [4 * turn] * len(hosts)


async def test_a_path_in_trouble_holds_up_itself_only(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID, other: tuple[UUID, UUID]
) -> None:
    await put_many(sql, client_id, task_id, 30, path="dead?n={}", ago=60)
    await fail(database, client_id, 3, path="dead?of=another")
    await put_many(sql, client_id, task_id, 2, path="well")
    await put_many(sql, *other, 2, path="dead")
    claimed = await claim(database)
    assert Counter(one.url.rsplit("/", 1)[1] for one in claimed) == {"well": 2, "dead": 2}
    assert len(of(other[0], claimed)) == 2
    await sql.execute("UPDATE delivery_urls SET held_until = clock_timestamp()")
    found = await asyncio.gather(*(claim(database) for _ in range(5)))
    (probe,) = itertools.chain(*found)
    assert "/dead?" in probe.url
    assert probe.noted


async def test_it_recovers_at_once(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    await put_many(sql, client_id, task_id, 30)
    await fail(database, client_id, 8)
    await answer(database, client_id, 0.1)
    assert await sql.fetchval("SELECT count(*) FROM delivery_urls") == 0
    assert len(await claim(database)) == OF_ONE


async def test_holds_grow_to_a_minute(database: Database, sql: Sql, client_id: UUID) -> None:
    holds = []
    for _ in range(12):
        await fail(database, client_id, 1)
        holds.append(
            await sql.fetchval(
                "SELECT extract(epoch FROM held_until - clock_timestamp())::float"
                " FROM delivery_urls"
            )
        )
    doubling = [0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert holds == [pytest.approx(seconds, abs=1) for seconds in doubling]


async def test_a_slow_url_has_few_places_until_it_is_quick_again(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    await put_many(sql, client_id, task_id, 30)

    async def places() -> int:
        await lease_over(sql)
        return len(await take_all(database))

    await answer(database, client_id, SLOW_AFTER * 2.7)
    assert await places() == OF_ONE, "one slow answer is an accident"
    await answer(database, client_id, SLOW_AFTER * 2.7)
    assert await places() == SLOW_PLACES
    await answer(database, client_id, 0.1, times=4)
    assert await places() == OF_ONE
    await answer(database, client_id, 0.1, times=10)
    assert await sql.fetchval("SELECT count(*) FROM delivery_urls") == 0


async def test_a_quick_url_costs_no_row(database: Database, sql: Sql, client_id: UUID) -> None:
    await answer(database, client_id, 0.1)
    assert await sql.fetchval("SELECT count(*) FROM delivery_urls") == 0


async def test_what_was_noted_long_ago_is_forgotten(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await fail(database, client_id, 1)
    await fail(database, client_id, 1, path="old")
    await sql.execute(
        "UPDATE delivery_urls SET noted_at = now() - interval '1 hour'"
        " WHERE lane = hashtextextended($1, 0)",
        f"https://{HOST}/old",
    )
    async with database.begin() as connection:
        await health.forget(connection, 1800)
    assert await sql.fetchval("SELECT count(*) FROM delivery_urls") == 1


async def test_of_very_many_urls_each_look_finds_others(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID
) -> None:
    """Most are held: those that are not are found all the same, at some start."""
    await put_many(sql, client_id, task_id, 10 * LANES, path="{}")
    await sql.execute(
        "INSERT INTO delivery_urls (client_id, lane, host, failures, held_until)"
        " SELECT client_id, hashtextextended(url, 0), host, 9, now() + interval '1 hour'"
        " FROM deliveries WHERE NOT url LIKE '%/7'"
    )
    starts = [2**63 // 20 * step for step in range(-20, 20)]
    found = [one for start in starts for one in await claim(database, start=start)]
    assert [one.url for one in found] == [f"https://{HOST}/7"]


async def _put_some(sql: Sql, client_id: UUID, task_id: UUID, chance: random.Random) -> None:
    members: dict[str, Any] = {
        "host": f"host-{chance.randrange(4)}",
        "path": f"{chance.randrange(3)}",
        "again": chance.random() < 0.5,
        "ago": chance.random() * 100,
    }
    await put_many(sql, client_id, task_id, chance.randrange(1, 20), **members)


@pytest.mark.parametrize("seed", range(3))
async def test_the_bounds_hold_and_nobody_waits_for_nothing(
    database: Database, sql: Sql, client_id: UUID, task_id: UUID, seed: int
) -> None:
    """Any mix of clients, hosts, paths and kinds; attempts end in any order."""
    chance = random.Random(seed)  # noqa: S311  # cases of a test
    clients = [(client_id, task_id)]
    for number in range(3):
        client = await put_client(sql, f"client {number}")
        clients.append((client, await put_task(sql, client, State.SUCCEEDED)))
    for client, task in clients * 4:
        await _put_some(sql, client, task, chance)
    held: list[DueDelivery] = []
    while (found := await claim(database, room=20 - len(held))) or held:
        held += found
        assert len(held) <= 20
        assert max(Counter(one.host for one in held).values()) <= 10
        assert max(Counter((one.client_id, one.host) for one in held).values()) <= OF_ONE
        chance.shuffle(held)
        for one in held[: chance.randrange(20)]:
            await settle(database, attempt(one))
            held.remove(one)
    left = await sql.fetchval("SELECT count(*) FROM deliveries WHERE state = 'pending'")
    assert left == 0
