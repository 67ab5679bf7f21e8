"""Moves of tasks from state to state, each with its event in the same statement.

Each names the state that it leaves and answers whether it won; the caller holds the row's lock or
takes losing as normal. Durations are seconds from the database's clock; None: nothing is owed.
"""

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Executable,
    Integer,
    Numeric,
    Select,
    Text,
    Uuid,
    case,
    func,
    null,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.report import Report
from app.domain.task import FINAL, FailSource, Source, State
from app.store.sql import NOW, given, later
from app.store.tables import Task
from app.store.tasks.events import MOVED, logged


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move, and what the row owes after it."""

    id: UUID
    left: State
    target: State
    due_in: float | None = None
    expires_in: float | None = None
    tries: int = 0
    reason: str | None = None
    """A sentence for the task's history."""


_IS_FINAL = given("target").in_([state.value for state in FINAL])


def _moving(**values: ColumnElement[Any]) -> Select[tuple[UUID]]:
    """Build the statement of a move; every move sets anew what the row owes and until when."""
    moved = (
        update(Task)
        .where(Task.id == given("id", Uuid), Task.state == given("left"))
        .values(
            {
                "state": given("target"),
                "due_at": later("given_due_in"),
                "expires_at": later("given_expires_in"),
                "leased_until": null(),
                "tries": given("tries", Integer),
                "poll_asap_since": null(),
                "poll_errors": 0,
                "parked_at": null(),
                "finished_at": case((_IS_FINAL, NOW), else_=null()),
                "updated_at": NOW,
                **values,
            }
        )
        .returning(*MOVED)
        .cte("moved")
    )
    events = logged(moved, left=given("left"), reason=given("reason"))
    return select(moved.c.id).add_cte(events)


async def _carried_out(
    connection: AsyncConnection, statement: Executable, move: Move, **values: object
) -> bool:
    parameters = {f"given_{name}": value for name, value in (asdict(move) | values).items()}
    return await connection.scalar(statement, parameters) is not None


_REQUEUE = _moving(submitted_at=null())


async def requeue(connection: AsyncConnection, move: Move) -> bool:
    """Put a task back that is proved not to have been created; `submit_by` stays as it was."""
    return await _carried_out(connection, _REQUEUE, move)


_SEND_AGAIN = _moving(submitted_at=null(), submit_by=later("given_submit_within"))


async def send_again(connection: AsyncConnection, move: Move, *, submit_within: float) -> bool:
    """Put a task back although it may have been created; it may wait as long as a new one."""
    return await _carried_out(connection, _SEND_AGAIN, move, submit_within=submit_within)


_LOSE = _moving()


async def lose(connection: AsyncConnection, move: Move) -> bool:
    """Record that a create's answer is lost."""
    return await _carried_out(connection, _LOSE, move)


_START = _moving(
    kie_task_id=func.coalesce(Task.kie_task_id, given("kie_task_id")),
    kie_state=func.coalesce(given("kie_state"), Task.kie_state),
    submitted_at=func.coalesce(Task.submitted_at, NOW),
)


async def start(
    connection: AsyncConnection, move: Move, *, kie_task_id: str | None, kie_state: str | None
) -> bool:
    """Record that kie.ai has the task."""
    return await _carried_out(
        connection, _START, move, kie_task_id=kie_task_id, kie_state=kie_state
    )


_CANCEL = _moving()


async def cancel(connection: AsyncConnection, move: Move) -> bool:
    """Take a task out of the queue for good."""
    return await _carried_out(connection, _CANCEL, move)


_FAIL = _moving(
    fail_code=given("fail_code"),
    fail_message=given("fail_message"),
    fail_source=given("fail_source"),
)


async def fail(
    connection: AsyncConnection, move: Move, *, code: str, message: str, source: FailSource
) -> bool:
    """End a task without a report: kie.ai refused its create, or the gateway gave up."""
    return await _carried_out(
        connection, _FAIL, move, fail_code=code, fail_message=message, fail_source=source
    )


_REPORTED: dict[str, Any] = {
    "kie_state": Text,
    "result": Task.__table__.c.result.type,
    "result_urls": Task.__table__.c.result_urls.type,
    "fail_code": Text,
    "fail_message": Text,
    "credits_consumed": Numeric,
    "duration_seconds": Numeric,
    "kie_created_at": Task.__table__.c.kie_created_at.type,
    "kie_completed_at": Task.__table__.c.kie_completed_at.type,
}
"""What a settled task keeps of the report, under the report's own names."""

_SETTLE = _moving(
    **{name: given(name, kind) for name, kind in _REPORTED.items()},
    fail_source=given("fail_source"),
    settled_by=given("settled_by"),
    kie_task_id=func.coalesce(Task.kie_task_id, given("kie_task_id")),
    submitted_at=func.coalesce(Task.submitted_at, NOW),
    confirmed_at=case((given("settled_by") == Source.QUERY.value, NOW)),
)


async def settle(connection: AsyncConnection, move: Move, report: Report, source: Source) -> bool:
    """Record the end that kie.ai reports; a query's answer needs no confirmation."""
    values = {name: getattr(report, name) for name in _REPORTED}
    values["result_urls"] = list(report.result_urls)
    return await _carried_out(
        connection,
        _SETTLE,
        move,
        **values,
        kie_task_id=report.kie_task_ids[0] if report.kie_task_ids else None,
        fail_source=FailSource.KIE if move.target is State.FAILED else None,
        settled_by=source,
    )
