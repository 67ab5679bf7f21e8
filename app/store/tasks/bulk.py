"""Tasks that an operator means by what they have in common: counting, choosing, locking them."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Executable,
    Float,
    RowMapping,
    Uuid,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.bulk import Act, Order
from app.domain.task import State
from app.store.sql import NOW, interval, state_literal
from app.store.tables import Client, Task


def _narrowed(order: Order) -> list[ColumnElement[bool]]:
    """Say which tasks are meant, and may be touched.

    Nobody was told of a queued task that is not released yet: its creator, or the sweep, ends it.
    One that has an id at kie.ai was created, so it is never sent again.
    """
    chosen = order.selection
    found: list[ColumnElement[bool]] = [
        or_(*(Task.state == state_literal(state) for state in order.states)),
        or_(Task.state != state_literal(State.QUEUED), Task.due_at.is_not(None)),
    ]
    if order.act is Act.REQUEUE:
        found.append(Task.kie_task_id.is_(None))
    if chosen.ids:
        found.append(_among(chosen.ids))
    if chosen.client is not None:
        found.append(
            Task.client_id
            == select(Client.id).where(Client.name == chosen.client).scalar_subquery()
        )
    if chosen.model is not None:
        found.append(Task.model == chosen.model)
    if chosen.older_than is not None:
        found.append(Task.created_at < NOW - interval(literal(chosen.older_than, Float)))
    return found


def _among(ids: Collection[UUID]) -> ColumnElement[bool]:
    return Task.id == literal(list(ids), ARRAY(Uuid)).any_()


async def count(connection: AsyncConnection, order: Order) -> Sequence[RowMapping]:
    """Return how many are meant, by `client`, `state` and `model`, the most first: `tasks`."""
    tasks = func.count().label("tasks")
    named = (Client.name.label("client"), Task.state, Task.model)
    statement: Executable = (
        select(*named, tasks)
        .join(Client, Client.id == Task.client_id)
        .where(*_narrowed(order))
        .group_by(*named)
        .order_by(tasks.desc(), *named)
    )
    return (await connection.execute(statement)).mappings().all()


async def choose(connection: AsyncConnection, order: Order, *, limit: int) -> Sequence[UUID]:
    """Return the ids of those that are meant now, the oldest first."""
    statement = select(Task.id).where(*_narrowed(order)).order_by(Task.id).limit(limit)
    return (await connection.scalars(statement)).all()


async def lock(
    connection: AsyncConnection, order: Order, ids: Collection[UUID]
) -> Sequence[RowMapping]:
    """Lock those of the tasks that are still meant, and that nobody else is moving just now.

    Returns `id`, `state` and `attempt` of each.
    """
    statement = (
        select(Task.id, Task.state, Task.attempt)
        .where(*_narrowed(order), _among(ids))
        .order_by(Task.id)
        .with_for_update(skip_locked=True, of=Task)
    )
    return (await connection.execute(statement)).mappings().all()
