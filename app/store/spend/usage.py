"""Reading usage: the sums by day, and what is not folded yet, in one statement."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    RowMapping,
    Select,
    Text,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.usage import ENDS, MAX_TEXT, METADATA, TOTAL, Group, Wanted
from app.store.tables import Client, UsageDay, UsageEntry

SUMS = (*(str(end) for end in ENDS), "credits", "seconds")
"""What every row of usage has, beside its group."""

_DAILY = UsageDay.__table__.c
_ENTRY = UsageEntry.__table__.c


def _daily(key: str, value: ColumnElement[Any], *, sign: int = 1) -> Select[Any]:
    """Select the sums of one dimension."""
    columns = (_DAILY.client_id, _DAILY.day, _DAILY.model, value.label("value"))
    sums = ((_DAILY[name] * sign).label(name) for name in SUMS)
    return select(*columns, *sums).where(_DAILY.key == key)


def _entries(dimension: str, *, sign: int) -> Select[Any]:
    """Select what the entries that are not folded yet add, or (`sign` -1) take away."""
    before = "left_" if sign < 0 else ""
    state = _ENTRY[f"{before}state"]
    value: ColumnElement[Any] = cast(null(), Text)
    if dimension == Group.FAIL_CLASS:
        value = _ENTRY.left_class if before else _ENTRY.fail_class
    elif dimension != TOTAL:
        key = dimension.removeprefix(METADATA)
        value = func.left(_ENTRY.metadata[key].astext, MAX_TEXT)
    columns = (_ENTRY.client_id, _ENTRY.day, func.left(_ENTRY.model, MAX_TEXT).label("model"))
    counts = ((cast(state == str(end), Integer) * sign).label(str(end)) for end in ENDS)
    sums = ((_ENTRY[before + name] * sign).label(name) for name in ("credits", "seconds"))
    return select(*columns, value.label("value"), *counts, *sums).where(state.is_not(None))


def _all(wanted: Wanted) -> Any:  # noqa: ANN401  # a part of a statement
    """Put together what there is; tasks without the dimension are what is left of the total."""
    parts = [_daily(TOTAL, cast(null(), Text))]
    if wanted.dimension != TOTAL:
        parts.append(_daily(wanted.dimension, cast(null(), Text), sign=-1))
        parts.append(_daily(wanted.dimension, _DAILY.value))
    parts += [_entries(wanted.dimension, sign=sign) for sign in (1, -1)]
    return union_all(*parts).cte("parts")


def _selecting(wanted: Wanted, client_id: UUID | None, *, grouped: bool) -> Select[Any]:
    parts = _all(wanted)
    groups: dict[str, ColumnElement[Any]] = {
        Group.DAY: cast(parts.c.day, Text),
        Group.MODEL: parts.c.model,
        Group.CLIENT: func.coalesce(Client.name, cast(parts.c.client_id, Text)),
    }
    by = [groups.get(name, parts.c.value) for name in wanted.by] if grouped else []
    sums = [func.trim_scale(func.sum(parts.c[name])) for name in SUMS]
    statement = (
        select(
            *(column.label(name) for column, name in zip(by, wanted.by, strict=False)),
            *(total.label(name) for total, name in zip(sums, SUMS, strict=True)),
        )
        .select_from(parts.outerjoin(Client, Client.id == parts.c.client_id))
        .where(parts.c.day.between(wanted.first, wanted.last))
        .having(or_(*(total != 0 for total in sums)))
    )
    if client_id is not None:
        statement = statement.where(parts.c.client_id == client_id)
    if not by:
        return statement
    order = [func.coalesce(literal(".", Text) + column, "") for column in by]
    if wanted.after is not None:
        place = tuple_(*(literal(value, Text) for value in wanted.after))
        statement = statement.where(tuple_(*order) > place)
    return statement.group_by(*by).order_by(*order).limit(wanted.limit + 1)


async def read_usage(
    connection: AsyncConnection, wanted: Wanted, client_id: UUID | None
) -> Sequence[RowMapping]:
    """Return usage by group, of one client or (None) of all; one more than the limit, if there is.

    The columns are named as in `wanted.by`, and `SUMS`; all groups are text.
    """
    statement = _selecting(wanted, client_id, grouped=True)
    found: Sequence[RowMapping] = (await connection.execute(statement)).mappings().all()
    return found


async def read_total(
    connection: AsyncConnection, wanted: Wanted, client_id: UUID | None
) -> RowMapping | None:
    """Return the sums of all groups; None: there is nothing."""
    statement = _selecting(wanted, client_id, grouped=False)
    found: RowMapping | None = (await connection.execute(statement)).mappings().one_or_none()
    return found
