"""The statements that a piece of work sends, and PostgreSQL's plans of them.

The tests ask which indexes the plans use; `benchmarks.growth` asks what they read.
"""

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import event

from app.store.connections.engine import Connection, Database
from tests.statements import through_sqlalchemy

Work = Callable[[Connection], Awaitable[object]]
Sent = Sequence[tuple[str, Any]]
"""Statements with their parameters, in order."""
Plan = dict[str, Any]


async def sent_by(connection: Connection, work: Work) -> Sent:
    """Carry out `work` in the transaction that there is, and return what it sent."""
    sent: list[tuple[str, Any]] = []

    def note(*about: Any) -> None:
        _, _, statement, parameters, *_ = about
        sent.append((statement, parameters))

    assert connection.sync_connection is not None
    event.listen(connection.sync_connection, "before_cursor_execute", note)
    try:
        with through_sqlalchemy():
            await work(connection)
    finally:
        event.remove(connection.sync_connection, "before_cursor_execute", note)
    return sent


async def explained(connection: Connection, sent: Sent, explain: str) -> list[Plan]:
    """Return what `explain`, which asks for JSON, says of each."""
    found = [
        await connection.exec_driver_sql(f"{explain} {statement}", parameters)
        for statement, parameters in sent
    ]
    told = [result.scalar_one() for result in found]
    return [(json.loads(one) if isinstance(one, str) else one)[0] for one in told]


async def plans(
    database: Database, work: Work, explain: str = "EXPLAIN (FORMAT JSON)"
) -> list[list[Plan]]:
    """Carry out `work`, undo it, and return the nodes of the plan of every statement it sent."""
    async with database.begin() as connection:
        trees = await explained(connection, await sent_by(connection, work), explain)
        await connection.rollback()
    return [list(nodes(tree["Plan"])) for tree in trees]


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)
