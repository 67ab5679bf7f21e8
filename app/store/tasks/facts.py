"""What kie.ai gave about a task's end: reading what is kept, and adding what comes later."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, Uuid, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.amendment import NAMES, Amendment
from app.domain.failure import classify
from app.domain.report import Facts
from app.domain.task import Change, FailSource, State
from app.store.spend.entries import BOOKED, booked
from app.store.sql import as_given, given
from app.store.tables import CHANGED, Task
from app.store.tasks.events import MOVED, logged

GIVEN_FACTS: Mapping[str, ColumnElement[Any]] = {
    name: given(name, Task.__table__.c[name].type) for name in NAMES
}
"""New values of a task's facts, to be bound under the facts' names."""

GIVEN_FAILURE: Mapping[str, ColumnElement[Any]] = {
    "fail_class": given("fail_class"),
    "retryable": given("retryable", Boolean),
}


def facts_given(facts: Facts) -> dict[str, Any]:
    """Return the facts by name, to be bound."""
    values = {name: getattr(facts, name) for name in NAMES}
    return values | {"result_urls": list(facts.result_urls)}


def failure_given(facts: Facts | None) -> dict[str, Any]:
    """Return what kind of failure kie.ai told of; None: it is none."""
    if facts is None:
        return dict.fromkeys(GIVEN_FAILURE)
    return asdict(classify(facts.fail_code, facts.fail_message, FailSource.KIE))


_READ = select(*(Task.__table__.c[name] for name in NAMES)).where(Task.id == bindparam("id"))


async def read_facts(connection: AsyncConnection, task_id: UUID) -> Facts:
    """Return what is kept of the end of a task that exists."""
    row = (await connection.execute(_READ, {"id": task_id})).mappings().one()
    return Facts(**row)


_AMENDED = (
    update(Task)
    .where(Task.id == given("id", Uuid))
    .values(
        {
            **GIVEN_FACTS,
            **GIVEN_FAILURE,
            "booked": True,
            "kie_message": func.coalesce(given("fail_message"), Task.kie_message),
            **CHANGED,
        }
    )
    .returning(*MOVED, *BOOKED)
    .cte("moved")
)
_AMEND = select(_AMENDED.c.id).add_cte(
    logged(_AMENDED, left=_AMENDED.c.state, reason=given("reason"), kind=given("kind")),
    booked(_AMENDED),
)


async def amend(
    connection: AsyncConnection, task_id: UUID, state: State, amendment: Amendment
) -> None:
    """Keep what an end in `state` had lacked, or what was otherwise, with an event of it."""
    facts = amendment.facts
    values = as_given(
        id=task_id,
        kind=amendment.kind,
        reason=amendment.reason,
        **facts_given(facts),
        **failure_given(facts if state is State.FAILED else None),
    )
    await connection.execute(_AMEND, values)


_TOUCH = update(Task).where(Task.id == given("id", Uuid)).values(CHANGED)


async def touch(connection: AsyncConnection, task_id: UUID) -> None:
    """Note a change that its client can see, and that the history does not tell of."""
    await connection.execute(_TOUCH, as_given(id=task_id))


_NOTED = _TOUCH.returning(*MOVED).cte("moved")
_NOTE = select(_NOTED.c.id).add_cte(
    logged(_NOTED, left=_NOTED.c.state, reason=given("reason"), kind=given("kind"))
)


async def note(connection: AsyncConnection, task_id: UUID, kind: Change, reason: str) -> None:
    """Note a change that leaves the state as it is, with an event of it."""
    await connection.execute(_NOTE, as_given(id=task_id, kind=kind, reason=reason))
