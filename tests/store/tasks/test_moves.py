"""Moves: each wins once, writes one event, and sets anew what the row owes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from app.domain.exact_json import parse
from app.domain.move import Move
from app.domain.report import Progress, Report
from app.domain.task import FailCode, FailSource, Source, State
from app.store.connections.engine import Connection, Database
from app.store.tasks import moves
from tests.store.stage import Sql, around, events, put_task, task

Carry = Callable[[Connection, Move], Awaitable[object]]

SUCCESS = Report(
    progress=Progress.SUCCEEDED,
    kie_task_ids=("k",),
    code=200,
    message="done",
    kie_state="success",
    result=parse(b'{"z":123456789012345678901234567890,"a":0.10,"resultUrls":["https://a/1"]}'),
    result_urls=("https://a/1", "https://a/2"),
    credits_consumed=Decimal("123456789012345678901234567890.1230"),
    duration_seconds=Decimal("8.50"),
    kie_created_at=datetime(2026, 1, 1, tzinfo=UTC),
    kie_completed_at=datetime(2026, 1, 1, 0, 0, 8, 500_000, tzinfo=UTC),
)
FAILURE = Report(
    progress=Progress.FAILED,
    kie_task_ids=("k",),
    kie_state="fail",
    fail_code="500",
    fail_message="Internal server error",
    credits_consumed=Decimal(0),
)


def start(connection: Connection, move: Move) -> Awaitable[object]:
    return moves.start(connection, move, kie_task_id="k", kie_state="generating")


def fail(connection: Connection, move: Move) -> Awaitable[object]:
    return moves.fail(connection, move, code="422", message="no", kie_message="no")


def give_up(connection: Connection, move: Move) -> Awaitable[object]:
    return moves.give_up(connection, move, code=FailCode.BY_OPERATOR, message="called off")


def send_again(connection: Connection, move: Move) -> Awaitable[object]:
    return moves.send_again(connection, move, submit_within=600)


def succeed(connection: Connection, move: Move) -> Awaitable[object]:
    return moves.settle(connection, move, SUCCESS, Source.CALLBACK)


def settle_failed(connection: Connection, move: Move) -> Awaitable[object]:
    return moves.settle(connection, move, FAILURE, Source.QUERY)


@dataclass(frozen=True)
class Case:
    """A move, and the columns that it leaves behind; instants in seconds from now."""

    carry: Carry
    left: State
    target: State
    leaves: dict[str, Any] = field(default_factory=dict)
    due_in: float | None = None
    expires_in: float | None = None
    tries: int = 0

    def move(self, task_id: UUID) -> Move:
        return Move(
            id=task_id,
            left=self.left,
            target=self.target,
            due_in=self.due_in,
            expires_in=self.expires_in,
            tries=self.tries,
            reason="so it was",
        )


CASES = {
    "requeue": Case(
        moves.requeue,
        State.SUBMITTING,
        State.QUEUED,
        {"submitted_at": None, "finished_at": None},
        due_in=8,
        tries=4,
    ),
    "send again": Case(
        send_again,
        State.UNCONFIRMED,
        State.QUEUED,
        {"submitted_at": None, "finished_at": None, "submit_by": 600},
        due_in=0,
    ),
    "lose": Case(
        moves.lose,
        State.SUBMITTING,
        State.UNCONFIRMED,
        {"submitted_at": -60, "finished_at": None},
        due_in=0,
        expires_in=3600,
    ),
    "cancel": Case(
        moves.cancel,
        State.QUEUED,
        State.CANCELED,
        {"submitted_at": -60, "finished_at": 0, "fail_source": None},
    ),
    "start": Case(
        start,
        State.SUBMITTING,
        State.RUNNING,
        {"submitted_at": -60, "finished_at": None, "kie_task_id": "k", "kie_state": "generating"},
        due_in=60,
        expires_in=3600,
    ),
    "fail": Case(
        fail,
        State.SUBMITTING,
        State.FAILED,
        {
            "finished_at": 0,
            "fail_code": "422",
            "fail_message": "no",
            "fail_source": "kie",
            "fail_class": "input",
            "retryable": False,
            "kie_message": "no",
            "settled_by": None,
        },
    ),
    "give up": Case(
        give_up,
        State.UNCONFIRMED,
        State.FAILED,
        {
            "finished_at": 0,
            "fail_code": "failed_by_operator",
            "fail_message": "called off",
            "fail_source": "gateway",
            "fail_class": "gateway",
            "retryable": None,
            "settled_by": None,
        },
        due_in=7200,
    ),
    "succeed": Case(
        succeed,
        State.RUNNING,
        State.SUCCEEDED,
        {
            "finished_at": 0,
            "settled_by": "callback",
            "confirmed_at": None,
            "fail_source": None,
            "kie_task_id": "k",
            "kie_state": "success",
            "result_urls": ["https://a/1", "https://a/2"],
        },
        due_in=2,
    ),
    "settle as failed": Case(
        settle_failed,
        State.RUNNING,
        State.FAILED,
        {
            "finished_at": 0,
            "settled_by": "query",
            "confirmed_at": 0,
            "fail_source": "kie",
            "fail_code": "500",
            "fail_message": "Internal server error",
            "credits_consumed": 0,
            "result": None,
        },
    ),
}
EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
OCCUPIED = {
    "due_at": -5.0,
    "leased_until": 20.0,
    "expires_at": 900.0,
    "submitted_at": -60.0,
    "poll_asap_since": -3.0,
    "parked_at": -2.0,
}


async def carried(database: Database, carry: Carry, move: Move) -> bool:
    async with database.begin() as connection:
        return bool(await carry(connection, move))


@EVERY
async def test_what_a_move_leaves_behind(
    database: Database, sql: Sql, client_id: UUID, case: Case
) -> None:
    task_id = await put_task(
        sql,
        client_id,
        case.left,
        at=OCCUPIED,
        attempt=3,
        tries=9,
        poll_errors=3,
    )
    assert await carried(database, case.carry, case.move(task_id))
    row = await task(sql, task_id)
    owed = {
        "state": case.target.value,
        "attempt": 3,
        "tries": case.tries,
        "poll_asap_since": None,
        "poll_errors": 0,
        "parked_at": None,
        "leased_until": None,
        "due_at": around(case.due_in),
        "expires_at": around(case.expires_in),
        "updated_at": around(0),
        "submit_by": around(3600),
    }
    numbers = (int, float)
    left = {
        name: around(value) if isinstance(value, numbers) else value
        for name, value in case.leaves.items()
    }
    assert {name: row[name] for name in owed | left} == owed | left
    assert await events(sql, task_id) == [(case.left.value, case.target.value, 3, "so it was")]


@EVERY
async def test_a_move_is_won_once(
    database: Database, sql: Sql, client_id: UUID, case: Case
) -> None:
    task_id = await put_task(sql, client_id, case.left, attempt=1)
    move = case.move(task_id)
    won = await asyncio.gather(*(carried(database, case.carry, move) for _ in range(10)))
    assert sum(won) == 1
    assert len(await events(sql, task_id)) == 1


@EVERY
async def test_a_move_is_lost_where_the_task_is_in_another_state(
    database: Database, sql: Sql, client_id: UUID, case: Case
) -> None:
    for state in set(State) - {case.left}:
        task_id = await put_task(sql, client_id, state)
        before = await sql.fetchrow("SELECT * FROM tasks WHERE id = $1", task_id)
        assert not await carried(database, case.carry, case.move(task_id))
        assert await sql.fetchrow("SELECT * FROM tasks WHERE id = $1", task_id) == before
    assert await sql.fetchval("SELECT count(*) FROM task_events") == 0


@EVERY
async def test_a_move_touches_its_own_task_alone(
    database: Database, sql: Sql, client_id: UUID, case: Case
) -> None:
    task_id, bystander = [await put_task(sql, client_id, case.left) for _ in range(2)]
    assert await carried(database, case.carry, case.move(task_id))
    assert (await task(sql, bystander))["state"] == case.left
    assert await events(sql, bystander) == []


async def settled(
    database: Database,
    sql: Sql,
    task_id: UUID,
    report: Report,
    source: Source,
) -> dict[str, Any]:
    left = State((await task(sql, task_id))["state"])
    target = State.FAILED if report.progress is Progress.FAILED else State.SUCCEEDED
    async with database.begin() as connection:
        move = Move(id=task_id, left=left, target=target)
        assert await moves.settle(connection, move, report, source)
    return await task(sql, task_id)


async def test_a_settled_task_keeps_the_report_exactly(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    task_id = await put_task(sql, client_id, State.RUNNING, kie_task_id="k")
    row = await settled(database, sql, task_id, SUCCESS, Source.CALLBACK)
    assert row["result"] == (
        '{"z":123456789012345678901234567890,"a":0.10,"resultUrls":["https://a/1"]}'
    )
    assert row["result_urls"] == list(SUCCESS.result_urls)
    assert str(row["credits_consumed"]) == "123456789012345678901234567890.1230"
    assert str(row["duration_seconds"]) == "8.50"
    assert (row["kie_state"], row["fail_code"], row["fail_message"]) == ("success", None, None)
    instants = await sql.fetchrow("SELECT kie_created_at, kie_completed_at FROM tasks")
    assert instants is not None
    assert tuple(instants) == (SUCCESS.kie_created_at, SUCCESS.kie_completed_at)


@pytest.mark.parametrize(("source", "confirmed"), [(Source.CALLBACK, None), (Source.QUERY, 0.0)])
async def test_only_a_query_confirms(
    database: Database, sql: Sql, client_id: UUID, source: Source, confirmed: float | None
) -> None:
    task_id = await put_task(sql, client_id, State.RUNNING)
    row = await settled(database, sql, task_id, SUCCESS, source)
    assert (row["settled_by"], row["confirmed_at"]) == (source.value, around(confirmed))


@pytest.mark.parametrize(("bound", "kept"), [(None, "k"), ("first", "first")])
async def test_an_id_is_bound_once(
    database: Database, sql: Sql, client_id: UUID, bound: str | None, kept: str
) -> None:
    settles = await put_task(sql, client_id, State.RUNNING, kie_task_id=bound)
    starts = await put_task(sql, client_id, State.UNCONFIRMED, kie_task_id=bound)
    await settled(database, sql, settles, SUCCESS, Source.QUERY)
    async with database.begin() as connection:
        move = Move(id=starts, left=State.UNCONFIRMED, target=State.RUNNING)
        assert await start(connection, move)
    for task_id in (settles, starts):
        assert (await task(sql, task_id))["kie_task_id"] == kept


async def test_a_report_without_an_id_leaves_the_one_that_is_bound(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    task_id = await put_task(sql, client_id, State.RUNNING, kie_task_id="k")
    nameless = replace(SUCCESS, kie_task_ids=())
    assert (await settled(database, sql, task_id, nameless, Source.QUERY))["kie_task_id"] == "k"


@pytest.mark.parametrize(("known", "heard", "kept"), [("a", None, "a"), ("a", "b", "b")])
async def test_starting_keeps_what_kie_last_said_of_its_state(
    database: Database, sql: Sql, client_id: UUID, known: str, heard: str | None, kept: str
) -> None:
    task_id = await put_task(sql, client_id, State.SUBMITTING, kie_state=known)
    move = Move(id=task_id, left=State.SUBMITTING, target=State.RUNNING)
    async with database.begin() as connection:
        await moves.start(connection, move, kie_task_id=None, kie_state=heard)
    row = await task(sql, task_id)
    assert (row["kie_state"], row["kie_task_id"]) == (kept, None)


@pytest.mark.parametrize(
    ("state", "target"), [(State.QUEUED, State.RUNNING), (State.CANCELED, State.SUCCEEDED)]
)
async def test_evidence_that_it_ran_says_that_it_was_submitted(
    database: Database, sql: Sql, client_id: UUID, state: State, target: State
) -> None:
    task_id = await put_task(sql, client_id, state)
    carry = start if target is State.RUNNING else succeed
    assert await carried(database, carry, Move(id=task_id, left=state, target=target))
    assert (await task(sql, task_id))["submitted_at"] == around(0)


async def test_late_evidence_replaces_the_gateways_own_end(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    task_id = await put_task(
        sql,
        client_id,
        State.EXPIRED,
        at={"finished_at": -600},
        fail_code="no_answer",
        fail_message="kie.ai reported no end in time",
        fail_source=FailSource.GATEWAY.value,
    )
    row = await settled(database, sql, task_id, SUCCESS, Source.CALLBACK)
    assert (row["state"], row["finished_at"]) == ("succeeded", around(0))
    assert [row[name] for name in ("fail_code", "fail_message", "fail_source")] == [None] * 3


async def test_a_failure_of_ours_yields_to_kies(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    task_id = await put_task(
        sql,
        client_id,
        State.FAILED,
        fail_code="submit_deadline",
        fail_source=FailSource.GATEWAY.value,
    )
    row = await settled(database, sql, task_id, FAILURE, Source.CALLBACK)
    assert (row["state"], row["fail_code"], row["fail_source"]) == ("failed", "500", "kie")
    assert await events(sql, task_id) == [("failed", "failed", 0, None)]
