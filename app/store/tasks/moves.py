"""Moves of tasks from state to state, each with its event, and its cost, in the same statement.

Each names the state that it leaves and answers whether it won; the caller holds the row's lock or
takes losing as normal. Durations are seconds from the database's clock; None: nothing is owed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Select,
    SQLColumnExpression,
    Text,
    Uuid,
    case,
    false,
    func,
    literal_column,
    null,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.failure import classify
from app.domain.move import Move
from app.domain.report import Facts, Report
from app.domain.task import FINAL, FailCode, FailSource, Source, State
from app.store.connections.prepared import Prepared
from app.store.spend.entries import BOOKED, booked
from app.store.sql import NOW, as_given, given, later
from app.store.tables import CHANGED, Client, Task
from app.store.tasks.callbacks import alleged
from app.store.tasks.events import MOVED, logged
from app.store.tasks.facts import GIVEN_FACTS, GIVEN_FAILURE, facts_given, failure_given

_IS_FINAL = given("target").in_([state.value for state in FINAL])


def _nothing(_: CTE) -> Sequence[ColumnElement[Any]]:
    return ()


def _moving(
    beside: Callable[[CTE], Sequence[ColumnElement[Any]]] = _nothing, /, **values: object
) -> Prepared:
    """Return the statement of a move; every move sets anew what the row owes and until when.

    `beside`: what is read in the same look.
    """
    return Prepared(lambda: _move(beside, values))


def _move(
    beside: Callable[[CTE], Sequence[ColumnElement[Any]]], values: Mapping[str, object]
) -> Select[Any]:
    moved = moving(values)
    return select(moved.c.id, *beside(moved)).add_cte(told(moved), booked(moved))


def moving(
    values: Mapping[str, object],
    *only: ColumnElement[bool],
    returns: Sequence[SQLColumnExpression[Any]] = BOOKED,
) -> CTE:
    """Move the task that `parameters` names, where `only` holds; returns `MOVED` and `returns`."""
    return (
        update(Task)
        .where(Task.id == given("id", Uuid), Task.state == given("left"), *only)
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
                "held_since": null(),
                "unreached_since": null(),
                "booked": case((_IS_FINAL, true())),
                **CHANGED,
                **values,
            }
        )
        .returning(*MOVED, *returns)
        .cte("moved")
    )


def told(moved: CTE) -> CTE:
    """Append the event of a move."""
    return logged(moved, left=given("left"), reason=given("reason"))


def parameters(move: Move, **values: object) -> dict[str, object]:
    """Return what a move's statement takes, and `values` under names of no column."""
    return as_given(**{name: getattr(move, name) for name in move.__slots__}, **values)


async def _carried_out(
    connection: AsyncConnection, statement: Prepared, move: Move, **values: object
) -> bool:
    return await statement.scalar(connection, parameters(move, **values)) is not None


_KIE_MESSAGE = func.coalesce(given("kie_message"), Task.kie_message)
"""kie.ai's last words stay until it says something else."""

_REQUEUE = _moving(submitted_at=null(), kie_message=_KIE_MESSAGE)


async def requeue(
    connection: AsyncConnection, move: Move, *, kie_message: str | None = None
) -> bool:
    """Put a task back that is proved not to have been created; `submit_by` stays as it was."""
    return await _carried_out(connection, _REQUEUE, move, kie_message=kie_message)


_SEND_AGAIN = _moving(submitted_at=null(), submit_by=later("given_submit_within"))


async def send_again(connection: AsyncConnection, move: Move, *, submit_within: float) -> bool:
    """Put a task back although it may have been created; it may wait as long as a new one."""
    return await _carried_out(connection, _SEND_AGAIN, move, submit_within=submit_within)


_LOSE = _moving(kie_message=_KIE_MESSAGE)


async def lose(connection: AsyncConnection, move: Move, *, kie_message: str | None = None) -> bool:
    """Record that nobody knows whether a create was taken."""
    return await _carried_out(connection, _LOSE, move, kie_message=kie_message)


def is_chosen(
    client_id: SQLColumnExpression[UUID], target: SQLColumnExpression[str]
) -> ColumnElement[bool]:
    """Tell whether the client has chosen to hear of tasks that come to this state."""
    event = literal_column("'task.'", Text) + target
    chosen = select(event == Client.webhook_events.any_()).where(Client.id == client_id)
    return func.coalesce(chosen.scalar_subquery(), false())


def _beside_start(moved: CTE) -> Sequence[ColumnElement[Any]]:
    return (
        is_chosen(moved.c.client_id, moved.c.state).label("is_chosen"),
        alleged(moved.c.id, limit=1).scalar_subquery().label("alleged"),
    )


class Started(NamedTuple):
    """What was found as a task came to run."""

    is_chosen: bool
    """Its client has chosen to hear of that, beside the usual events."""
    alleged: str | None
    """The id that a callback named for it last, and that was not believed."""


STARTING: Mapping[str, object] = {
    "kie_task_id": func.coalesce(Task.kie_task_id, given("kie_task_id")),
    "kie_state": func.coalesce(given("kie_state"), Task.kie_state),
    "submitted_at": func.coalesce(Task.submitted_at, NOW),
}
"""What a task gets when it comes to run, beside what each move sets."""

_START = _moving(_beside_start, **STARTING)


async def start(
    connection: AsyncConnection, move: Move, *, kie_task_id: str | None, kie_state: str | None
) -> Started | None:
    """Record that kie.ai has the task; None: the move was lost."""
    given = parameters(move, kie_task_id=kie_task_id, kie_state=kie_state)
    row = await _START.one_or_none(connection, given)
    return None if row is None else Started(is_chosen=row.is_chosen, alleged=row.alleged)


_CANCEL = _moving()


async def cancel(connection: AsyncConnection, move: Move) -> bool:
    """Take a task out of the queue for good."""
    return await _carried_out(connection, _CANCEL, move)


_FAIL = _moving(
    fail_code=given("fail_code"),
    fail_message=given("fail_message"),
    fail_source=FailSource.KIE,
    kie_message=_KIE_MESSAGE,
    **GIVEN_FAILURE,
)


async def fail(
    connection: AsyncConnection,
    move: Move,
    *,
    code: str,
    message: str,
    kie_message: str | None = None,
) -> bool:
    """End a task whose create was refused."""
    return await _carried_out(
        connection,
        _FAIL,
        move,
        fail_code=code,
        fail_message=message,
        kie_message=kie_message,
        **failure_given(Facts(fail_code=code, fail_message=message)),
    )


_GIVE_UP = _moving(
    fail_code=given("fail_code"),
    fail_message=given("fail_message"),
    fail_source=FailSource.GATEWAY,
    **GIVEN_FAILURE,
)


async def give_up(connection: AsyncConnection, move: Move, *, code: FailCode, message: str) -> bool:
    """End a task on the gateway's own word: kie.ai's may still settle it."""
    return await _carried_out(
        connection,
        _GIVE_UP,
        move,
        fail_code=code,
        fail_message=message,
        **asdict(classify(code, message, FailSource.GATEWAY)),
    )


_SETTLE = _moving(
    **GIVEN_FACTS,
    **GIVEN_FAILURE,
    kie_state=given("kie_state"),
    kie_message=_KIE_MESSAGE,
    fail_source=given("fail_source"),
    settled_by=given("settled_by"),
    kie_task_id=func.coalesce(Task.kie_task_id, given("kie_task_id")),
    submitted_at=func.coalesce(Task.submitted_at, NOW),
    confirmed_at=case((given("settled_by") == Source.QUERY.value, NOW)),
)


async def settle(connection: AsyncConnection, move: Move, report: Report, source: Source) -> bool:
    """Record the end that kie.ai reports; a query's answer needs no confirmation."""
    failed = move.target is State.FAILED
    return await _carried_out(
        connection,
        _SETTLE,
        move,
        **facts_given(report),
        **failure_given(report if failed else None),
        kie_state=report.kie_state,
        kie_message=report.fail_message or report.message,
        kie_task_id=report.kie_task_ids[0] if report.kie_task_ids else None,
        fail_source=FailSource.KIE if failed else None,
        settled_by=source,
    )
