"""What the gateway sends to PostgreSQL: its statements, and how many transactions they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import Engine

from app.store.connections.prepared import Prepared


@dataclass
class Statements:
    """Counted as PostgreSQL does: BEGIN, COMMIT and NOTIFY are statements too."""

    sent: list[str] = field(default_factory=list)
    transactions: int = 0
    """Those that end with a word of their own, and each statement that is one by itself."""

    def note(self, sql: str, *, by_itself: bool) -> None:
        self.sent.append(" ".join(sql.split()))
        self.transactions += by_itself


@contextmanager
def through_sqlalchemy() -> Iterator[None]:
    """Let SQLAlchemy run what is prepared too, so that its events see every statement."""
    straight = Prepared._run

    async def run(prepared: Any, connection: Any, parameters: Any) -> Any:
        return await connection.execute(prepared.statement, dict(parameters))

    Prepared._run = run  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        Prepared._run = straight  # type: ignore[method-assign]


@contextmanager
def recorded() -> Iterator[Statements]:
    """Note what connections send that are opened within the block."""
    found = Statements()
    connect = asyncpg.connect

    async def connecting(*given: Any, **options: Any) -> Any:
        connection = await connect(*given, **options)
        # What SQLAlchemy prepares is not logged by the driver: it says it itself, below.
        connection.add_query_logger(
            lambda record: found.note(record.query, by_itself=not connection.is_in_transaction())
        )
        return connection

    def executing(connection: Any, _: object, sql: str, *__: object) -> None:
        found.note(sql, by_itself=connection.connection.dbapi_connection.autocommit)

    asyncpg.connect = connecting
    event.listen(Engine, "before_cursor_execute", executing)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", executing)
        asyncpg.connect = connect
