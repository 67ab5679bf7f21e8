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
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.uploads import NewFile
from app.store.sql import NOW, given, interval, later, seconds_since
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


_FORGET_OLD = (
    delete(File)
    .where(
        File.id.in_(
            select(File.id)
            .where(File.created_at < NOW - interval("age"), File.expires_at < NOW)
            .order_by(File.created_at)
            .limit(given("limit", Integer))
        )
    )
    .returning(File.object_name)
)
_FORGET_CLIENTS = delete(File).where(_OWN).returning(File.object_name)


async def forget_old(
    connection: AsyncConnection, *, age: float, limit: int
) -> Sequence[str | None]:
    """Delete up to `limit` files that are older than `age` seconds and that kie.ai has not either.

    Returns, for each, where the archive has a copy: that is the caller's to delete.
    """
    return (await connection.scalars(_FORGET_OLD, {"age": age, "given_limit": limit})).all()


async def forget_clients(connection: AsyncConnection, client_id: UUID) -> Sequence[str | None]:
    """Delete all files of a client; returns as `forget_old`."""
    return (await connection.scalars(_FORGET_CLIENTS, {"client_id": client_id})).all()
