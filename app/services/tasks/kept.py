"""Reading back what kie.ai said earlier: statements are kept as they came."""

from collections.abc import Sequence
from uuid import UUID

from app.domain.report import Answered, Report, Unreadable
from app.domain.statement import Statement
from app.domain.task import Source
from app.kie.wire import read_callback, read_query
from app.store.engine import Connection, Row
from app.store.tasks import callbacks

CLAIMS = 20
"""Callbacks that are compared with kie.ai's record at most, the newest first."""


async def claims(connection: Connection, task_id: UUID) -> Sequence[tuple[UUID, Report]]:
    """Return what callbacks said that only kie.ai's record could bear out, by their ids."""
    found = await callbacks.read_claims(connection, task_id, limit=CLAIMS)
    read = [(row["id"], read_callback(row["body"])) for row in found]
    return [(id_, content) for id_, content in read if isinstance(content, Report)]


async def held(connection: Connection, task_id: UUID) -> Statement | None:
    """Return the newest statement of an end that was not believed yet; None: there is none."""
    row = await callbacks.read_held(connection, task_id)
    if row is None:
        return None
    return Statement(**{**row, "source": Source(row["source"])}, content=_content(row))


def _content(row: Row) -> Report | Unreadable:
    if row["source"] == Source.CALLBACK:
        return read_callback(row["body"])
    answer = read_query(200, row["body"])
    return answer.report if isinstance(answer, Answered) else Unreadable(reason="no record")
