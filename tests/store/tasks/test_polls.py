"""Polls: which task is next, by whom, and what an answer leaves behind."""

import asyncio
import uuid
from uuid import UUID

import pytest

from app.domain.admission import Call
from app.domain.evidence import Verdict
from app.domain.keeping import raw
from app.domain.polling import DuePoll, NextPoll
from app.domain.report import Progress, Report
from app.domain.task import FINAL, State
from app.store import slots
from app.store.connections.engine import Database
from app.store.slots import Held
from app.store.tasks import callbacks, polls
from tests.store.stage import (
    Sql,
    admit,
    around,
    events,
    limits,
    new_callback,
    pass_time,
    put_queue,
    put_task,
    task,
)

TAKEN_FOR = 60.0


async def claim(database: Database, queries: int = 100) -> list[DuePoll]:
    async with database.begin() as connection:
        return await polls.claim_due(connection, queries=queries, lease=30, taken_for=TAKEN_FOR)


async def release(database: Database, due: DuePoll, *, window: float = 1) -> bool:
    held = Held(call=Call.QUERY, slot=due.slot, task_id=due.id)
    async with database.begin() as connection:
        return await slots.release(connection, held, window=window, answered_ago=0)


async def free_slots(sql: Sql) -> None:
    await sql.execute("DELETE FROM kie_slots")


async def next_due(database: Database, queries: int = 100) -> float | None:
    async with database.read() as connection:
        return await polls.next_due(connection, queries=queries)


@pytest.mark.parametrize("state", [state for state in State if state is not State.QUEUED])
async def test_a_due_poll_is_leased_and_returned_with_its_age(
    database: Database, sql: Sql, client_id: UUID, state: State
) -> None:
    at = {"due_at": -1.0, "submitted_at": -90.0, "created_at": -500.0}
    task_id = await put_task(sql, client_id, state, at=at, kie_task_id="k", tries=2)
    (due,) = await claim(database)
    assert (due.id, due.kie_task_id, due.tries) == (task_id, "k", 2)
    assert due.age == around(90)
    assert due.final_for == (around(0) if state in FINAL else None)
    row = await task(sql, task_id)
    assert (row["state"], row["leased_until"], row["due_at"]) == (state, around(30), around(-1))
    assert await events(sql, task_id) == []
    assert await claim(database) == []


async def test_the_age_counts_from_the_create_and_else_from_the_beginning(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_task(sql, client_id, State.CANCELED, at={"due_at": -1, "created_at": -500})
    (due,) = await claim(database)
    assert due.age == around(500)


@pytest.mark.parametrize(
    ("state", "at", "taken"),
    [
        (State.RUNNING, {"due_at": 60.0}, False),
        (State.RUNNING, {}, False),
        (State.QUEUED, {"due_at": -1.0}, False),
        (State.RUNNING, {"due_at": -1.0, "leased_until": 5.0}, False),
        (State.RUNNING, {"due_at": -1.0, "leased_until": -0.001}, True),
        (State.RUNNING, {"due_at": -1.0, "parked_at": -5.0}, False),
    ],
)
async def test_what_is_not_due_or_held_by_the_living_is_not_taken(
    database: Database,
    sql: Sql,
    client_id: UUID,
    state: State,
    at: dict[str, float],
    *,
    taken: bool,
) -> None:
    await put_task(sql, client_id, state, at=at)
    assert len(await claim(database)) == taken


async def test_the_longest_due_are_asked_about_first(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    ids = {
        age: await put_task(sql, client_id, State.RUNNING, at={"due_at": -age})
        for age in (3, 9, 1, 7, 5)
    }
    turns = []
    for _ in range(4):
        turns.append({due.id for due in await claim(database, 2)})
        await free_slots(sql)
    assert turns == [{ids[9], ids[7]}, {ids[5], ids[3]}, {ids[1]}, set()]


async def test_the_most_useful_are_asked_about_first(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    """What somebody waits for, what is open, what is to be confirmed, what expired."""
    ranks: list[tuple[State, dict[str, float]]] = [
        (State.SUCCEEDED, {"due_at": -1, "poll_asap_since": -1}),
        (State.RUNNING, {"due_at": -2}),
        (State.UNCONFIRMED, {"due_at": -1}),
        (State.FAILED, {"due_at": -9}),
        (State.SUCCEEDED, {"due_at": -8}),
        (State.EXPIRED, {"due_at": -20}),
    ]
    expected = [await put_task(sql, client_id, state, at=at) for state, at in ranks]
    found = []
    for _ in expected:
        found += [due.id for due in await claim(database, 1)]
        await free_slots(sql)
    assert found == expected


async def test_there_are_as_many_questions_as_free_slots(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    for _ in range(9):
        await put_task(sql, client_id, State.RUNNING, at={"due_at": -1})
    first = await claim(database, 4)
    assert sorted(due.slot for due in first) == [1, 2, 3, 4]
    assert {due.sharing for due in first} == {9}
    assert await claim(database, 4) == []
    assert [await release(database, first[0]) for _ in range(2)] == [True, False]
    assert await claim(database, 4) == []  # its window is not over
    await pass_time(sql, 1)
    (second,) = await claim(database, 4)
    assert second.slot == first[0].slot
    await pass_time(sql, TAKEN_FOR)  # what the others' process did not record is free at its bound
    assert len(await claim(database, 4)) == 4
    assert not await release(database, second)


async def test_creates_and_questions_have_slots_of_their_own(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    await put_queue(sql, client_id, 3)
    await put_task(sql, client_id, State.RUNNING, at={"due_at": -1})
    assert len(await admit(database, limits(creates=1))) == 1
    assert len(await claim(database, 1)) == 1
    kinds = await sql.fetch("SELECT kind, slot FROM kie_slots ORDER BY kind")
    assert [tuple(row) for row in kinds] == [("create", 1), ("query", 1)]


async def test_many_claimers_never_get_the_same_question_or_slot(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    ids = {await put_task(sql, client_id, State.RUNNING, at={"due_at": -1}) for _ in range(60)}
    in_use: set[int] = set()
    taken: list[UUID] = []

    async def take() -> None:
        while len(taken) < len(ids):
            for due in await claim(database, 5):
                assert due.slot not in in_use
                in_use.add(due.slot)
                taken.append(due.id)
                in_use.remove(due.slot)
                assert await release(database, due, window=0)

    async with asyncio.timeout(30):
        await asyncio.gather(*(take() for _ in range(12)))
    assert sorted(taken) == sorted(ids)
    assert await sql.fetchval("SELECT max(slot) FROM kie_slots") <= 5


async def test_a_task_that_another_settles_is_skipped(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    held = await put_task(sql, client_id, State.RUNNING, at={"due_at": -9})
    free = await put_task(sql, client_id, State.RUNNING, at={"due_at": -1})
    async with sql.transaction():
        await sql.execute("SELECT FROM tasks WHERE id = $1 FOR UPDATE", held)
        async with asyncio.timeout(5):
            assert [due.id for due in await claim(database)] == [free]


@pytest.mark.parametrize("due_in", [60.0, 0.0, None])
@pytest.mark.parametrize(("heard", "kept"), [("generating", "generating"), (None, "waiting")])
async def test_rescheduling_gives_the_lease_back(
    database: Database,
    sql: Sql,
    client_id: UUID,
    due_in: float | None,
    heard: str | None,
    kept: str,
) -> None:
    at = {"due_at": -1.0, "leased_until": 20.0, "expires_at": 900.0}
    task_id, bystander = [
        await put_task(sql, client_id, State.RUNNING, at=at, kie_state="waiting") for _ in range(2)
    ]
    async with database.begin() as connection:
        await polls.reschedule(
            connection, task_id, NextPoll(due_in=due_in, tries=3, kie_state=heard)
        )
    row = await task(sql, task_id)
    assert (row["due_at"], row["leased_until"]) == (around(due_in), None)
    assert (row["tries"], row["kie_state"], row["state"]) == (3, kept, "running")
    assert row["expires_at"] == around(900)
    assert (await task(sql, bystander))["leased_until"] == around(20)


async def test_a_task_that_is_queued_again_is_not_rescheduled(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    task_id = await put_task(sql, client_id, State.QUEUED, at={"due_at": 5}, tries=1)
    async with database.begin() as connection:
        await polls.reschedule(connection, task_id, NextPoll(due_in=None, tries=9))
    row = await task(sql, task_id)
    assert (row["due_at"], row["tries"]) == (around(5), 1)


@pytest.mark.parametrize("state", State)
async def test_a_task_is_polled_at_once_unless_it_is_on_its_way(
    database: Database, sql: Sql, client_id: UUID, state: State
) -> None:
    task_id = await put_task(sql, client_id, state, at={"due_at": 600}, tries=5)
    async with database.begin() as connection:
        await polls.poll_at_once(connection, task_id)
    row = await task(sql, task_id)
    on_its_way = state in {State.QUEUED, State.SUBMITTING}
    expected = (around(600), 5) if on_its_way else (around(0), 0)
    assert (row["due_at"], row["tries"], row["state"]) == (*expected, state)
    assert row["poll_asap_since"] == (None if on_its_way else around(0))


async def test_when_the_next_question_is_due(database: Database, sql: Sql, client_id: UUID) -> None:
    assert await next_due(database) is None
    for at in ({"due_at": 90.0}, {"due_at": 3.0, "parked_at": -1.0}, {}):
        await put_task(sql, client_id, State.RUNNING, at=at)
    await put_task(sql, client_id, State.QUEUED, at={"due_at": 1.0})
    assert await next_due(database) == around(90)
    await put_task(sql, client_id, State.RUNNING, at={"due_at": 40})
    assert await next_due(database) == around(40)


async def test_the_next_question_waits_for_a_slot(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    for _ in range(3):
        await put_task(sql, client_id, State.RUNNING, at={"due_at": -1})
    first, second = await claim(database, 2)
    await release(database, first, window=20)
    await release(database, second, window=40)
    assert await next_due(database, 2) == around(20)
    assert await next_due(database, 3) == 0  # one is free: nothing to wait for
    await pass_time(sql, 30)
    assert await next_due(database, 2) == 0


async def test_a_defect_of_ours_parks_a_task_in_the_end(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    at = {"due_at": -1.0, "leased_until": 20.0}
    task_id = await put_task(sql, client_id, State.RUNNING, at=at)
    parked = []
    for _ in range(3):
        async with database.begin() as connection:
            parked.append(
                await polls.record_poll_error(
                    connection, task_id, error="KeyError", due_in=30, most=3
                )
            )
    assert parked == [False, False, True]
    row = await task(sql, task_id)
    assert (row["poll_errors"], row["last_poll_error"], row["parked_at"]) == (
        3,
        "KeyError",
        around(0),
    )
    assert (row["due_at"], row["leased_until"], row["state"]) == (around(30), None, "running")
    await pass_time(sql, 60)
    assert await claim(database) == []


async def test_a_fruitful_question_makes_up_for_the_breakdowns_before(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    task_id = await put_task(sql, client_id, State.RUNNING, poll_errors=4)
    async with database.begin() as connection:
        await polls.reschedule(connection, task_id, NextPoll(due_in=5))
        parked = await polls.record_poll_error(connection, task_id, error="E", due_in=1, most=2)
    assert (parked, (await task(sql, task_id))["poll_errors"]) == (False, 1)


async def test_a_parked_task_can_be_unparked(database: Database, sql: Sql, client_id: UUID) -> None:
    at = {"due_at": 900.0, "parked_at": -60.0}
    task_id = await put_task(sql, client_id, State.RUNNING, at=at, poll_errors=5)
    async with database.begin() as connection:
        assert await polls.unpark(connection, task_id)
        assert not await polls.unpark(connection, task_id)
    assert [due.id for due in await claim(database)] == [task_id]
    assert (await task(sql, task_id))["poll_errors"] == 0


async def test_a_settled_task_that_owes_nothing_can_be_asked_about_again(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    task_id = await put_task(sql, client_id, State.SUCCEEDED)
    assert await claim(database) == []
    async with database.begin() as connection:
        await polls.poll_at_once(connection, task_id)
    assert [due.id for due in await claim(database)] == [task_id]


@pytest.mark.parametrize(("bound", "kept"), [(None, "new"), ("first", "first")])
async def test_binding_never_overwrites(
    database: Database, sql: Sql, client_id: UUID, bound: str | None, kept: str
) -> None:
    at = {"updated_at": -60.0}
    task_id = await put_task(sql, client_id, State.UNCONFIRMED, at=at, kie_task_id=bound)
    async with database.begin() as connection:
        await polls.bind(connection, task_id, "new")
    row = await task(sql, task_id)
    assert row["kie_task_id"] == kept
    assert row["updated_at"] == around(-60 if bound else 0)


async def test_confirming_ends_the_asking(database: Database, sql: Sql, client_id: UUID) -> None:
    at = {"due_at": -1.0, "leased_until": 20.0, "updated_at": -60.0}
    task_id = await put_task(sql, client_id, State.SUCCEEDED, at=at)
    async with database.begin() as connection:
        await polls.reschedule(connection, task_id, NextPoll(due_in=None, confirms=True))
    row = await task(sql, task_id)
    assert (row["confirmed_at"], row["updated_at"]) == (around(0), around(0))
    assert (row["due_at"], row["leased_until"], row["state"]) == (None, None, "succeeded")


async def test_a_task_is_confirmed_once(database: Database, sql: Sql, client_id: UUID) -> None:
    at = {"confirmed_at": -60.0}
    task_id = await put_task(sql, client_id, State.SUCCEEDED, at=at)
    async with database.begin() as connection:
        await polls.reschedule(connection, task_id, NextPoll(due_in=None, confirms=True))
    assert (await task(sql, task_id))["confirmed_at"] == around(-60)


async def test_the_ids_that_nobody_vouched_for_newest_first_and_each_once(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    task_id = await put_task(sql, client_id, State.UNCONFIRMED)
    said = [
        ("a", Verdict.UNVERIFIED),
        ("b", Verdict.STALE),
        ("c", Verdict.DISAGREED),
        ("a", Verdict.STALE),
        (None, Verdict.UNVERIFIED),
        *(("believed", verdict) for verdict in set(Verdict) - DOUBTED),
    ]
    async with database.begin() as connection:
        for kie_task_id, verdict in said:
            ids = (kie_task_id,) if kie_task_id else ()
            report = Report(progress=Progress.SUCCEEDED, kie_task_ids=ids)
            new = new_callback(task_id, content=report)
            await callbacks.insert_callback(connection, new, verdict, raw(new.body, ()))
        report = Report(progress=Progress.SUCCEEDED, kie_task_ids=("x",))
        other = new_callback(uuid.uuid4(), content=report)
        await callbacks.insert_callback(connection, other, Verdict.STALE, raw(b"", ()))
    async with database.read() as connection:
        assert await polls.alleged_ids(connection, task_id, limit=9) == ["a", "c", "b"]
        assert await polls.alleged_ids(connection, task_id, limit=2) == ["a", "c"]


DOUBTED = {Verdict.UNVERIFIED, Verdict.STALE, Verdict.DISAGREED}
