"""Folding: what was appended becomes sums by day, each row exactly once.

One process folds at a time. Who reads adds the sums and the rows that are not folded yet up in one
statement, so that it sees each change once, whenever it looks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Boolean,
    Date,
    Text,
    Uuid,
    and_,
    bindparam,
    cast,
    delete,
    func,
    null,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.exact_json import UnreadableDocumentError, read
from app.domain.task import FINAL, State
from app.domain.usage import ENDS, METADATA, Entry, Sums, UsageRow
from app.store.spend.entries import BOOKED, ended
from app.store.tables import Model, ModelHour, SpendDay, Task, UsageDay, UsageEntry

FOLDERS = 0x5BE4D
"""The advisory lock of who folds."""

_CLIENT = bindparam("of_client", type_=Uuid)
_BECOME_FOLDER = select(func.pg_try_advisory_xact_lock(FOLDERS, type_=Boolean))


async def become_folder(connection: AsyncConnection) -> bool:
    """Return whether this transaction is the one that folds, until it ends."""
    return bool(await connection.scalar(_BECOME_FOLDER))


_FORGET = (
    select(func.pg_advisory_xact_lock(FOLDERS)),
    update(UsageEntry).where(UsageEntry.client_id == _CLIENT).values(metadata_=null()),
    delete(UsageDay).where(UsageDay.client_id == _CLIENT, UsageDay.key.startswith(METADATA)),
    delete(ModelHour).where(ModelHour.client_id == _CLIENT),
    delete(Model).where(Model.client_id == _CLIENT),
)


async def forget_client(connection: AsyncConnection, client_id: UUID) -> None:
    """Drop what a client's metadata said of its usage, and what was learned of its models.

    It waits for a folding under way.
    """
    for statement in _FORGET:
        await connection.execute(statement, {"of_client": client_id})


_SOME = select(UsageEntry.client_id, UsageEntry.id).limit(bindparam("limit")).cte("some")
_TAKE = (
    delete(UsageEntry)
    .where(UsageEntry.client_id == _SOME.c.client_id, UsageEntry.id == _SOME.c.id)
    .returning(
        *(
            UsageEntry.__table__.c[field.name]
            for field in fields(Entry)
            if field.name != "metadata"
        ),
        cast(UsageEntry.metadata_, Text).label("metadata"),
    )
)


async def take(connection: AsyncConnection, *, limit: int) -> Sequence[Entry]:
    """Take entries out, to be added to the sums in the same transaction by its folder."""
    rows = await connection.execute(_TAKE, {"limit": limit})
    return [
        Entry(**{**row, "metadata": _read_metadata(row["metadata"])}) for row in rows.mappings()
    ]


def _read_metadata(written: str | None) -> Mapping[str, str] | None:
    """Read it; what nobody can read, and no request can bring, is no reason to fold nothing."""
    if written is None:
        return None
    try:
        found = read(written)
    except UnreadableDocumentError:
        return None
    return {key: value for key, value in found.items() if isinstance(value, str)}


_KEYS = (UsageDay.client_id, UsageDay.day, UsageDay.model, UsageDay.key, UsageDay.value)
_PLACES = select(*_KEYS).join(
    select(
        func.unnest(bindparam("clients", type_=ARRAY(Uuid)), type_=Uuid).label("client_id"),
        func.unnest(bindparam("days", type_=ARRAY(Date)), type_=Date).label("day"),
    ).subquery("asked"),
    text("usage_daily.client_id = asked.client_id AND usage_daily.day = asked.day"),
)


async def known(
    connection: AsyncConnection, places: Iterable[tuple[UUID, date]]
) -> Sequence[UsageRow]:
    """Return the rows of usage that there are of these clients and days."""
    listed = sorted(set(places), key=str)
    given = {"clients": [client for client, _ in listed], "days": [day for _, day in listed]}
    rows = await connection.execute(_PLACES, given)
    return [(row.client_id, row.day, row.model, row.key, row.value) for row in rows]


def _adding(table: type[UsageDay | SpendDay], keys: Sequence[str], sums: Sequence[str]) -> Insert:
    given = {name: bindparam(name, type_=table.__table__.c[name].type) for name in (*keys, *sums)}
    adding = insert(table).values(given)
    return adding.on_conflict_do_update(
        index_elements=list(keys),
        set_={name: table.__table__.c[name] + adding.excluded[name] for name in sums},
    )


_DAY = ("client_id", "day", "model", "key", "value")
_ADD_USAGE = _adding(UsageDay, _DAY, (*ENDS, "credits", "seconds"))
_ADD_SPEND = _adding(SpendDay, ("client_id", "day"), ("spent", "reserved"))


async def add_usage(connection: AsyncConnection, sums: Mapping[UsageRow, Sums]) -> None:
    """Add to the rows of usage; one that is not there is made."""
    for row, found in sums.items():
        values = dict(zip(_DAY, row, strict=True)) | dict(found.tasks)
        values |= {"credits": found.credits, "seconds": found.seconds}
        await connection.execute(_ADD_USAGE, values)


async def add_spend(
    connection: AsyncConnection, sums: Mapping[tuple[UUID, date], tuple[Decimal, Decimal]]
) -> None:
    """Add what was spent and what is reserved of the tasks created on each day."""
    for (client_id, day), (spent, reserved) in sums.items():
        values = {"client_id": client_id, "day": day, "spent": spent, "reserved": reserved}
        await connection.execute(_ADD_SPEND, values)


IS_UNBOOKED = and_(Task.finished_at.is_not(None), Task.booked.is_(None))
"""A task ended under an older release."""

_LATE = (
    select(Task.id)
    .where(IS_UNBOOKED)
    .order_by(Task.finished_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
    .cte("late")
)
_CAUGHT_UP = (
    update(Task)
    .where(Task.id == _LATE.c.id)
    .values(booked=True)
    .returning(Task.id, Task.client_id, Task.state, *BOOKED)
    .cte("moved")
)
_CATCH_UP = select(_CAUGHT_UP.c.id).add_cte(ended(_CAUGHT_UP))


async def catch_up(connection: AsyncConnection, *, limit: int) -> int:
    """Book final tasks that a release before this one ended; returns how many it were."""
    return len((await connection.execute(_CATCH_UP, {"limit": limit})).all())


_OPEN = [state.value for state in State if state not in FINAL]
_RECONCILE = text(
    """
WITH bounded AS (SELECT DISTINCT client_id FROM budgets),
kept AS (
    SELECT client_id, created_at, reserved FROM tasks JOIN bounded USING (client_id)
    WHERE state = ANY (:holding) AND credits_consumed IS NULL AND reserved IS NOT NULL
    AND (finished_at IS NULL OR booked)
    UNION ALL
    SELECT client_id, created_at, reserved FROM tasks JOIN bounded USING (client_id)
    WHERE state = 'succeeded' AND credits_consumed IS NULL AND reserved IS NOT NULL AND booked
    UNION ALL
    SELECT client_id, created_at, reserved FROM tasks JOIN bounded USING (client_id)
    WHERE finished_at IS NOT NULL AND booked IS NULL AND reserved IS NOT NULL
),
rows AS (
    SELECT client_id, (created_at AT TIME ZONE 'UTC')::date AS day, sum(reserved) AS reserved
    FROM kept GROUP BY 1, 2
),
noted AS (
    SELECT client_id, day, sum(reserved) AS reserved FROM (
        SELECT client_id, day, reserved FROM spend_daily JOIN bounded USING (client_id)
        UNION ALL
        SELECT client_id, created_day, reserved FROM usage_entries JOIN bounded USING (client_id)
    ) AS changes GROUP BY 1, 2
),
wrong AS (
    SELECT client_id, day, coalesce(rows.reserved, 0) - coalesce(noted.reserved, 0) AS missing
    FROM rows FULL JOIN noted USING (client_id, day)
    WHERE coalesce(rows.reserved, 0) <> coalesce(noted.reserved, 0)
),
fixed AS (
    INSERT INTO spend_daily (client_id, day, spent, reserved)
    SELECT client_id, day, 0, missing FROM wrong
    ON CONFLICT (client_id, day) DO UPDATE
    SET reserved = spend_daily.reserved + excluded.reserved
)
SELECT wrong.client_id, name AS client, day, missing FROM wrong
JOIN clients ON clients.id = wrong.client_id
"""
).bindparams(bindparam("holding", type_=ARRAY(Task.__table__.c.state.type)))


async def reconcile(connection: AsyncConnection) -> Sequence[Mapping[str, object]]:
    """Compare what is reserved with the rows that it is reserved for, and put it right.

    Of clients with a budget, in one snapshot: there any difference is a defect. Returns `client`,
    `day` and `missing`, the credits that were added. The caller is the folder.
    """
    holding = [*_OPEN, State.EXPIRED.value]
    found = await connection.execute(_RECONCILE, {"holding": holding})
    return [dict(row) for row in found.mappings()]
