"""Files that kie.ai has: recorded once they are whole, listed, renewed, forgotten."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    RowMapping,
    Uuid,
    bindparam,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.uploads import NewFile
from app.store.sql import given, later, seconds_since
from app.store.tables import File

ANSWERED: tuple[ColumnElement[Any], ...] = (
    File.__table__.c.id,
    File.__table__.c.name,
    File.__table__.c.content_type,
    File.__table__.c.bytes,
    func.encode(File.sha256, "hex").label("sha256"),
    File.__table__.c.url,
    File.__table__.c.expires_at,
    File.__table__.c.created_at,
)
"""What callers see, in the order of the answer."""

_COPIED = ("id", "client_id", "name", "content_type", "bytes", "sha256", "url", "object_name")
_NEW = insert(File).values(
    {name: bindparam(name) for name in _COPIED} | {"expires_at": later("lives")}
)
_INSERT = _NEW.on_conflict_do_update(
    index_elements=["id"], set_={"id": _NEW.excluded.id}
).returning(*ANSWERED)
"""A second try finds the row of the first, whose commit was not answered."""


async def insert_file(connection: AsyncConnection, new: NewFile) -> Mapping[str, Any]:
    """Record a file; returns it as its client sees it."""
    return dict((await connection.execute(_INSERT, asdict(new))).mappings().one())


_OWN = File.client_id == bindparam("client_id", type_=Uuid)
_READ = select(*ANSWERED).where(File.id == bindparam("id", type_=Uuid), _OWN)


async def read_file(
    connection: AsyncConnection, *, client_id: UUID, file_id: UUID
) -> RowMapping | None:
    """Return the file as its client sees it; None: it has no such file."""
    rows = await connection.execute(_READ, {"id": file_id, "client_id": client_id})
    return rows.mappings().one_or_none()


_LIST = select(*ANSWERED).where(_OWN).order_by(File.id.desc()).limit(given("limit", Integer))
_LIST_ON = _LIST.where(File.id < given("after", Uuid))


async def list_files(
    connection: AsyncConnection, *, client_id: UUID, after: UUID | None, limit: int
) -> Sequence[RowMapping]:
    """Return so many of the client's files, the newest first, behind `after`."""
    parameters = {"client_id": client_id, "given_limit": limit, "given_after": after}
    if after is None:
        del parameters["given_after"]
    statement = _LIST if after is None else _LIST_ON
    return (await connection.execute(statement, parameters)).mappings().all()


_NAMED = select(
    File.id,
    File.name,
    File.content_type,
    File.bytes,
    File.sha256,
    File.url,
    File.object_name,
    (-seconds_since(File.expires_at)).label("left"),
).where(File.id == bindparam("ids", type_=ARRAY(Uuid)).any_(), _OWN)


async def named_files(
    connection: AsyncConnection, *, client_id: UUID, ids: Collection[UUID]
) -> Mapping[UUID, RowMapping]:
    """Return those of the files that are the client's; `left`: seconds until kie.ai deletes it."""
    rows = await connection.execute(_NAMED, {"ids": list(ids), "client_id": client_id})
    return {row["id"]: row for row in rows.mappings()}


_RENEW = (
    update(File)
    .where(File.id == given("id", Uuid))
    .values(url=given("url"), expires_at=later("given_lives"))
    .returning(File.id)
)


async def renew_file(connection: AsyncConnection, file_id: UUID, url: str, *, lives: float) -> bool:
    """Record that a file was uploaded again; False: it was forgotten meanwhile."""
    parameters = {"given_id": file_id, "given_url": url, "given_lives": lives}
    return await connection.scalar(_RENEW, parameters) is not None


_OWED = """
WITH gone AS (
    DELETE FROM files WHERE {which} RETURNING id, client_id, object_name
), owed AS (
    INSERT INTO artifacts (task_id, n, client_id, kind, digest, state, object, due_at)
    SELECT id, 0, client_id, 'url', '', 'deleting', object_name, clock_timestamp() FROM gone
    WHERE object_name IS NOT NULL
)
SELECT count(*) FROM gone
"""
"""Who removes copies of results removes these as well; until then a row says where they are."""
_FORGET_OLD = text(
    _OWED.format(
        which="""id IN (
        SELECT id FROM files
        WHERE created_at < clock_timestamp() - make_interval(secs => :after)
            AND expires_at < clock_timestamp()
        ORDER BY created_at LIMIT :limit)"""
    )
)
_FORGET_CLIENTS = text(_OWED.format(which="client_id = :client_id")).bindparams(
    bindparam("client_id", type_=Uuid)
)


async def forget_old(connection: AsyncConnection, *, after: float, limit: int) -> int:
    """Delete up to `limit` files that are older than `after` seconds, and that kie.ai has deleted.

    Returns how many.
    """
    return await connection.scalar(_FORGET_OLD, {"after": after, "limit": limit}) or 0


async def forget_clients(connection: AsyncConnection, client_id: UUID) -> int:
    """Delete all files of a client; returns as `forget_old`."""
    return await connection.scalar(_FORGET_CLIENTS, {"client_id": client_id}) or 0
