"""Callbacks: stored once, exact, and read newest first."""

import asyncio
import hashlib
import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import uuid_utils.compat

from app.domain.evidence import Signature, Verdict
from app.domain.exact_json import parse
from app.domain.keeping import raw
from app.domain.report import Progress, Report, Unreadable
from app.domain.statement import Statement
from app.domain.task import Source
from app.store.connections.engine import Database
from app.store.tasks import callbacks
from tests.store.stage import Sql, new_callback

REPORT = Report(
    progress=Progress.FAILED,
    kie_task_ids=("k", "other"),
    code=9_000_000_000,
    message="Playground task failed.",
    kie_state="fail",
    result=parse(b'{"b":123456789012345678901234567890,"a":0.10}'),
    result_urls=("https://a/1",),
    fail_code="500",
    fail_message="no",
    credits_consumed=Decimal("0.30"),
    duration_seconds=Decimal("1234567890.123456789"),
    callback_url="https://gateway.test/callbacks/kie/1/secret",
)


async def store(database: Database, new: Statement) -> bool:
    async with database.begin() as connection:
        kept = raw(new.body, ())
        return await callbacks.insert_callback(connection, new, Verdict.APPLIED, kept)


async def read(database: Database, task_id: uuid.UUID, limit: int = 50) -> list[dict[str, Any]]:
    async with database.read() as connection:
        rows = await callbacks.read_callbacks(connection, task_id, limit=limit, weight=10**9)
    return [dict(row) for row in rows]


async def test_a_report_is_kept_exactly(database: Database) -> None:
    how = {"source": Source.QUERY, "signature": Signature.UNCHECKED}
    new = new_callback(uuid.uuid4(), content=REPORT, **how)
    assert await store(database, new)
    (row,) = await read(database, new.task_id)
    assert tuple(row) == callbacks.ANSWERED
    assert row.pop("received_at") is not None
    assert {name: repr(value) for name, value in row.items()} == {
        name: repr(value)
        for name, value in {
            "id": new.id,
            "task_id": new.task_id,
            "source": "query",
            "times_seen": 1,
            "last_seen_at": None,
            "raw_deleted_at": None,
            "more": 0,
            "verdict": "applied",
            "signature": "unchecked",
            "reason": None,
            "kie_task_id": "k",
            "code": 9_000_000_000,
            "message": "Playground task failed.",
            "kie_state": "fail",
            "result": REPORT.result,
            "result_urls": ["https://a/1"],
            "fail_code": "500",
            "fail_message": "no",
            "credits_consumed": Decimal("0.30"),
            "duration_seconds": Decimal("1234567890.123456789"),
            "headers": {"content-type": "application/json"},
            "sha256": hashlib.sha256(b'{"code":200}').hexdigest(),
            "size": 12,
            "whole": True,
            "body": b'{"code":200}',
        }.items()
    }


@pytest.mark.parametrize("body", [b"", b"\x00\xff\xfe not text", b"{" * 100_000])
async def test_what_does_not_parse_is_kept_byte_for_byte(
    database: Database, sql: Sql, body: bytes
) -> None:
    new = new_callback(uuid.uuid4(), body=body, content=Unreadable(reason="not JSON"))
    assert await store(database, new)
    (row,) = await read(database, new.task_id)
    assert (row["body"], row["reason"]) == (body[: callbacks.BODY_READ], "not JSON")
    assert await sql.fetchval("SELECT body FROM callbacks") == body
    unsaid = ("code", "message", "kie_task_id", "kie_state", "result", "fail_code")
    assert [row[name] for name in unsaid] == [None] * len(unsaid)
    assert row["result_urls"] == []


async def test_storing_it_again_changes_nothing(database: Database, sql: Sql) -> None:
    new = new_callback(uuid.uuid4())
    stored = await asyncio.gather(*(store(database, new) for _ in range(10)))
    assert sum(stored) == 1
    assert not await store(database, replace(new, content=REPORT))
    assert await sql.fetchval("SELECT count(*) FROM callbacks") == 1
    (row,) = await read(database, new.task_id)
    assert (row["code"], row["reason"]) == (None, None)


async def test_the_newest_come_first_and_only_the_task_s_own(database: Database) -> None:
    task_id, other = uuid.uuid4(), uuid.uuid4()
    ids = [uuid_utils.compat.uuid7() for _ in range(5)]
    for found in [*ids[::2], *ids[1::2]]:
        await store(database, new_callback(task_id, id=found))
    await store(database, new_callback(other))
    assert [row["id"] for row in await read(database, task_id)] == ids[::-1]
    assert [row["id"] for row in await read(database, task_id, limit=2)] == ids[:2:-1]
    assert await read(database, uuid.uuid4()) == []
