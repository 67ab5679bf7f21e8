"""Expressions of SQL that the store's statements share: instants, spans, literals and leases.

The database's clock is the only one that processes share.
"""

from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Dialect,
    Float,
    ScalarSelect,
    SQLColumnExpression,
    Text,
    TypeDecorator,
    bindparam,
    cast,
    extract,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from typing_extensions import override

from app.domain.exact_json import Verbatim
from app.domain.task import State

T = TypeVar("T")

NOW = func.clock_timestamp(type_=TIMESTAMP(timezone=True))
"""The instant itself; now() would stand still within a transaction."""

ONCE = select(NOW).scalar_subquery()
"""The instant as of one statement: what changes from row to row could not be looked up by index."""


def unseen(value: ColumnElement[T]) -> ScalarSelect[T]:
    """Hide a parameter's value from the planner.

    It expects the same for one value as for any then, so it keeps its plan: else that for this one
    looks cheaper, and a statement is planned anew at each run, which costs more than to run it.
    """
    return select(value).scalar_subquery()


def interval(seconds: str | ColumnElement[Any]) -> ColumnElement[timedelta]:
    """Return the span of so many seconds; NULL gives NULL. A text names a bound parameter."""
    amount = bindparam(seconds, type_=Float) if isinstance(seconds, str) else seconds
    return func.make_interval(0, 0, 0, 0, 0, 0, amount)


def later(seconds: str | ColumnElement[Any]) -> ColumnElement[datetime]:
    """Return the instant so many seconds from now, as `interval` reads them."""
    return NOW + interval(seconds)


def seconds(span: ColumnElement[Any]) -> ColumnElement[float]:
    return cast(extract("epoch", span), Float)


def seconds_since(instant: SQLColumnExpression[Any]) -> ColumnElement[float]:
    """Return the seconds from the instant until now; negative where it is still to come."""
    return seconds(NOW - instant)


def state_literal(state: State) -> ColumnElement[str]:
    """Write the state into the SQL itself, where the planner needs it to pick a partial index."""
    return literal_column(f"'{state.value}'", Text)


class _Text(TypeDecorator[Verbatim]):
    """A column of the type JSON as PostgreSQL keeps it: its text, every digit in its place."""

    impl = Text
    cache_ok = True

    @override
    def process_result_value(self, value: Any | None, dialect: Dialect) -> Verbatim | None:
        return None if value is None else Verbatim(value)


TEXT_OF_JSON = _Text()
"""The type of an expression that is such a text already."""


def verbatim(column: SQLColumnExpression[Any]) -> ColumnElement[Verbatim]:
    """Read a JSON column as text that is passed on unread.

    A megabyte of numbers takes 0.4 s to parse, and a hundred bytes of memory for each.
    """
    return type_coerce(cast(column, Text), _Text)  # the driver would parse a JSON type


def given(name: str, kind: Any = Text) -> BindParameter[Any]:  # noqa: ANN401  # a SQL type
    """Bind under a name that no column has: SQLAlchemy would take it for a new value."""
    return bindparam(f"given_{name}", type_=kind)


def as_given(**values: object) -> dict[str, object]:
    """Return the parameters of a statement that binds these names as `given`."""
    return {f"given_{name}": value for name, value in values.items()}


def lease_is_free(
    leased: Any,  # noqa: ANN401  # a table with `leased_until`
    at: ColumnElement[datetime] = NOW,
) -> ColumnElement[bool]:
    """Return whether no process is at work on the row at that instant."""
    return or_(leased.leased_until.is_(None), leased.leased_until <= at)
