"""Clients and their keys."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import LargeBinary, RowMapping, Text, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.sql import NOW, later
from app.store.tables import ApiKey, Client, ClientQueue

_BY_DIGEST = select(ApiKey.client_id).where(
    ApiKey.digest == bindparam("digest"), ApiKey.revoked_at.is_(None)
)


async def client_by_key(connection: AsyncConnection, digest: bytes) -> UUID | None:
    """Return the client whose living key has this SHA-256."""
    return await connection.scalar(_BY_DIGEST, {"digest": digest})


_WEBHOOK_HOSTS = select(Client.webhook_hosts).where(Client.id == bindparam("client_id"))


async def webhook_hosts(connection: AsyncConnection, client_id: UUID) -> list[str] | None:
    """Return the only hosts that the client may be notified at; None: any."""
    return await connection.scalar(_WEBHOOK_HOSTS, {"client_id": client_id})


_SEES_BALANCE = select(Client.sees_balance).where(Client.id == bindparam("client_id"))


async def sees_balance(connection: AsyncConnection, client_id: UUID) -> bool:
    """Return whether the client may ask for the account's credits."""
    return bool(await connection.scalar(_SEES_BALANCE, {"client_id": client_id}))


_NAMED = Client.name == bindparam("client_name", type_=Text)
_WEBHOOKS = select(Client.webhook_url, Client.webhook_hosts).where(_NAMED).with_for_update()


async def lock_webhooks(connection: AsyncConnection, name: str) -> RowMapping | None:
    """Return `webhook_url` and `webhook_hosts`, held until the commit; None: no such client."""
    found = await connection.execute(_WEBHOOKS, {"client_name": name})
    return found.mappings().one_or_none()


async def set_settings(
    connection: AsyncConnection,
    name: str,
    values: Mapping[str, str | Sequence[str] | float | None],
) -> None:
    """Set how the client is notified and what it may see; `values` by column."""
    await connection.execute(update(Client).where(Client.name == name).values(**values))


_SECRET = (
    select(Client.signing_secret, Client.previous_secret_until).where(_NAMED).with_for_update()
)
_ROTATE = (
    update(Client)
    .where(_NAMED)
    .values(
        signing_secret=bindparam("new_secret", type_=LargeBinary),
        previous_secret=bindparam("kept", type_=LargeBinary),
        previous_secret_until=later("grace"),
    )
    .returning(Client.previous_secret_until)
)


async def lock_secret(connection: AsyncConnection, name: str) -> RowMapping | None:
    """Return `signing_secret` and `previous_secret_until`, held until the commit; None: no such."""
    return (await connection.execute(_SECRET, {"client_name": name})).mappings().one_or_none()


async def rotate_secret(
    connection: AsyncConnection, name: str, new: bytes, *, kept: bytes | None, grace: float | None
) -> datetime | None:
    """Sign with the new secret, and with the `kept` one for `grace` seconds; returns until when."""
    parameters = {"client_name": name, "new_secret": new, "kept": kept, "grace": grace}
    return await connection.scalar(_ROTATE, parameters)


_INSERT_CLIENT = insert(Client).on_conflict_do_nothing(index_elements=[Client.name])


_INSERT_QUEUE = insert(ClientQueue).on_conflict_do_nothing()


async def ensure_client(
    connection: AsyncConnection, *, client_id: UUID, name: str, signing_secret: bytes
) -> tuple[UUID, bytes]:
    """Create the client if its name is new; return its id and encrypted secret either way."""
    await connection.execute(
        _INSERT_CLIENT.values(id=client_id, name=name, signing_secret=signing_secret)
    )
    row = await connection.execute(
        select(Client.id, Client.signing_secret).where(Client.name == name)
    )
    found = row.one()
    await connection.execute(_INSERT_QUEUE.values(client_id=found.id))
    return found.id, found.signing_secret


async def insert_key(
    connection: AsyncConnection, *, key_id: UUID, client_id: UUID, digest: bytes, hint: str
) -> None:
    """Store a key's digest; a second time under the same id changes nothing."""
    statement = insert(ApiKey).on_conflict_do_nothing(index_elements=[ApiKey.id])
    await connection.execute(
        statement.values(id=key_id, client_id=client_id, digest=digest, hint=hint)
    )


async def list_keys(connection: AsyncConnection) -> list[dict[str, Any]]:
    """Return every key with its client's name, oldest first."""
    statement = (
        select(
            Client.name.label("client"),
            ApiKey.id,
            ApiKey.hint,
            ApiKey.created_at,
            ApiKey.revoked_at,
        )
        .join(Client, Client.id == ApiKey.client_id)
        .order_by(Client.name, ApiKey.created_at)
    )
    return [dict(row) for row in (await connection.execute(statement)).mappings()]


async def revoke_keys(connection: AsyncConnection, which: str) -> list[dict[str, Any]]:
    """Revoke the living keys whose id or hint is `which`; return what lists show of each."""
    statement = (
        update(ApiKey)
        .where(
            ApiKey.client_id == Client.id,
            ApiKey.revoked_at.is_(None),
            (func.cast(ApiKey.id, ApiKey.hint.type) == which) | (ApiKey.hint == which),
        )
        .values(revoked_at=NOW)
        .returning(Client.name.label("client"), ApiKey.id, ApiKey.hint)
    )
    return [dict(row) for row in (await connection.execute(statement)).mappings()]


async def count_living_keys(connection: AsyncConnection) -> int:
    statement = select(func.count()).where(ApiKey.revoked_at.is_(None))
    return await connection.scalar(statement) or 0
