"""Lists of a client's tasks, page by page: keyset paging, newest first.

A page goes on where the last one ended, by (created_at, id): tasks that are created meanwhile come
before the first page and move nothing.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Select, func, literal, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.paging import Filter, Place
from app.store.sql import verbatim
from app.store.tables import Task
from app.store.tasks.rows import ANSWERED, ANSWERED_COLUMNS, DOCUMENTS

LISTED = tuple(name for name in ANSWERED if name != "input")

MAX_PAGE = 4 * 1024 * 1024
"""Bytes of the tasks' own texts in one page, where it has more than one task."""

_COLUMNS = dict(zip(ANSWERED, ANSWERED_COLUMNS, strict=True))

_TEXTS = (*DOCUMENTS, "metadata", "webhook_url", "result_urls", "fail_message", "kie_message")
"""The columns that may be large."""


async def list_tasks(
    connection: AsyncConnection,
    client_id: UUID,
    narrowed: Filter,
    *,
    after: Place | None,
    limit: int,
    with_input: bool = False,
    max_bytes: int = MAX_PAGE,
) -> tuple[Sequence[Mapping[str, Any]], bool]:
    """Return up to `limit` tasks behind `after`, newest first; True: there are more.

    It ends before the task with whose texts the page would have more than `max_bytes`, and has at
    least one. What the page has not is not read into this process.
    """
    names = ANSWERED if with_input else LISTED
    order = (Task.created_at.desc(), Task.id.desc())
    page = (
        select(*map(_kept, names), func.row_number().over(order_by=order).label("number"))
        .where(Task.client_id == client_id)
        .order_by(*order)
        .limit(limit + 1)
    )
    if after is not None:
        page = page.where(tuple_(Task.created_at, Task.id) < tuple_(after.created_at, after.id))
    cut = _cut(_narrowed(page, narrowed).cte("page"), names, limit=limit, max_bytes=max_bytes)
    rows = sorted((await connection.execute(cut)).mappings(), key=itemgetter("number"))
    more = bool(rows) and rows[0]["found"] > len(rows)
    return [{name: row[name] for name in names} for row in rows], more


def _kept(name: str) -> ColumnElement[Any]:
    """Take a document as it is stored: what does not fit into the page is not even unpacked."""
    return Task.__table__.c[name] if name in DOCUMENTS else _COLUMNS[name]


def _cut(page: CTE, names: Sequence[str], *, limit: int, max_bytes: int) -> Select[Any]:
    """Walk through the page until it is full, which unpacks no text behind that."""
    walk = select(literal(0).label("number"), literal(0).label("through")).cte(
        "walk", recursive=True
    )
    weight = func.octet_length(func.concat(*(page.c[name] for name in names if name in _TEXTS)))
    fits = or_(walk.c.number <= 1, walk.c.through <= max_bytes)
    walk = walk.union_all(
        select(walk.c.number + 1, walk.c.through + weight)
        .join(page, page.c.number == walk.c.number + 1)
        .where(fits)
    )
    fits = or_(walk.c.number == 1, walk.c.through <= max_bytes)
    shown = (
        verbatim(page.c[name]).label(name) if name in DOCUMENTS else page.c[name] for name in names
    )
    found = select(func.count()).select_from(page).scalar_subquery()
    return (
        select(*shown, page.c.number, found.label("found"))
        .join(walk, page.c.number == walk.c.number)
        .where(fits, page.c.number <= limit)
    )


def _narrowed(statement: Select[Any], by: Filter) -> Select[Any]:
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
