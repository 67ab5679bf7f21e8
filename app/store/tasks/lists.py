"""Lists of a client's tasks, page by page: keyset paging, newest first.

A page goes on where the last one ended, by (created_at, id): tasks that are created meanwhile come
before the first page and move nothing.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import RowMapping, Select, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.paging import Filter, Place
from app.store.tables import Task
from app.store.tasks.rows import ANSWERED_COLUMNS


async def list_tasks(
    connection: AsyncConnection,
    client_id: UUID,
    narrowed: Filter,
    *,
    after: Place | None,
    limit: int,
) -> Sequence[RowMapping]:
    """Return up to `limit` tasks behind `after`, newest first."""
    statement = (
        select(*ANSWERED_COLUMNS)
        .where(Task.client_id == client_id)
        .order_by(Task.created_at.desc(), Task.id.desc())
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(
            tuple_(Task.created_at, Task.id) < tuple_(after.created_at, after.id)
        )
    rows = await connection.execute(_narrowed(statement, narrowed))
    return rows.mappings().all()


def _narrowed(statement: Select[tuple[object, ...]], by: Filter) -> Select[tuple[object, ...]]:
    if by.states:
        statement = statement.where(Task.state.in_(by.states))
    if by.model is not None:
        statement = statement.where(Task.model == by.model)
    if by.fail_class is not None:
        statement = statement.where(Task.fail_class == by.fail_class)
    if by.created_after is not None:
        statement = statement.where(Task.created_at > by.created_after)
    if by.created_before is not None:
        statement = statement.where(Task.created_at < by.created_before)
    if by.metadata:
        statement = statement.where(Task.metadata_.contains(dict(by.metadata)))
    return statement
