"""Tasks of all clients, page by page, newest first: each client's by its own index, then merged.

There is no index over all clients, and none is needed: from each, and from each of its states that
are asked for, a page is read by the index of its lists. Where a model is asked for, which no index
has, a bounded number is looked at: a page may be short, and still say where the next one begins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    TIMESTAMP,
    Integer,
    RowMapping,
    Text,
    TextClause,
    Uuid,
    bindparam,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.paging import Filter, Place
from app.store.tables import Client, Task

LOOKED_AT = 10_000
"""Tasks that one page looks at where no index has what is asked for."""

SHOWN = (
    *("state", "model", "priority", "kie_task_id", "kie_state", "attempt"),
    *("fail_code", "fail_message", "fail_source", "fail_class", "retryable"),
    *("credits_consumed", "duration_seconds", "settled_by"),
    *("created_at", "submitted_at", "finished_at", "updated_at", "version"),
)
"""What operators see beside the id and the client: nothing that a client wrote but the model."""

_NARROWING: Mapping[str, str] = {
    "states": "state = p.state",
    "created_after": "created_at > :created_after",
    "created_before": "created_at < :created_before",
    "after": "(created_at, id) < (:after, :after_id)",
}
_TYPES: Mapping[str, Any] = {
    "client_id": Uuid,
    "states": ARRAY(Text),
    "model": Text,
    "created_after": TIMESTAMP(timezone=True),
    "created_before": TIMESTAMP(timezone=True),
    "after": TIMESTAMP(timezone=True),
    "after_id": Uuid,
    "looked": Integer,
    "most": Integer,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some tasks, and the place behind which the next ones are; None: there are no more."""

    rows: Sequence[Mapping[str, Any]]
    next: Place | None


async def list_tasks(
    connection: AsyncConnection,
    narrowed: Filter,
    *,
    client_id: UUID | None,
    after: Place | None,
    limit: int,
) -> Page:
    """Return up to `limit` tasks behind `after`, each with its `client`; of one client if given.

    `metadata`, `fail_class` and `retryable` narrow nothing here.
    """
    given = {
        "client_id": client_id,
        "states": [state.value for state in narrowed.states] or None,
        "model": narrowed.model,
        "created_after": narrowed.created_after,
        "created_before": narrowed.created_before,
        "after": after and after.created_at,
        "after_id": after and after.id,
    }
    given = {name: value for name, value in given.items() if value is not None}
    looked = limit + 1
    if narrowed.model is not None:
        clients = 1 if client_id else await connection.scalar(_CLIENTS) or 1
        looked = max(looked, LOOKED_AT // (clients * max(1, len(narrowed.states))))
    parameters = {**given, "looked": looked, "most": limit + 1}
    found = await connection.execute(_statement(frozenset(given)), parameters)
    return _page(found.mappings().all(), limit)


def _page(found: Sequence[RowMapping], limit: int) -> Page:
    """Cut what was found to a page; each row says as well how far was looked."""
    rows = [dict(row) for row in found if row["id"] is not None]
    horizon = found[0]["horizon_at"] if found else None
    place = None
    if len(rows) > limit:
        last = rows[limit - 1]
        place = Place(created_at=last["created_at"], id=last["id"])
    elif horizon is not None:
        place = Place(created_at=horizon, id=found[0]["horizon_id"])
    for row in rows:
        del row["horizon_at"], row["horizon_id"]
    return Page(rows=rows[:limit], next=place)


_CLIENTS = select(func.count()).select_from(Client)


@lru_cache(maxsize=128)
def _statement(given: frozenset[str]) -> TextClause:
    """Return the statement for a page narrowed by what is given."""
    states = "CROSS JOIN unnest(:states) AS s (state)" if "states" in given else ""
    own = "WHERE c.id = :client_id" if "client_id" in given else ""
    narrowed = " AND ".join(
        ("client_id = p.id", *(sql for name, sql in _NARROWING.items() if name in given))
    )
    by_model = "model" in given
    named = given | {"looked", "most"}
    parameters = [bindparam(name, type_=_TYPES[name]) for name in sorted(named)]
    return text(
        f"""
WITH pairs AS (
    SELECT c.id, c.name{", s.state" if states else ""} FROM clients c {states} {own}
), looked AS (
    SELECT p.name, t.* FROM pairs p CROSS JOIN LATERAL (
        SELECT id, created_at{", model" if by_model else ""},
               row_number() OVER (ORDER BY created_at DESC, id DESC) AS number
        FROM tasks WHERE {narrowed}
        ORDER BY created_at DESC, id DESC LIMIT :looked
    ) t
), horizon AS (  -- behind it some client has tasks that were not looked at
    SELECT created_at, id FROM looked WHERE number = :looked
    ORDER BY created_at DESC, id DESC LIMIT 1
), found AS (
    SELECT l.name, l.id, l.created_at FROM looked l LEFT JOIN horizon h ON true
    WHERE (h.id IS NULL OR (l.created_at, l.id) >= (h.created_at, h.id))
          {"AND l.model = :model" if by_model else ""}
    ORDER BY l.created_at DESC, l.id DESC LIMIT :most
)
SELECT t.id, f.name AS client, {", ".join(f"t.{name}" for name in SHOWN)},
       h.created_at AS horizon_at, h.id AS horizon_id
FROM (SELECT) one LEFT JOIN horizon h ON true LEFT JOIN found f ON true
LEFT JOIN tasks t ON t.id = f.id
ORDER BY f.created_at DESC, f.id DESC
"""  # noqa: S608  # our own words
    ).bindparams(*parameters)


_WHOSE = (
    select(Task.client_id, Client.name)
    .join(Client, Client.id == Task.client_id)
    .where(Task.id == bindparam("task_id", type_=Uuid))
)


async def whose(connection: AsyncConnection, task_id: UUID) -> tuple[UUID, str] | None:
    """Return whose task it is, by id and name; None: there is no such task."""
    found = (await connection.execute(_WHOSE, {"task_id": task_id})).one_or_none()
    return None if found is None else (found.client_id, found.name)


_BY_KIE_ID = (
    select(Task.id)
    .where(Task.kie_task_id == bindparam("wanted", type_=Text))
    .order_by(Task.created_at.desc())
    .limit(1)
)


async def by_kie_id(connection: AsyncConnection, kie_task_id: str) -> UUID | None:
    """Return the newest task that kie.ai knows by this id; None: there is none."""
    found: UUID | None = await connection.scalar(_BY_KIE_ID, {"wanted": kie_task_id})
    return found


_WORK = select(
    *(
        Task.__table__.c[name]
        for name in (
            *("attempt", "tries", "due_at", "leased_until", "expires_at", "submit_by"),
            *("poll_errors", "last_poll_error", "parked_at", "held_since", "refreshed_at"),
            *("reserved", "dialect", "kie_created_at", "kie_completed_at"),
        )
    )
).where(Task.id == bindparam("task_id", type_=Uuid))


async def work_owed(connection: AsyncConnection, task_id: UUID) -> RowMapping | None:
    """Return what the gateway has still to do for a task, and by when; None: no such task."""
    return (await connection.execute(_WORK, {"task_id": task_id})).mappings().one_or_none()


_MARK = text(
    """
SELECT concat_ws(' ', t.version, t.updated_at, t.due_at, t.attempt, t.parked_at,
    (SELECT concat(count(*), ' ', max(coalesce(last_seen_at, received_at)))
     FROM callbacks WHERE task_id = t.id),
    (SELECT concat(count(*), ' ', sum(tries), ' ', count(finished_at))
     FROM deliveries WHERE task_id = t.id))
FROM tasks t WHERE t.id = :task_id
"""
).bindparams(bindparam("task_id", type_=Uuid))


async def mark(connection: AsyncConnection, task_id: UUID) -> str | None:
    """Return a text that differs once anything of a task's page does; None: no such task."""
    found: str | None = await connection.scalar(_MARK, {"task_id": task_id})
    return found
