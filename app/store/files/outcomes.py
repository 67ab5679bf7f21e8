"""How copies end: stored, tried again, given up, removed.

Who records the end of a copy has locked its task first: so the last of a task's files knows
that it is the last, and who deletes the task is not met halfway.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Executable,
    Float,
    Integer,
    LargeBinary,
    Text,
    Uuid,
    bindparam,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.files.claims import DueArtifact

_OURS = "task_id = :task_id AND n = :n AND attempt = :attempt"
_KEY = (
    bindparam("task_id", type_=Uuid),
    bindparam("n", type_=Integer),
    bindparam("attempt", type_=Integer),
)


def _ours(due: DueArtifact) -> dict[str, Any]:
    return {"task_id": due.task_id, "n": due.n, "attempt": due.attempt}


_BEGIN = text(
    f"UPDATE artifacts SET object = :object WHERE {_OURS} AND state = 'waiting' RETURNING n"  # noqa: S608
).bindparams(*_KEY, bindparam("object", type_=Text))


async def begin(connection: AsyncConnection, due: DueArtifact, name: str) -> bool:
    """Note the name of the object before it is written; False: the lease is lost."""
    return await _won(connection, _BEGIN, due, object=name)


_LOCK_TASK = text("SELECT id FROM tasks WHERE id = :task_id FOR UPDATE").bindparams(_KEY[0])
_STORED = text(
    f"""
UPDATE artifacts SET state = 'stored', due_at = NULL, leased_until = NULL, reason = NULL,
    content_type = :content_type, bytes = :bytes, sha256 = :sha256, finished_at = clock_timestamp()
WHERE {_OURS} AND state = 'waiting' RETURNING n
"""  # noqa: S608
).bindparams(
    *_KEY,
    bindparam("content_type", type_=Text),
    bindparam("bytes", type_=BigInteger),
    bindparam("sha256", type_=LargeBinary),
)
_FAILED = text(
    f"""
UPDATE artifacts SET state = 'failed', due_at = NULL, leased_until = NULL, reason = :reason,
    object = NULL, tries = tries + 1, finished_at = clock_timestamp()
WHERE {_OURS} AND state = 'waiting' RETURNING n
"""  # noqa: S608
).bindparams(*_KEY, bindparam("reason", type_=Text))
_AGAIN = text(
    f"""
UPDATE artifacts SET due_at = clock_timestamp() + make_interval(secs => :wait),
    leased_until = NULL, reason = :reason, tries = tries + :counts
WHERE {_OURS} AND due_at IS NOT NULL RETURNING n
"""  # noqa: S608
).bindparams(
    *_KEY,
    bindparam("wait", type_=Float),
    bindparam("reason", type_=Text),
    bindparam("counts", type_=Integer),
)


async def lock_task(connection: AsyncConnection, task_id: UUID) -> bool:
    """Lock the task until the transaction ends; False: it is gone."""
    return await connection.scalar(_LOCK_TASK, {"task_id": task_id}) is not None


async def stored(
    connection: AsyncConnection, due: DueArtifact, *, content_type: str, size: int, digest: bytes
) -> bool:
    """Record a copy; False: the lease is lost, or the file is not wanted any more."""
    values = {"content_type": content_type, "bytes": size, "sha256": digest}
    return await _won(connection, _STORED, due, **values)


async def failed(connection: AsyncConnection, due: DueArtifact, reason: str) -> bool:
    """Give a file up; False: as above."""
    return await _won(connection, _FAILED, due, reason=reason)


async def again(
    connection: AsyncConnection, due: DueArtifact, reason: str, *, wait: float, counts: bool = True
) -> bool:
    """Try the same once more in `wait` seconds; not `counts`: that try was cut short by us."""
    values = {"reason": reason, "wait": wait, "counts": int(counts)}
    return await _won(connection, _AGAIN, due, **values)


async def _won(
    connection: AsyncConnection, statement: Executable, due: DueArtifact, **values: object
) -> bool:
    return await connection.scalar(statement, {**_ours(due), **values}) is not None


_COUNTS = text(
    "SELECT count(*) FILTER (WHERE state = 'stored') AS stored,"
    " count(*) FILTER (WHERE state = 'failed') AS failed,"
    " count(*) FILTER (WHERE state = 'waiting') AS waiting"
    " FROM artifacts WHERE task_id = :task_id"
).bindparams(_KEY[0])


@dataclass(frozen=True, slots=True)
class Counts:
    """A task's files by their states."""

    stored: int
    failed: int
    waiting: int


async def count(connection: AsyncConnection, task_id: UUID) -> Counts:
    """Count a locked task's files."""
    row = (await connection.execute(_COUNTS, {"task_id": task_id})).mappings().one()
    return Counts(**row)


_LATE = text(
    """
WITH other AS (
    SELECT state, sha256 FROM artifacts WHERE task_id = :task_id AND n = :n FOR UPDATE
), redone AS (
    UPDATE artifacts SET state = 'waiting', due_at = clock_timestamp(), finished_at = NULL
    FROM other WHERE artifacts.task_id = :task_id AND artifacts.n = :n
        AND other.state = 'stored' AND other.sha256 <> :sha256
)
SELECT NOT EXISTS (SELECT FROM other WHERE state IN ('waiting', 'stored'))
"""
).bindparams(*_KEY[:2], bindparam("sha256", type_=LargeBinary))


async def came_late(connection: AsyncConnection, due: DueArtifact, digest: bytes) -> bool:
    """Put right what a copy did whose lease was lost; True: its object is nobody's any more.

    Where another process stored other bytes under the same name, they are copied once more.
    """
    given = {"task_id": due.task_id, "n": due.n, "sha256": digest}
    return bool(await connection.scalar(_LATE, given))


_REMOVED = (
    text(
        f"DELETE FROM artifacts WHERE {_OURS} AND state = 'deleting'"  # noqa: S608
        " AND NOT EXISTS (SELECT FROM tasks WHERE id = :task_id)"
    ).bindparams(*_KEY),
    text(
        "UPDATE artifacts SET state = 'deleted', due_at = NULL, leased_until = NULL, object = NULL"  # noqa: S608
        f" WHERE {_OURS} AND state = 'deleting'"
    ).bindparams(*_KEY),
)


async def removed(connection: AsyncConnection, due: DueArtifact) -> None:
    """Record that the object is gone: of a task that is gone, the row goes too."""
    for statement in _REMOVED:
        await connection.execute(statement, _ours(due))
