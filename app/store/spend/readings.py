"""The balance as it was read, beside what the books held at that moment."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from sqlalchemy import bindparam, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.reconciliation import KEPT_DAYS, Reading
from app.domain.task import FINAL, State
from app.store.sql import NOW, interval
from app.store.tables import BalanceReading

_OPEN = ", ".join(f"'{state.value}'" for state in State if state not in FINAL)
_KEEP = text(
    f"""
WITH changes AS (
    SELECT spent, reserved FROM spend_daily
    UNION ALL
    SELECT credits - left_credits, reserved FROM usage_entries
)
INSERT INTO balance_readings (balance, booked, reserved, unknown)
SELECT :balance, trim_scale(coalesce(sum(spent), 0)), trim_scale(coalesce(sum(reserved), 0)),
    (SELECT count(*) FROM tasks WHERE state IN ({_OPEN}) AND state <> 'queued'
     AND reserved IS NULL AND credits_consumed IS NULL)
FROM changes ON CONFLICT DO NOTHING
"""  # noqa: S608  # our own words
)
_FORGET = delete(BalanceReading).where(BalanceReading.at < NOW - interval("kept"))


async def keep(connection: AsyncConnection, balance: Decimal) -> None:
    """Keep the balance, with what the books hold in this moment; remove what is too old."""
    await connection.execute(_KEEP, {"balance": balance})
    await connection.execute(_FORGET, {"kept": KEPT_DAYS * 86_400.0})


_COLUMNS = tuple(BalanceReading.__table__.c)
_SINCE = bindparam("since", type_=NOW.type)
_FIRST = select(func.max(BalanceReading.at)).where(BalanceReading.at < _SINCE).scalar_subquery()
_READ = (
    select(*_COLUMNS)
    .where(
        BalanceReading.at >= func.coalesce(_FIRST, _SINCE),
        BalanceReading.at < bindparam("until", type_=NOW.type),
    )
    .order_by(BalanceReading.at)
)


async def between(
    connection: AsyncConnection, since: datetime, until: datetime
) -> Sequence[Reading]:
    """Return the readings before `until` from the last one before `since` on, oldest first."""
    found = await connection.execute(_READ, {"since": since, "until": until})
    return [Reading(**row) for row in found.mappings()]


_RECENT = (
    select(*_COLUMNS)
    .where(BalanceReading.at > NOW - interval("within"))
    .order_by(BalanceReading.at)
)


async def recent(connection: AsyncConnection, *, within: float) -> Sequence[Reading]:
    """Return the readings of the last `within` seconds, oldest first."""
    found = await connection.execute(_RECENT, {"within": within})
    return [Reading(**row) for row in found.mappings()]
