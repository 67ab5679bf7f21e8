"""Hot reads: a statement that is compiled once and handed to asyncpg as it is.

SQLAlchemy still writes the SQL and converts what comes back. Its execution context, cursor and
result cost ten times as much as asyncpg's own fetch (measured: 0.5 ms of CPU beside 0.04 ms), which
is more than all the rest of a read by id.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Dialect, Select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.compiler import SQLCompiler

from app.store.trouble import is_unusable

Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Ready:
    """A statement for one dialect: its SQL, its parameters in order, its columns."""

    sql: str
    names: Sequence[str]
    columns: Sequence[str]
    converts: Sequence[tuple[str, Convert]]


class Prepared:
    """A SELECT whose parameters are all named when it runs, plain values and no lists."""

    def __init__(self, statement: Select[Any]) -> None:
        self._statement = statement
        self._ready: WeakKeyDictionary[Dialect, _Ready] = WeakKeyDictionary()

    async def first(
        self, connection: AsyncConnection, parameters: Mapping[str, Any]
    ) -> Mapping[Any, Any] | None:
        """Return the only row, by the names of its columns; None: there is none.

        Within a transaction, and through a pooler that prepares nothing, SQLAlchemy runs it.
        """
        sync = connection.sync_connection
        if sync is None or sync.in_transaction():
            rows = await connection.execute(self._statement, dict(parameters))
            found: Mapping[Any, Any] | None = rows.mappings().one_or_none()
            return found
        driver: Any = sync.connection.driver_connection
        try:
            ready = self._ready.get(sync.dialect)
            if ready is None:
                ready = await self._prepare(sync.dialect, driver)
            row = await driver.fetchrow(ready.sql, *[parameters[name] for name in ready.names])
        except BaseException as error:
            # What was cancelled may still be answered; what SQLAlchemy would drop goes as well.
            if not isinstance(error, Exception) or is_unusable(error) or driver.is_closed():
                await connection.invalidate()
            raise
        return None if row is None else _converted(ready, row)

    async def _prepare(self, dialect: Dialect, driver: Any) -> _Ready:  # noqa: ANN401  # asyncpg's
        compiled = self._statement.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)  # noqa: S101  # a SELECT is compiled to nothing else
        sql = str(compiled)
        attributes = (await driver.prepare(sql)).get_attributes()
        columns = compiled._result_columns  # noqa: SLF001  # the types that the result would have
        found = [
            (
                column.keyname,
                column.type._cached_result_processor(dialect, attribute.type.oid),  # noqa: SLF001
            )
            for column, attribute in zip(columns, attributes, strict=True)
        ]
        ready = self._ready[dialect] = _Ready(
            sql=sql,
            names=tuple(compiled.positiontup or ()),
            columns=tuple(name for name, _ in found),
            converts=tuple((name, convert) for name, convert in found if convert is not None),
        )
        return ready


def _converted(ready: _Ready, row: Sequence[Any]) -> dict[str, Any]:
    found = dict(zip(ready.columns, row, strict=True))
    for name, convert in ready.converts:
        found[name] = convert(found[name])
    return found
