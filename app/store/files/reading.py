"""What a client may see of its artifacts."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Text, Uuid, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One artifact, as it is handed out."""

    task_id: UUID
    n: int
    state: str
    object: str | None
    content_type: str | None
    sha256: bytes | None
    bytes: int | None  # the contract's name
    reason: str | None


_COLUMNS = "task_id, n, state, object, content_type, bytes, sha256, reason"
_READ = text(
    f"SELECT {_COLUMNS} FROM artifacts"  # noqa: S608
    " WHERE task_id = :task_id AND n = :n AND client_id = :client_id"
).bindparams(bindparam("task_id", type_=Uuid), bindparam("client_id", type_=Uuid))
_OF_URL = text(
    f"SELECT {', '.join(f'a.{name}' for name in _COLUMNS.split(', '))}"  # noqa: S608
    ", t.finished_at < clock_timestamp() - make_interval(days => :days) AS old"
    " FROM tasks t JOIN artifacts a ON a.task_id = t.id AND a.source_url = :url"
    " WHERE t.client_id = :client_id AND t.state = 'succeeded' AND a.state = 'stored'"
    " AND (t.result_urls::varchar(500)[]) @> ARRAY[:url]::varchar(500)[]"
    " ORDER BY t.id DESC LIMIT 1"
).bindparams(bindparam("client_id", type_=Uuid), bindparam("url", type_=Text))
_RESULT = select(Task.result).where(Task.id == bindparam("task_id", type_=Uuid))


async def read_artifact(
    connection: AsyncConnection, *, client_id: UUID, task_id: UUID, n: int
) -> Kept | None:
    """Return the client's artifact; None: it has no such."""
    given = {"client_id": client_id, "task_id": task_id, "n": n}
    row = (await connection.execute(_READ, given)).mappings().one_or_none()
    return None if row is None else Kept(**row)


async def stored_of(
    connection: AsyncConnection, *, client_id: UUID, url: str, days: int
) -> tuple[Kept, bool] | None:
    """Return the newest copy of the client's result at the URL, and whether its task is older.

    None: there is no copy. `days`: the life of results at their source.
    """
    given = {"client_id": client_id, "url": url, "days": days}
    row = (await connection.execute(_OF_URL, given)).mappings().one_or_none()
    if row is None:
        return None
    found: dict[str, Any] = dict(row)
    old = bool(found.pop("old"))
    return Kept(**found), old


async def read_result(connection: AsyncConnection, task_id: UUID) -> dict[str, Any] | None:
    """Return the task's result; None: it has none, or is gone."""
    found: dict[str, Any] | None = await connection.scalar(_RESULT, {"task_id": task_id})
    return found
