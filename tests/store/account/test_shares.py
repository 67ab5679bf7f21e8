"""Shares of the seats: what hangs at one client leaves seats for the others, and none is wasted."""

import uuid
from collections import Counter
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.admission import HoldReason, Limits
from app.domain.task import State
from app.store.account import forecast, shares
from app.store.backlog import read_backlog
from app.store.connections.engine import Database
from tests.store.stage import (
    Sql,
    admit,
    digest,
    limits,
    put_breaker,
    put_client,
    put_queue,
    put_task,
)

RUNNING = 10


def seats_of(running: int = RUNNING, share: float = 0.9) -> Limits:
    return replace(limits(creates=50, running=running), running_share=share)


async def put_enabled(sql: Sql, name: str, *, weight: int = 1, key: bool = True) -> UUID:
    client_id = await put_client(sql, name, weight=weight)
    await sql.execute(
        "INSERT INTO api_keys (id, client_id, digest, hint, revoked_at)"
        " VALUES ($1, $2, $3, 'kgw_', CASE WHEN $4 THEN NULL ELSE now() END)",
        uuid.uuid4(),
        client_id,
        digest(name),
        key,
    )
    return client_id


async def hang(sql: Sql, client_id: UUID, tasks: int) -> None:
    for _ in range(tasks):
        await put_task(sql, client_id, State.RUNNING, at={"submitted_at": -60})


async def taken(database: Database, given: Limits) -> Counter[UUID]:
    return Counter(claimed.client_id for claimed in await admit(database, given))


@pytest.mark.parametrize(
    ("others", "share", "own", "seats"),
    [
        (["enabled"], 0.9, None, 9),
        (["enabled"], 0.57, None, 5),
        (["enabled"], 0.9, 0.3, 3),
        (["enabled"], 0.01, None, 1),
        (["revoked"], 0.9, None, RUNNING),
        ([], 0.9, None, RUNNING),
    ],
)
async def test_one_client_has_its_share_while_another_is_enabled(
    database: Database, sql: Sql, others: list[str], share: float, own: float | None, seats: int
) -> None:
    hungry = await put_enabled(sql, "hungry")
    for name in others:
        await put_enabled(sql, name, key=name == "enabled")
    await sql.execute("UPDATE clients SET running_share = $1 WHERE name = 'hungry'", own)
    await put_queue(sql, hungry, 2 * RUNNING)
    assert await taken(database, seats_of(share=share)) == {hungry: seats}
    assert await taken(database, seats_of(share=share)) == {}


async def test_a_newcomer_finds_a_seat_beside_tasks_that_hang(database: Database, sql: Sql) -> None:
    noisy, quiet = [await put_enabled(sql, name) for name in ("noisy", "quiet")]
    await put_queue(sql, noisy, 50)
    assert await taken(database, seats_of()) == {noisy: 9}
    await put_queue(sql, quiet, 1, first=1001)
    assert await taken(database, seats_of()) == {quiet: 1}


async def test_above_its_share_nobody_takes_a_seat_that_others_wait_for(
    database: Database, sql: Sql
) -> None:
    """Weights 1 and 3 of 20 seats: 5 and 15, and each may be one above."""
    light, heavy = [await put_enabled(sql, f"{n}", weight=n) for n in (1, 3)]
    await hang(sql, light, 10)
    await put_queue(sql, light, 20)
    await put_queue(sql, heavy, 20, first=1001)
    assert await taken(database, seats_of(20)) == {heavy: 10}


async def test_a_seat_that_nobody_else_can_use_is_not_kept_free(
    database: Database, sql: Sql
) -> None:
    """Others wait for something else: they are paused, held, or have their own ceiling."""
    busy = await put_enabled(sql, "busy")
    await hang(sql, busy, 8)
    await put_queue(sql, busy, 5)
    paused, held, capped = [await put_enabled(sql, name) for name in ("paused", "held", "capped")]
    for number, client_id in enumerate((paused, held, capped), start=1):
        await put_queue(sql, client_id, 3, first=1000 * number)
    await sql.execute("UPDATE client_queues SET paused_at = now() WHERE client_id = $1", paused)
    await put_breaker(sql, held)
    await sql.execute("UPDATE clients SET running_share = 0.1 WHERE id = $1", capped)
    await hang(sql, capped, 1)
    assert await taken(database, seats_of()) == {busy: 1}


async def test_who_waits_for_its_share_is_told_so(database: Database, sql: Sql) -> None:
    noisy, quiet = [await put_enabled(sql, name) for name in ("noisy", "quiet")]
    await hang(sql, noisy, 9)
    (mine,) = await put_queue(sql, noisy, 1)
    (theirs,) = await put_queue(sql, quiet, 1, first=1001)
    async with database.read() as connection:
        found = await forecast.forecast(connection, noisy, [mine], seats_of())
        assert found[mine].hold_reason is HoldReason.CLIENT_RUNNING_LIMIT
        assert found[mine].wait is None  # nothing has ended yet
        other = await forecast.forecast(connection, quiet, [theirs], seats_of())
        assert (other[theirs].hold_reason, other[theirs].wait) == (None, 0)
        shown = await shares.seats(connection, seats_of())
    names = ("client", "running", "running_limit", "waits", "may_take")
    assert [[row[name] for name in names] for row in shown] == [
        ["noisy", 9, 9, True, 0],
        ["quiet", 0, 9, True, 9],
    ]


async def test_a_client_at_its_ceiling_does_not_make_the_loop_late(
    database: Database, sql: Sql
) -> None:
    noisy = await put_enabled(sql, "noisy")
    await put_enabled(sql, "quiet")
    await hang(sql, noisy, 9)
    await put_queue(sql, noisy, 1)
    async with database.read() as connection:
        assert (await read_backlog(connection, seats_of())).overdue["submit"] == 0


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    clients=st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 9), st.integers(0, 15)),
        min_size=2,
        max_size=4,
    ),
    held=st.booleans(),
)
async def test_shares_hold_for_any_clients(
    database: Database, sql: Sql, clients: list[tuple[int, int, int]], *, held: bool
) -> None:
    """Each has a weight, seats that hang, and tasks that wait."""
    await sql.execute("DELETE FROM tasks; DELETE FROM kie_slots; DELETE FROM kie_breakers")
    await sql.execute("DELETE FROM api_keys; DELETE FROM client_queues; DELETE FROM clients")
    names: dict[UUID, tuple[int, int, int]] = {}
    for number, (weight, hangs, waits) in enumerate(clients):
        client_id = await put_enabled(sql, f"c{number}", weight=weight)
        await hang(sql, client_id, hangs)
        await put_queue(sql, client_id, waits, first=1 + 100 * number)
        names[client_id] = (weight, hangs, waits)
    if held:  # the longer of the two statements, about a pair of nobody here
        await put_breaker(sql, next(iter(names)), "another model")
    running = 20
    got = await taken(database, seats_of(running))
    weights = sum(weight for weight, hangs, waits in names.values() if hangs or waits)
    free = max(0, running - sum(hangs for _, hangs, _ in names.values()))
    wanting = set()
    for client_id, (weight, hangs, waits) in names.items():
        assert hangs + got[client_id] <= max(hangs, 18)
        entitled = min(18, running * weight // weights + 1) if weights else 0
        if min(waits, entitled - hangs) > 0:
            wanting.add(client_id)
    for client_id, (weight, hangs, _) in names.items():
        if wanting - {client_id}:
            assert hangs + got[client_id] <= max(hangs, running * weight // weights + 1)
    assert sum(got.values()) <= free
    if free and any(waits and hangs < 18 for _, hangs, waits in names.values()):
        assert sum(got.values()) > 0  # no seat is free that somebody may have
