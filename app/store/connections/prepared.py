"""Hot statements: each is compiled once and handed to asyncpg as it is.

SQLAlchemy still writes the SQL, and converts what goes in and what comes out. Its execution
context, cursor and result cost ten times as much as asyncpg's own fetch (measured: 0.5 ms of CPU
beside 0.04 ms), which is more than all the rest of a read by id, and a third of a create.
"""

import re
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Dialect, Executable, Result
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.compiler import SQLCompiler

Convert = Callable[[Any], Any]

_NONE: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class _Ready:
    """A statement for one dialect: its SQL, its parameters in order, its columns."""

    sql: str
    takes: Sequence[tuple[str, Convert | None]]
    fixed: Mapping[str, Any]
    """Values that the statement itself has, and that are not written into its SQL."""
    columns: Sequence[str]
    converts: Sequence[tuple[int, Convert]]
    row: Callable[[Sequence[Any]], Any]

    def arguments(self, parameters: Mapping[str, Any]) -> list[Any]:
        """Return the values in order; raises `KeyError` for one that is missing."""
        given = {**self.fixed, **parameters}
        return [
            given[name] if convert is None else convert(given[name]) for name, convert in self.takes
        ]

    def values(self, record: Sequence[Any]) -> Sequence[Any]:
        """Convert what asyncpg returned to what SQLAlchemy would."""
        if not self.converts:
            return record
        found = list(record)
        for place, convert in self.converts:
            found[place] = convert(found[place])
        return found


class Prepared:
    """A statement with the same parameters at each run, each a plain value.

    A row is a named tuple, or a mapping. Errors are SQLAlchemy's, as those of all statements.
    """

    def __init__(self, build: Callable[[], Executable]) -> None:
        """`build` makes the statement when it first runs.

        What it makes is not kept: all of ours take 4 MB as objects, and as text nearly nothing.
        """
        self._build = build
        self._ready: WeakKeyDictionary[Dialect, _Ready] = WeakKeyDictionary()

    @cached_property
    def statement(self) -> Executable:
        """The statement itself, kept from now on: who runs it so asks for it each time."""
        return self._build()

    async def all(
        self, connection: AsyncConnection, parameters: Mapping[str, Any] = _NONE
    ) -> Sequence[Any]:
        """Run it; returns its rows."""
        found = await self._run(connection, parameters)
        if isinstance(found, Result):
            return found.all() if getattr(found, "returns_rows", True) else ()
        ready, records = found
        return [ready.row(ready.values(record)) for record in records]

    async def one_or_none(
        self, connection: AsyncConnection, parameters: Mapping[str, Any] = _NONE
    ) -> Any:  # noqa: ANN401  # a row, whose columns are the statement's
        """Run it; returns its only row, or None."""
        rows = await self.all(connection, parameters)
        if len(rows) > 1:
            message = "more than one row"
            raise ValueError(message)
        return rows[0] if rows else None

    async def one(self, connection: AsyncConnection, parameters: Mapping[str, Any] = _NONE) -> Any:  # noqa: ANN401  # as above
        """Run it; returns its only row."""
        (row,) = await self.all(connection, parameters)
        return row

    async def scalar(
        self, connection: AsyncConnection, parameters: Mapping[str, Any] = _NONE
    ) -> Any:  # noqa: ANN401  # a value of the statement's first column
        """Run it; returns the first column of its first row, None where there is no row."""
        rows = await self.all(connection, parameters)
        return rows[0][0] if rows else None

    async def mappings(
        self, connection: AsyncConnection, parameters: Mapping[str, Any] = _NONE
    ) -> Sequence[Mapping[Any, Any]]:
        """Run it; returns its rows by the names of their columns."""
        found = await self._run(connection, parameters)
        if isinstance(found, Result):
            return found.mappings().all()
        ready, records = found
        return [dict(zip(ready.columns, ready.values(one), strict=True)) for one in records]

    async def first(
        self, connection: AsyncConnection, parameters: Mapping[str, Any] = _NONE
    ) -> Mapping[Any, Any] | None:
        """Run it; returns its only row by the names of its columns, or None."""
        return next(iter(await self.mappings(connection, parameters)), None)

    async def _run(
        self, connection: AsyncConnection, parameters: Mapping[str, Any]
    ) -> Result[Any] | tuple[_Ready, Sequence[Sequence[Any]]]:
        """Return what asyncpg fetched.

        Through a pooler that prepares nothing, SQLAlchemy runs it: the driver would look up types
        between BEGIN and the statement each time. So it does on a connection that is lost, which
        it opens anew, or says why not.
        """
        sync = connection.sync_connection
        if sync is None or sync.invalidated:
            return await connection.execute(self.statement, dict(parameters))
        adapter: Any = sync.connection.dbapi_connection
        if adapter._prepared_statement_cache is None:  # noqa: SLF001  # set by `Database`
            return await connection.execute(self.statement, dict(parameters))
        driver = adapter.driver_connection
        try:
            if adapter._transaction is None:  # noqa: SLF001
                await adapter._start_transaction()  # noqa: SLF001  # as its cursors do first
            ready = self._ready.get(sync.dialect)
            if ready is None:
                ready = await self._prepare(sync.dialect, driver, parameters)
            return ready, await driver.fetch(ready.sql, *ready.arguments(parameters))
        except Exception as error:  # noqa: BLE001  # it is raised again
            return await connection.run_sync(_raise, error, self._sql(sync.dialect))
        except BaseException:
            await connection.invalidate()  # what was cancelled may still be answered
            raise

    def _sql(self, dialect: Dialect) -> str:
        ready = self._ready.get(dialect)
        return str(self._build()) if ready is None else ready.sql

    async def _prepare(
        self,
        dialect: Dialect,
        driver: Any,  # noqa: ANN401  # asyncpg's
        parameters: Mapping[str, Any],
    ) -> _Ready:
        compiled: Any = self._build().compile(  # type: ignore[attr-defined]  # all of ours have it
            dialect=dialect, column_keys=list(parameters)
        )
        assert isinstance(compiled, SQLCompiler)  # noqa: S101  # statements are compiled to nothing else
        # Lists that the statement itself has are written out; given ones would stay as they are.
        expanded = compiled.construct_expanded_state(dict(parameters))
        own = {k: value for k, value in expanded.parameters.items() if k not in parameters}
        binds: Mapping[str, Any] = {**compiled._bind_processors, **expanded.processors}  # noqa: SLF001
        sql, takes = _written_out(expanded.statement, expanded.positiontup or (), own, binds)
        attributes = (await driver.prepare(sql)).get_attributes()
        columns = compiled._result_columns  # noqa: SLF001  # the types that the result would have
        converts = (
            column.type._cached_result_processor(dialect, attribute.type.oid)  # noqa: SLF001
            for column, attribute in zip(columns, attributes, strict=True)
        )
        names = tuple(column.keyname for column in columns)
        ready = self._ready[dialect] = _Ready(
            sql=sql,
            takes=tuple((name, binds.get(name)) for name in takes),
            fixed={name: own[name] for name in takes if name in own},
            columns=names,
            converts=tuple((n, one) for n, one in enumerate(converts) if one is not None),
            row=_rows_of(names),
        )
        return ready


_PLACE = re.compile(r"\$(\d+)")


def _written_out(
    sql: str, names: Sequence[str], own: Mapping[str, Any], binds: Mapping[str, Convert]
) -> tuple[str, Sequence[str]]:
    """Write what is the same at each run into the SQL; returns it, and what it still takes.

    For a `LIMIT $1` PostgreSQL assumes a tenth of all rows, so that its plan for any values looks
    dearer than one for these, and it would plan the statement anew at each run.
    """
    left: list[str] = []

    def place(match: re.Match[str]) -> str:
        name = names[int(match[1]) - 1]
        if name in own:
            convert = binds.get(name)
            literal = _literal(convert(own[name]) if convert else own[name])
            if literal is not None:
                return literal
        if name not in left:
            left.append(name)
        return f"${left.index(name) + 1}"

    return _PLACE.sub(place, sql), left


def _literal(value: object) -> str | None:
    """Return the SQL of a plain value, whose type follows it; None: it stays a parameter."""
    if value is None:
        return "NULL"
    if isinstance(value, int):  # a bool is one
        return str(value).upper()
    if isinstance(value, str) and "\\" not in value:  # which settings read in two ways
        return "'{}'".format(str.__str__(value).replace("'", "''"))
    return None


async def commit(connection: AsyncConnection) -> None:
    """Commit what was begun on the connection, by the driver itself where it began something.

    Errors are SQLAlchemy's, and where the answer is lost, so is the connection.
    """
    sync = connection.sync_connection
    if sync is None or sync.invalidated:
        await connection.commit()  # it says what that means
        return
    adapter: Any = sync.connection.dbapi_connection
    begun, adapter._transaction = adapter._transaction, None  # noqa: SLF001  # as its own `commit`
    try:
        if begun is not None:
            await begun.commit()
    except Exception as error:  # noqa: BLE001  # it is raised again
        await connection.run_sync(_raise, error, "COMMIT")
    except BaseException:
        await connection.invalidate()  # nobody knows whether it is committed
        raise
    if (done := sync.get_transaction()) is not None:
        done.close()


def _raise(sync: Connection, error: Exception, sql: str) -> NoReturn:
    """Raise the driver's error as SQLAlchemy does, with what follows from it.

    A lost connection leaves the pool, and all others that were opened before go with it.
    """
    adapter: Any = sync.connection.dbapi_connection
    try:
        adapter._handle_exception(error)  # noqa: SLF001  # gives it the class of DB-API that it has
    except Exception as translated:  # noqa: BLE001  # it is raised again
        known = isinstance(translated, sync.dialect.loaded_dbapi.Error)
        statement = sql if known else None
        sync._handle_dbapi_exception(translated, statement, None, None, None)  # noqa: SLF001
    raise error


def _rows_of(columns: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
    """Return what makes a named tuple of a row; SQLAlchemy's rows are read the same way."""
    record: Any = namedtuple("Record", list(columns), rename=True)  # type: ignore[misc]  # noqa: PYI024
    make: Callable[[Sequence[Any]], Any] = record._make
    return make
