"""The database's clock: the only one that processes share."""

from datetime import datetime

from sqlalchemy import ColumnElement, Float, bindparam, func, select
from sqlalchemy.dialects.postgresql import TIMESTAMP

NOW = func.clock_timestamp(type_=TIMESTAMP(timezone=True))
"""The instant itself; now() would stand still within a transaction."""

ONCE = select(NOW).scalar_subquery()
"""The instant as of one statement: what changes from row to row could not be looked up by index."""


def later(seconds: str | ColumnElement[float]) -> ColumnElement[datetime]:
    """Return the instant so many seconds from now; NULL seconds give NULL.

    A text names a bound parameter.
    """
    amount = bindparam(seconds, type_=Float) if isinstance(seconds, str) else seconds
    return NOW + func.make_interval(0, 0, 0, 0, 0, 0, amount)
