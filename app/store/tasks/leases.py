"""Leases on tasks, renewed while a process is at work on them."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.sql import NOW, later
from app.store.tables import Task

_RENEW = (
    update(Task)
    .where(Task.id == bindparam("ids", type_=ARRAY(Uuid)).any_(), Task.leased_until > NOW)
    .values(leased_until=later("lease"))
)


async def renew(connection: AsyncConnection, ids: Collection[UUID], *, lease: float) -> None:
    """Renew the leases that still hold; one that is over stays over."""
    await connection.execute(_RENEW, {"ids": list(ids), "lease": lease})
