"""Tasks: stored once, locked and read. How they are claimed: `test_admission`."""

import asyncio
import dataclasses
import uuid
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.domain.exact_json import parse, render
from app.domain.task import FINAL, FailSource, Source, Standing, State
from app.store.connections.engine import Database
from app.store.tasks import rows, storing
from app.store.tasks.storing import NewTask, StoredTask
from tests.store.stage import Sql, around, events, new_task, put_client, put_task, task

CALLERS = 20


async def store(database: Database, new: NewTask) -> StoredTask:
    async with database.begin() as connection:
        return await storing.insert_task(connection, new)


async def test_a_new_task_is_queued_due_and_has_one_event(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    new = new_task(
        client_id,
        webhook_url="https://a.test/",
        priority=9,
        idempotency_key="k",
        metadata={"order": "A-1"},
    )
    stored = await store(database, new)
    assert (stored.id, stored.fingerprint, stored.inserted) == (new.id, b"f", True)
    row = await task(sql, new.id)
    assert {name: row[name] for name in ("state", "model", "priority", "webhook_url")} == {
        "state": "queued",
        "model": "m",
        "priority": 9,
        "webhook_url": "https://a.test/",
    }
    assert (row["attempt"], row["tries"], row["result_urls"]) == (0, 0, [])
    assert (row["due_at"], row["submit_by"]) == (around(0), around(60))
    empty = (
        "submitted_at",
        "finished_at",
        "leased_until",
        "expires_at",
        "claim",
        "poll_asap_since",
    )
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
        row = await rows.read_task(connection, client_id=client_id, task_id=new.id)
    assert row is not None
    assert row["input"].encoded_json == render(parse(text))
    assert row["metadata"] == {"\u00e9": "\U0001f600"}


async def test_what_was_just_stored_is_known_without_reading_it(
    database: Database, client_id: UUID
) -> None:
    new = new_task(client_id, input=parse(b'{"z":[0.10]}'), metadata={"a": "b"}, priority=3)
    stored = await store(database, new)
    assert stored.row is not None
    async with database.read() as connection:
        row = await rows.read_task(connection, client_id=client_id, task_id=new.id)
    assert storing.as_stored(new, stored.row) == dict(row or {})


async def test_storing_the_same_task_again_changes_nothing(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    new = new_task(client_id)
    first, again = await store(database, new), await store(database, new)
    assert (first.inserted, again.inserted) == (True, False)
    assert (first.id, first.fingerprint) == (again.id, again.fingerprint)
    assert len(await events(sql, new.id)) == 1


async def test_a_key_means_its_first_task_and_body(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    first = new_task(client_id, idempotency_key="k", fingerprint=b"one")
    other = new_task(client_id, idempotency_key="k", fingerprint=b"two")
    await store(database, first)
    assert await store(database, other) == StoredTask(id=first.id, fingerprint=b"one", row=None)
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
    new = [new_task(client_id, idempotency_key="k") for _ in range(CALLERS)]
    stored = await asyncio.gather(*(store(database, one) for one in new))
    (row,) = await sql.fetch("SELECT id FROM tasks")
    assert {found.id for found in stored} == {row["id"]}
    assert [found.inserted for found in stored].count(True) == 1
    assert await sql.fetchval("SELECT count(*) FROM task_events") == 1


async def test_the_same_task_many_times_at_once_is_stored_once(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    new = new_task(client_id, idempotency_key="k")
    stored = await asyncio.gather(*(store(database, new) for _ in range(CALLERS)))
    assert {found.id for found in stored} == {new.id}
    assert [found.inserted for found in stored].count(True) == 1
    assert await events(sql, new.id) == [(None, "queued", 0, None)]


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
        if name in {"kie_task_id", "fail_source", "settled_by"}
    }
    task_id = await put_task(sql, client_id, standing.state, attempt=standing.attempt, **columns)
    async with database.begin() as connection:
        found = await rows.lock_task(connection, task_id)
        assert found is not None
        assert found.model == "m"
        assert dataclasses.replace(found, final_for=None, model=None) == standing
        assert (found.final_for is not None) is (standing.state in FINAL)
        assert await rows.lock_task(connection, uuid.uuid4()) is None


async def test_a_lock_keeps_others_waiting_until_the_transaction_ends(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    task_id = await put_task(sql, client_id, State.RUNNING)
    async with database.begin() as connection:
        await rows.lock_task(connection, task_id)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await sql.execute("SELECT FROM tasks WHERE id = $1 FOR UPDATE NOWAIT", task_id)
    await sql.execute("SELECT FROM tasks WHERE id = $1 FOR UPDATE NOWAIT", task_id)


async def test_a_client_reads_its_own_tasks_alone(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    neighbour = await put_client(sql, "neighbour")
    task_id = await put_task(sql, client_id, State.RUNNING, kie_task_id="k")
    async with database.read() as connection:
        row = await rows.read_task(connection, client_id=client_id, task_id=task_id)
        assert row is not None
        assert tuple(row) == rows.ANSWERED
        assert (row["id"], row["state"], row["kie_task_id"]) == (task_id, "running", "k")
        assert (row["hold_reason"], row["estimated_start_at"]) == (None, None)
        mine = await rows.read_state(connection, client_id=client_id, task_id=task_id)
        assert mine is State.RUNNING
        for whose, which in ((neighbour, task_id), (client_id, uuid.uuid4())):
            assert await rows.read_task(connection, client_id=whose, task_id=which) is None
            assert await rows.read_state(connection, client_id=whose, task_id=which) is None


QUEUES = "UPDATE tasks SET state = 'queued' WHERE client_id = $1"
HAS_OWN = "UPDATE clients SET queued_bytes = {} WHERE id = $1"
TAKEN = """
INSERT INTO kie_slots (kind, slot, free_at, taken_at)
SELECT 'create', n, now() + interval '5 s', now() FROM clients, generate_series(1, 2) n
WHERE id = $1
"""
FIRST: dict[str, tuple[str | None, int, bool]] = {
    "nothing is queued": (None, 1000, True),
    "another of its client is": (QUEUES, 1000, False),
    "it is too large": (None, 10, False),
    "its client may have more": (HAS_OWN.format(1000), 10, True),
    "its client may have less": (HAS_OWN.format(10), 1000, False),
    "all slots are in use": (TAKEN, 1000, False),
}


@pytest.mark.parametrize("case", FIRST)
async def test_a_task_goes_first_where_there_is_room_for_sure(
    database: Database, sql: Sql, client_id: UUID, case: str
) -> None:
    change, queued_bytes, goes_first = FIRST[case]
    await put_task(sql, client_id, State.RUNNING)
    await put_task(sql, await put_client(sql, "another"), State.QUEUED)
    if change is not None:
        await sql.execute(change, client_id)
    new = new_task(client_id)
    async with database.begin() as connection:
        stored = await storing.insert_task(connection, new, creates=2, queued_bytes=queued_bytes)
    assert stored.goes_first is goes_first
