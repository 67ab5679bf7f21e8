"""Lists of a client's tasks, page by page: keyset paging, newest first.

A page goes on where the last one ended, by (created_at, id): tasks that are created meanwhile come
before the first page and move nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from operator import itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Select,
    bindparam,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.paging import Filter, Place
from app.store.sql import verbatim
from app.store.tables import Task
from app.store.tasks.rows import ANSWERED, ANSWERED_COLUMNS, DOCUMENTS

LISTED = tuple(name for name in ANSWERED if name != "input")

MAX_PAGE = 4 * 1024 * 1024
"""Bytes of the tasks' own texts in one page, where it has more than one task."""

_COLUMNS = dict(zip(ANSWERED, ANSWERED_COLUMNS, strict=True))

_NARROWING: Mapping[str, ColumnElement[bool]] = {
    "states": Task.state.in_(bindparam("states", expanding=True)),
    "model": Task.model == bindparam("model"),
    "fail_class": Task.fail_class == bindparam("fail_class"),
    "retryable": Task.retryable == bindparam("retryable"),
    "created_after": Task.created_at > bindparam("created_after"),
    "created_before": Task.created_at < bindparam("created_before"),
    "metadata": Task.metadata_.contains(bindparam("metadata", type_=JSONB)),
    "after": tuple_(Task.created_at, Task.id) < tuple_(bindparam("after"), bindparam("after_id")),
}
"""What narrows a page, by the name of what is given for it."""

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
    given = {
        name: value
        for name, value in asdict(narrowed).items()
        if value is not None and value not in ((), {})
    }
    if after is not None:
        given |= {"after": after.created_at, "after_id": after.id}
    statement = _statement(names, frozenset(given))
    bounds = {"client_id": client_id, "most": limit, "looked_at": limit + 1, "weight": max_bytes}
    found = await connection.execute(statement, {**given, **bounds})
    rows = sorted(found.mappings(), key=itemgetter("number"))
    more = bool(rows) and rows[0]["found"] > len(rows)
    return [{name: row[name] for name in names} for row in rows], more


@lru_cache(maxsize=256)
def _statement(names: Sequence[str], given: frozenset[str]) -> Select[Any]:
    """Return the statement for a page narrowed by what is given; to build it costs 2 ms."""
    order = (Task.created_at.desc(), Task.id.desc())
    page = (
        select(*map(_kept, names), func.row_number().over(order_by=order).label("number"))
        .where(Task.client_id == bindparam("client_id"))
        .order_by(*order)
        .limit(bindparam("looked_at", type_=Integer))
    )
    for name in sorted(given & _NARROWING.keys()):
        page = page.where(_NARROWING[name])
    return _cut(page.cte("page"), names)


def _kept(name: str) -> ColumnElement[Any]:
    """Take a document as it is stored: what does not fit into the page is not even unpacked."""
    return Task.__table__.c[name] if name in DOCUMENTS else _COLUMNS[name]


def _cut(page: CTE, names: Sequence[str]) -> Select[Any]:
    """Walk through the page until it is full, which unpacks no text behind that."""
    walk = select(literal(0).label("number"), literal(0).label("through")).cte(
        "walk", recursive=True
    )
    most = bindparam("weight", type_=Integer)
    weight = func.octet_length(func.concat(*(page.c[name] for name in names if name in _TEXTS)))
    fits = or_(walk.c.number <= 1, walk.c.through <= most)
    walk = walk.union_all(
        select(walk.c.number + 1, walk.c.through + weight)
        .join(page, page.c.number == walk.c.number + 1)
        .where(fits)
    )
    fits = or_(walk.c.number == 1, walk.c.through <= most)
    shown = (
        verbatim(page.c[name]).label(name) if name in DOCUMENTS else page.c[name] for name in names
    )
    found = select(func.count()).select_from(page).scalar_subquery()
    return (
        select(*shown, page.c.number, found.label("found"))
        .join(walk, page.c.number == walk.c.number)
        .where(fits, page.c.number <= bindparam("most", type_=Integer))
    )
