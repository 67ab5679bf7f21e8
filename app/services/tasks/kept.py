"""Reading back what kie.ai said earlier: statements are kept as they came."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from uuid import UUID

from app.domain.report import Answered, Report, Unreadable
from app.domain.statement import Statement
from app.domain.task import Source
from app.kie.reading import apart
from app.kie.wire import read_callback, read_query
from app.store.connections.engine import Connection
from app.store.tasks import callbacks

CLAIMS = 20
"""Callbacks that are compared with kie.ai's record at most, the newest first."""


async def claims(connection: Connection, task_id: UUID) -> Sequence[tuple[UUID, Report]]:
    """Return what callbacks said that only kie.ai's record could bear out, by their ids."""
    found = await callbacks.read_claims(connection, task_id, limit=CLAIMS)
    read = [(row["id"], await apart(read_callback, row["body"])) for row in found]
    return [(id_, content) for id_, content in read if isinstance(content, Report)]


async def held(connection: Connection, task_id: UUID) -> Statement | None:
    """Return the newest statement of an end that was not believed yet; None: there is none."""
    row = await callbacks.read_held(connection, task_id)
    if row is None:
        return None
    source = Source(row["source"])
    content = await apart(_READERS[source], row["body"])
    return Statement(**{**row, "source": source}, content=content)


def _read_record(body: bytes) -> Report | Unreadable:
    answer = read_query(HTTPStatus.OK, body)
    return answer.report if isinstance(answer, Answered) else Unreadable(reason="no record")


_READERS: Mapping[Source, Callable[[bytes], Report | Unreadable]] = {
    Source.CALLBACK: read_callback,
    Source.QUERY: _read_record,
}
