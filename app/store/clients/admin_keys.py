"""Operators' keys, which the admin API is opened with."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, RowMapping, Uuid, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access import Role
from app.store.sql import NOW
from app.store.tables import AdminKey

_SHOWN = (
    AdminKey.id,
    AdminKey.name,
    AdminKey.role,
    AdminKey.hint,
    AdminKey.created_at,
    AdminKey.revoked_at,
    AdminKey.last_used_at,
)
_BY_DIGEST = select(
    AdminKey.id, AdminKey.name, AdminKey.role, AdminKey.revoked_at.is_not(None).label("revoked")
).where(AdminKey.digest == bindparam("digest"))
_BY_ID = select(AdminKey.name, AdminKey.role, AdminKey.digest).where(
    AdminKey.id == bindparam("key_id", type_=Uuid), AdminKey.revoked_at.is_(None)
)
_ANY_LIVING = select(select(AdminKey.id).where(AdminKey.revoked_at.is_(None)).exists())
_LIST = select(*_SHOWN).order_by(AdminKey.created_at, AdminKey.name)
_INSERT = insert(AdminKey).on_conflict_do_nothing().returning(AdminKey.id)
_ID = select(AdminKey.id).where(AdminKey.name == bindparam("key_name"))
_REVOKE = (
    update(AdminKey)
    .where(AdminKey.name == bindparam("key_name"), AdminKey.revoked_at.is_(None))
    .values(revoked_at=NOW)
    .returning(AdminKey.hint)
)
_FREE = (
    select(AdminKey.id)
    .where(AdminKey.id == bindparam("ids", type_=ARRAY(Uuid)).any_())
    .with_for_update(skip_locked=True)
    .cte("free")
)
_USED = update(AdminKey).where(AdminKey.id == _FREE.c.id).values(last_used_at=NOW)


async def find(connection: AsyncConnection, digest: bytes) -> RowMapping | None:
    """Return `id`, `name`, `role` and `revoked` of the key with this SHA-256."""
    found = await connection.execute(_BY_DIGEST, {"digest": digest})
    return found.mappings().one_or_none()


async def find_living(connection: AsyncConnection, key_id: UUID) -> RowMapping | None:
    """Return `name`, `role` and `digest` of the key with this id; None: it is revoked, or none."""
    found = await connection.execute(_BY_ID, {"key_id": key_id})
    return found.mappings().one_or_none()


async def any_living(connection: AsyncConnection) -> bool:
    """Return whether there is a key that opens anything."""
    return bool(await connection.scalar(_ANY_LIVING))


async def list_all(connection: AsyncConnection) -> list[dict[str, Any]]:
    """Return every key, oldest first."""
    return [dict(row) for row in (await connection.execute(_LIST)).mappings()]


async def insert_key(
    connection: AsyncConnection, *, key_id: UUID, name: str, role: Role, digest: bytes, hint: str
) -> bool:
    """Store a key's digest; False: another key has, or had, this name.

    A second time under the same id changes nothing.
    """
    values = {"id": key_id, "name": name, "role": role, "digest": digest, "hint": hint}
    if await connection.scalar(_INSERT, values) is not None:
        return True
    return await connection.scalar(_ID, {"key_name": name}) == key_id


async def revoke(connection: AsyncConnection, name: str) -> str | None:
    """Revoke the living key of this name; returns its hint, None: there is none."""
    return await connection.scalar(_REVOKE, {"key_name": name})


async def note_used(connection: AsyncConnection, ids: Collection[UUID]) -> None:
    """Note that these keys were used just now; what another process notes is left to it."""
    await connection.execute(_USED, {"ids": sorted(ids)})
