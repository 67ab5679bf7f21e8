"""Refreshes: once in five seconds, in turns between clients, at most half of the limit."""

import uuid
from collections.abc import Sequence
from itertools import pairwise
from uuid import UUID

import pytest

from app.domain.admission import Call
from app.domain.polling import DuePoll
from app.domain.task import State
from app.store import slots
from app.store.connections.engine import Database
from app.store.slots import Held
from app.store.tasks import polls, refreshes
from app.store.tasks.refreshes import Refresh
from tests.store.stage import Sql, put_client, put_task

QUERIES = 10
EVERY = 5.0


async def put_running(sql: Sql, client_id: UUID, tasks: int, *, due: float = 3600) -> list[UUID]:
    at = {"due_at": due, "submitted_at": -60.0}
    return [
        await put_task(sql, client_id, State.RUNNING, at=at, kie_task_id=uuid.uuid4().hex)
        for _ in range(tasks)
    ]


async def refresh(database: Database, task_id: UUID) -> Refresh | None:
    async with database.begin() as connection:
        return await refreshes.refresh(connection, task_id, every=EVERY)


async def claim(database: Database, queries: int = QUERIES) -> list[DuePoll]:
    async with database.begin() as connection:
        return await polls.claim_due(connection, queries=queries, lease=30, taken_for=60)


async def answered(database: Database, sql: Sql, claimed: Sequence[DuePoll]) -> None:
    """Free their slots at once, as a window after their answers, and owe nothing more for them."""
    for due in claimed:
        held = Held(call=Call.QUERY, slot=due.slot, task_id=due.id)
        async with database.begin() as connection:
            await slots.release(connection, held, window=0, answered_ago=0)
    await sql.execute(
        "UPDATE tasks SET leased_until = NULL, due_at = now() + interval '1 h' WHERE id = ANY($1)",
        [due.id for due in claimed],
    )


async def test_a_task_is_asked_about_once_in_five_seconds(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    (task_id,) = await put_running(sql, client_id, 1)
    first = await refresh(database, task_id)
    again = await refresh(database, task_id)
    assert first is not None
    assert again is not None
    assert first.again_in is None
    assert again.refreshed_at == first.refreshed_at
    assert again.again_in == pytest.approx(EVERY, abs=1)
    await answered(database, sql, await claim(database))
    assert await claim(database) == []
    assert (await refresh(database, task_id) or first).again_in is not None
    await sql.execute("UPDATE tasks SET refreshed_at = refreshed_at - interval '5 s'")
    later = await refresh(database, task_id)
    assert later is not None
    assert later.again_in is None
    assert [due.id for due in await claim(database)] == [task_id]


@pytest.mark.parametrize("state", [State.QUEUED, State.SUBMITTING])
async def test_what_kie_does_not_have_is_not_asked_about(
    database: Database, sql: Sql, client_id: UUID, state: State
) -> None:
    task_id = await put_task(sql, client_id, state)
    assert await refresh(database, task_id) is None


async def test_the_loop_keeps_half_of_the_limit_however_many_refresh(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    flood = await put_running(sql, client_id, 20)
    for task_id in flood:
        await refresh(database, task_id)
    assert len(await claim(database)) == QUERIES // 2  # and of another process nothing more
    assert await claim(database) == []
    quiet = await put_client(sql, "quiet")
    own = await put_running(sql, quiet, 8, due=-1)
    taken = await claim(database)
    assert len(taken) == QUERIES // 2
    assert {due.id for due in taken} <= set(own)


async def test_without_refreshes_the_loop_has_all(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_running(sql, client_id, 20, due=-1)
    assert len(await claim(database)) == QUERIES


async def test_clients_take_turns(database: Database, sql: Sql, client_id: UUID) -> None:
    """Whoever began first, and however many tasks the other refreshes."""
    flood = await put_running(sql, client_id, 30)
    for task_id in flood:
        await refresh(database, task_id)
    quiet = await put_client(sql, "quiet")
    mine = await put_running(sql, quiet, 4)
    served: list[UUID] = []
    for number, task_id in enumerate(mine):
        await refresh(database, task_id)
        claimed = await claim(database)
        served += [due.id for due in claimed]
        assert task_id in served, number
        await answered(database, sql, claimed)
    assert len(set(served) & set(flood)) >= len(served) // 2


async def test_one_slot_at_a_time_goes_round(database: Database, sql: Sql, client_id: UUID) -> None:
    """A limit of two a second leaves one slot for refreshes: the clients have it in turn."""
    others = [client_id, await put_client(sql, "second"), await put_client(sql, "third")]
    whose: dict[UUID, UUID] = {}
    for one in others:
        for task_id in await put_running(sql, one, 4):
            whose[task_id] = one
            await refresh(database, task_id)
    turns = []
    for _ in range(4):
        claimed = await claim(database, queries=2)
        turns += [whose[due.id] for due in claimed]
        await answered(database, sql, claimed)
    assert len(turns) == 4
    assert all(one != following for one, following in pairwise(turns))


async def test_where_the_limit_is_one_nothing_goes_before_the_loops_own(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    (own,) = await put_running(sql, client_id, 1, due=-1)
    (refreshed,) = await put_running(sql, client_id, 1)
    await refresh(database, refreshed)
    await sql.execute("UPDATE tasks SET poll_asap_since = NULL WHERE id = $1", refreshed)
    first = await claim(database, queries=1)
    assert [due.id for due in first] == [own]
    await answered(database, sql, first)
    assert [due.id for due in await claim(database, queries=1)] == [refreshed]


async def test_a_refresh_that_waits_is_due_when_a_slot_of_its_half_is_free(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    flood = await put_running(sql, client_id, 20)
    for task_id in flood:
        await refresh(database, task_id)
    await claim(database)
    await sql.execute("UPDATE kie_slots SET free_at = now() + interval '7 s'")
    async with database.read() as connection:
        wait = await polls.next_due(connection, queries=QUERIES)
    assert wait == pytest.approx(7, abs=2)
