"""Clients and their keys."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    LargeBinary,
    RowMapping,
    Text,
    Uuid,
    bindparam,
    false,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access import Caller
from app.domain.limits import LIMITS, Allowance
from app.store.sql import NOW, later, seconds_since
from app.store.tables import ApiKey, Client, ClientQueue

_OVER = ApiKey.revoked_at.is_not(None)
_EXPIRED = func.coalesce(ApiKey.expires_at <= NOW, false())
_DISABLED = ClientQueue.disabled_at.is_not(None)
_BY_DIGEST = (
    select(
        ApiKey.id,
        ApiKey.client_id,
        ApiKey.scopes,
        _OVER.label("revoked"),
        _EXPIRED.label("expired"),
        (-seconds_since(ApiKey.expires_at)).label("expires_in"),
        _DISABLED.label("disabled"),
        Client.name.label("client"),
        Client.requests_per_second,
        Client.streams,
        Client.waits,
    )
    .join(Client, Client.id == ApiKey.client_id)
    .outerjoin(ClientQueue, ClientQueue.client_id == ApiKey.client_id)
    .where(ApiKey.digest == bindparam("digest"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundKey:
    """A key, whose it is and how it stands."""

    caller: Caller
    scopes: Sequence[str] | None
    """None: all."""
    revoked: bool
    expired: bool
    disabled: bool
    """Its client is."""
    expires_in: float | None
    """Seconds; None: never."""


async def find_key(connection: AsyncConnection, digest: bytes) -> FoundKey | None:
    """Return the key with this SHA-256; None: there is none."""
    row = (await connection.execute(_BY_DIGEST, {"digest": digest})).one_or_none()
    if row is None:
        return None
    allowance = Allowance(**{name: getattr(row, name) for name in LIMITS})
    return FoundKey(
        caller=Caller(
            client_id=row.client_id, key_id=row.id, client=row.client, allowance=allowance
        ),
        scopes=row.scopes,
        revoked=row.revoked,
        expired=row.expired,
        disabled=row.disabled,
        expires_in=row.expires_in,
    )


_IDS = ApiKey.id == bindparam("ids", type_=ARRAY(Uuid)).any_()
_LIVING = (
    select(ApiKey.id)
    .outerjoin(ClientQueue, ClientQueue.client_id == ApiKey.client_id)
    .where(_IDS, ~_OVER, ~_EXPIRED, ~_DISABLED)
)
_FREE = select(ApiKey.id).where(_IDS).with_for_update(skip_locked=True).cte("free")
_USED = update(ApiKey).where(ApiKey.id == _FREE.c.id).values(last_used_at=NOW)


async def living(connection: AsyncConnection, ids: Collection[UUID]) -> set[UUID]:
    """Return those of the keys that open something still."""
    return set(await connection.scalars(_LIVING, {"ids": sorted(ids)}))


async def note_used(connection: AsyncConnection, ids: Collection[UUID]) -> None:
    """Note that these keys were used just now; what another process notes is left to it."""
    await connection.execute(_USED, {"ids": sorted(ids)})


_WEBHOOK_HOSTS = select(Client.webhook_hosts).where(Client.id == bindparam("client_id"))


async def webhook_hosts(connection: AsyncConnection, client_id: UUID) -> list[str] | None:
    """Return the only hosts that the client may be notified at; None: any."""
    return await connection.scalar(_WEBHOOK_HOSTS, {"client_id": client_id})


_SEES_BALANCE = select(Client.sees_balance).where(Client.id == bindparam("client_id"))


async def sees_balance(connection: AsyncConnection, client_id: UUID) -> bool:
    """Return whether the client may ask for the account's credits."""
    return bool(await connection.scalar(_SEES_BALANCE, {"client_id": client_id}))


_NAMED = Client.name == bindparam("client_name", type_=Text)
_ID = select(Client.id).where(_NAMED)
_NAME = select(Client.name).where(Client.id == bindparam("client_id", type_=Uuid))
_WEBHOOKS = select(Client.webhook_url, Client.webhook_hosts).where(_NAMED).with_for_update()


async def find_client(connection: AsyncConnection, name: str) -> UUID | None:
    """Return the id of the client of this name; None: there is none."""
    found: UUID | None = await connection.scalar(_ID, {"client_name": name})
    return found


async def name_of(connection: AsyncConnection, client_id: UUID) -> str | None:
    """Return the name of the client with this id; None: there is none."""
    found: str | None = await connection.scalar(_NAME, {"client_id": client_id})
    return found


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


_SEALED = (
    select(Client.id, Client.signing_secret, Client.previous_secret)
    .where(Client.id > func.coalesce(bindparam("after", type_=Uuid), UUID(int=0)))
    .order_by(Client.id)
    .limit(bindparam("limit"))
)
_SEALED_LOCKED = _SEALED.with_for_update()


async def sealed(
    connection: AsyncConnection, *, after: UUID | None, limit: int, lock: bool = False
) -> Sequence[RowMapping]:
    """Return the next clients' `id`, `signing_secret` and `previous_secret`, by their ids."""
    query = _SEALED_LOCKED if lock else _SEALED
    return (await connection.execute(query, {"after": after, "limit": limit})).mappings().all()


async def set_sealed(
    connection: AsyncConnection, client_id: UUID, values: Mapping[str, bytes | None]
) -> None:
    """Replace a client's secrets by the same, sealed otherwise."""
    await connection.execute(update(Client).where(Client.id == client_id).values(**values))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key to be stored."""

    id: UUID
    client_id: UUID
    digest: bytes = field(repr=False)
    hint: str
    scopes: Sequence[str] | None = None
    """None: all."""
    expires_at: datetime | None = None


async def insert_key(connection: AsyncConnection, new: NewKey) -> None:
    """Store a key's digest; a second time under the same id changes nothing."""
    statement = insert(ApiKey).on_conflict_do_nothing(index_elements=[ApiKey.id])
    await connection.execute(statement.values(**asdict(new)))


async def is_past(connection: AsyncConnection, instant: datetime) -> bool:
    """Tell whether the instant is over by the database's clock."""
    return bool(await connection.scalar(select(NOW.op(">=")(instant))))


async def list_keys(connection: AsyncConnection) -> list[dict[str, Any]]:
    """Return every key with its client's name, oldest first."""
    statement = (
        select(
            Client.name.label("client"),
            ApiKey.id,
            ApiKey.hint,
            ApiKey.scopes,
            ApiKey.created_at,
            ApiKey.expires_at,
            ApiKey.last_used_at,
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
    statement = select(func.count()).select_from(ApiKey).where(~_OVER, ~_EXPIRED)
    return await connection.scalar(statement) or 0
