"""Tasks: stored once, claimed by one, locked and read."""

import asyncio
import dataclasses
import uuid
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.domain.document import parse
from app.domain.task import FailSource, HoldReason, Source, Standing, State
from app.store import tasks
from app.store.engine import Database
from app.store.tasks import ClaimedTask, NewTask, StoredTask
from tests.store.stage import Sql, around, events, new_task, put_client, put_task, task

CLAIMERS = 20


async def store(database: Database, new: NewTask) -> StoredTask:
    async with database.begin() as connection:
        return await tasks.insert_task(connection, new)


async def claim(database: Database, limit: int) -> list[ClaimedTask]:
    async with database.begin() as connection:
        return await tasks.claim_queued(connection, limit=limit, lease=30)


async def claim_one(database: Database, task_id: UUID) -> bool:
    async with database.begin() as connection:
        return await tasks.claim_task(connection, task_id, lease=30)


async def test_a_new_task_is_queued_due_and_told_in_one_event(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    new = new_task(
        client_id,
        webhook_url="https://a.test/",
        priority=9,
        idempotency_key="k",
        metadata={"order": "A-1"},
    )
    assert await store(database, new) == StoredTask(id=new.id, fingerprint=b"f")
    row = await task(sql, new.id)
    assert {name: row[name] for name in ("state", "model", "priority", "webhook_url")} == {
        "state": "queued",
        "model": "m",
        "priority": 9,
        "webhook_url": "https://a.test/",
    }
    assert (row["attempt"], row["tries"], row["result_urls"]) == (0, 0, [])
    assert (row["due_at"], row["submit_by"]) == (around(0), around(60))
    empty = ("submitted_at", "finished_at", "leased_until", "lapses_at", "hold_reason")
    assert [row[name] for name in empty] == [None] * len(empty)
    assert await events(sql, new.id) == [(None, "queued", 0, None)]


async def test_numbers_texts_and_order_of_an_input_are_kept_exactly(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    text = '{"z":123456789012345678901234567890,"a":[0.10,-0.0,1E-400],"e":"\u00e9"}'.encode()
    new = new_task(client_id, input=parse(text), metadata={"\u00e9": "\U0001f600"})
    await store(database, new)
    assert (await task(sql, new.id))["input"].encode() == text
    async with database.read() as connection:
        row = await tasks.read_task(connection, client_id=client_id, task_id=new.id)
    assert row is not None
    assert repr(row["input"]) == repr(parse(text))
    assert row["metadata"] == {"\u00e9": "\U0001f600"}


async def test_storing_the_same_task_again_changes_nothing(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    new = new_task(client_id)
    first, again = await store(database, new), await store(database, new)
    assert first == again
    assert len(await events(sql, new.id)) == 1


async def test_a_key_stands_for_its_first_task_and_body(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    first = new_task(client_id, idempotency_key="k", fingerprint=b"one")
    other = new_task(client_id, idempotency_key="k", fingerprint=b"two")
    await store(database, first)
    assert await store(database, other) == StoredTask(id=first.id, fingerprint=b"one")
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 1
    assert await events(sql, other.id) == []


async def test_keys_belong_to_their_client_and_no_key_is_never_the_same(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    neighbour = await put_client(sql, "neighbour")
    new = [
        new_task(client_id, idempotency_key="k"),
        new_task(neighbour, idempotency_key="k"),
        new_task(client_id),
        new_task(client_id),
    ]
    assert [(await store(database, one)).id for one in new] == [one.id for one in new]


async def test_many_at_once_under_one_key_store_one_task(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    new = [new_task(client_id, idempotency_key="k") for _ in range(CLAIMERS)]
    stored = await asyncio.gather(*(store(database, one) for one in new))
    (row,) = await sql.fetch("SELECT id FROM tasks")
    assert {found.id for found in stored} == {row["id"]}
    assert await sql.fetchval("SELECT count(*) FROM task_events") == 1


async def test_the_same_task_many_times_at_once_is_stored_once(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    new = new_task(client_id, idempotency_key="k")
    stored = await asyncio.gather(*(store(database, new) for _ in range(CLAIMERS)))
    assert {found.id for found in stored} == {new.id}
    assert await events(sql, new.id) == [(None, "queued", 0, None)]


async def test_a_claimed_task_leaves_the_queue(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    task_id = await put_task(
        sql,
        client_id,
        State.QUEUED,
        at={"due_at": -1},
        attempt=2,
        tries=3,
        hold_reason=HoldReason.KIE_BUSY.value,
        input='{"n": 1.50}',
    )
    assert await claim(database, 10) == [
        ClaimedTask(id=task_id, attempt=3, tries=3, model="m", input={"n": Decimal("1.50")})
    ]
    row = await task(sql, task_id)
    assert (row["state"], row["attempt"], row["tries"]) == ("submitting", 3, 3)
    assert (row["due_at"], row["hold_reason"]) == (None, None)
    assert (row["leased_until"], row["submitted_at"]) == (around(30), around(0))
    assert row["updated_at"] == around(0)
    assert await events(sql, task_id) == [("queued", "submitting", 3, None)]
    assert await claim(database, 10) == []


@pytest.mark.parametrize(
    ("state", "at"),
    [
        (State.QUEUED, {"due_at": 60.0}),
        (State.QUEUED, {}),
        (State.QUEUED, {"due_at": -1.0, "submit_by": -1.0}),
        *((state, {"due_at": -1.0}) for state in State if state is not State.QUEUED),
    ],
)
async def test_what_is_not_to_be_sent_is_not_claimed(
    database: Database, sql: Sql, client_id: UUID, state: State, at: dict[str, float]
) -> None:
    task_id = await put_task(sql, client_id, state, at=at)
    assert await claim(database, 10) == []
    assert not await claim_one(database, task_id)
    assert (await task(sql, task_id))["state"] == state
    assert await events(sql, task_id) == []


async def test_the_longest_due_are_claimed_first(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    ages = [3, 9, 1, 7, 5]
    ids = {age: await put_task(sql, client_id, State.QUEUED, at={"due_at": -age}) for age in ages}
    turns = [{found.id for found in await claim(database, 2)} for _ in range(4)]
    assert turns == [{ids[9], ids[7]}, {ids[5], ids[3]}, {ids[1]}, set()]


async def test_many_claimers_never_get_the_same_task(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    ids = {await put_task(sql, client_id, State.QUEUED, at={"due_at": -1}) for _ in range(100)}

    async def take_all() -> list[UUID]:
        taken: list[UUID] = []
        while found := await claim(database, 3):
            assert len(found) <= 3
            taken += [one.id for one in found]
        return taken

    shares = await asyncio.gather(*(take_all() for _ in range(CLAIMERS)))
    taken = [found for share in shares for found in share]
    assert len(taken) == len(ids)
    assert set(taken) == ids
    assert await sql.fetchval("SELECT count(*) FROM task_events") == len(ids)
    assert await sql.fetchval("SELECT max(attempt) FROM tasks") == 1


async def test_one_of_many_claims_a_certain_task(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    task_id = await put_task(sql, client_id, State.QUEUED, at={"due_at": -1})
    bystander = await put_task(sql, client_id, State.QUEUED, at={"due_at": -9})
    won = await asyncio.gather(*(claim_one(database, task_id) for _ in range(CLAIMERS)))
    assert sum(won) == 1
    assert (await task(sql, task_id))["attempt"] == 1
    assert (await task(sql, bystander))["state"] == "queued"


async def test_a_task_that_another_holds_is_skipped_and_not_waited_for(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    held = await put_task(sql, client_id, State.QUEUED, at={"due_at": -9})
    free = await put_task(sql, client_id, State.QUEUED, at={"due_at": -1})
    async with database.begin() as connection:
        await tasks.lock_task(connection, held)
        async with asyncio.timeout(5):
            assert [found.id for found in await claim(database, 2)] == [free]
            assert not await claim_one(database, held)


async def test_a_claim_that_is_rolled_back_claimed_nothing(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    task_id = await put_task(sql, client_id, State.QUEUED, at={"due_at": -1})
    async with database.begin() as connection:
        assert await tasks.claim_task(connection, task_id, lease=30)
        await connection.rollback()
    assert (await task(sql, task_id))["state"] == "queued"
    assert await events(sql, task_id) == []


@pytest.mark.parametrize(
    "standing",
    [
        Standing(state=State.QUEUED),
        Standing(state=State.RUNNING, attempt=2, kie_task_id="k"),
        Standing(
            state=State.FAILED,
            attempt=1,
            kie_task_id="k",
            fail_source=FailSource.KIE,
            settled_by=Source.QUERY,
        ),
        Standing(state=State.EXPIRED, attempt=1, fail_source=FailSource.GATEWAY),
    ],
    ids=lambda standing: str(standing.state),
)
async def test_what_the_rules_read_of_a_task(
    database: Database, sql: Sql, client_id: UUID, standing: Standing
) -> None:
    columns: dict[str, Any] = {
        name: None if value is None else str(value)
        for name, value in dataclasses.asdict(standing).items()
        if name not in {"state", "attempt"}
    }
    task_id = await put_task(sql, client_id, standing.state, attempt=standing.attempt, **columns)
    async with database.begin() as connection:
        assert await tasks.lock_task(connection, task_id) == standing
        assert await tasks.lock_task(connection, uuid.uuid4()) is None


async def test_a_lock_keeps_others_waiting_until_the_transaction_ends(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    task_id = await put_task(sql, client_id, State.RUNNING)
    async with database.begin() as connection:
        await tasks.lock_task(connection, task_id)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await sql.execute("SELECT FROM tasks WHERE id = $1 FOR UPDATE NOWAIT", task_id)
    await sql.execute("SELECT FROM tasks WHERE id = $1 FOR UPDATE NOWAIT", task_id)


async def test_a_client_reads_its_own_tasks_alone(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    neighbour = await put_client(sql, "neighbour")
    task_id = await put_task(sql, client_id, State.RUNNING, kie_task_id="k")
    async with database.read() as connection:
        row = await tasks.read_task(connection, client_id=client_id, task_id=task_id)
        assert row is not None
        assert tuple(row) == tasks.ANSWERED
        assert (row["id"], row["state"], row["kie_task_id"]) == (task_id, "running", "k")
        mine = await tasks.read_state(connection, client_id=client_id, task_id=task_id)
        assert mine is State.RUNNING
        for whose, which in ((neighbour, task_id), (client_id, uuid.uuid4())):
            assert await tasks.read_task(connection, client_id=whose, task_id=which) is None
            assert await tasks.read_state(connection, client_id=whose, task_id=which) is None
