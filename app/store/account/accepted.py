"""Recording a create that kie.ai took, in one statement where there is nothing else to it.

Nearly every create is such a one: nobody called back before its answer came, nobody has chosen to
hear of tasks that run, no other task has the id, and the account learns nothing from it.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, and_, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.domain.move import Move
from app.store.account.admission import ClaimedTask
from app.store.account.standing import IS_UNTROUBLED, named, succeeding
from app.store.connections.prepared import Prepared
from app.store.slots import RELEASE, is_held, released
from app.store.sql import given
from app.store.tables import KieAccount, Task
from app.store.tasks.callbacks import alleged
from app.store.tasks.moves import STARTING, is_chosen, moving, parameters, told

_CHANGED = (
    Task.kie_task_id,
    Task.kie_state,
    Task.submitted_at,
    Task.updated_at,
    Task.version,
)
"""What it changes of what a client sees, beside the state."""


def _is_plain() -> ColumnElement[bool]:
    """Tell whether there is nothing else to it.

    What may change meanwhile is in the task's row, which is looked at again once it is locked: a
    callback that comes before the answer has it polled at once (see `doubts`).
    """
    other = aliased(Task, name="other")
    return and_(
        Task.attempt == given("attempt", Integer),
        Task.kie_task_id.is_(None),
        Task.poll_asap_since.is_(None),
        ~alleged(Task.id, limit=1).correlate(Task).exists(),
        ~exists(other.id).where(other.kie_task_id == given("kie_task_id")),
        ~is_chosen(Task.client_id, given("target")),
        is_held(),
        select(KieAccount.id).where(IS_UNTROUBLED).exists(),
    )


def _accept() -> Select[Any]:
    moved = moving(STARTING, _is_plain(), returns=_CHANGED)
    was_moved = select(moved.c.id).exists()  # so the task's row is locked before all others
    return select(moved.c.state, *(moved.c[column.key] for column in _CHANGED)).add_cte(
        told(moved),
        RELEASE.where(was_moved).cte("released"),
        succeeding(was_moved).cte("succeeded"),
    )


_ACCEPT = Prepared(_accept)


async def accept(
    connection: AsyncConnection,
    step: Move,
    claimed: ClaimedTask,
    kie_task_id: str,
    *,
    window: float,
    answered_ago: float,
) -> Mapping[str, Any] | None:
    """Have a claimed task run, free its slot, and note the success; returns what changed.

    None: nothing is done, since there is more to it, or an earlier try has done it. `window`: the
    seconds after the answer in which kie.ai counts it, `answered_ago` those since it came.
    """
    return await _ACCEPT.first(
        connection,
        {
            **parameters(step, attempt=claimed.attempt, kie_task_id=kie_task_id, kie_state=None),
            **released(claimed.held, window=window, answered_ago=answered_ago),
            **named(claimed.pair),
        },
    )
