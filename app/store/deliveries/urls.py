"""Clients' URLs that fail, and those that are not called any more."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Integer, RowMapping, Text, Uuid, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery import DeliveryState, DisableReason
from app.store.sql import NOW, interval, lease_is_free, seconds_since
from app.store.tables import Client, Delivery, DisabledUrl, FailingUrl

_CLIENT = bindparam("of_client", type_=Uuid)
_URL = bindparam("of_url", type_=Text)


# -- failing

_FAILED = (
    insert(FailingUrl)
    .values(client_id=_CLIENT, url=_URL, exhausted=bindparam("exhausted", type_=Integer))
    .on_conflict_do_update(
        index_elements=["client_id", "url"],
        set_={
            "failed_at": NOW,
            "exhausted": FailingUrl.exhausted + bindparam("exhausted", type_=Integer),
        },
    )
    .returning(seconds_since(FailingUrl.since).label("seconds"), FailingUrl.exhausted)
)


async def failed(
    connection: AsyncConnection, client_id: UUID, url: str, *, exhausted: bool
) -> tuple[float, int]:
    """Note a failed attempt, and whether it `exhausted` its delivery.

    Returns for how many seconds nothing but failures has come from there, and how many deliveries
    were exhausted in that time.
    """
    given = {"of_client": client_id, "of_url": url, "exhausted": int(exhausted)}
    row = (await connection.execute(_FAILED, given)).one()
    return row.seconds, row.exhausted


_SUCCEEDED = delete(FailingUrl).where(FailingUrl.client_id == _CLIENT, FailingUrl.url == _URL)


async def succeeded(connection: AsyncConnection, client_id: UUID, url: str) -> None:
    """Forget that the URL had failed."""
    await connection.execute(_SUCCEEDED, {"of_client": client_id, "of_url": url})


_OLD = (
    select(FailingUrl.client_id, FailingUrl.url)
    .where(FailingUrl.failed_at < NOW - interval("age"))
    .order_by(FailingUrl.failed_at)
    .limit(100)
    .with_for_update(skip_locked=True)
    .cte("old")
)
_FORGET = delete(FailingUrl).where(
    FailingUrl.client_id == _OLD.c.client_id, FailingUrl.url == _OLD.c.url
)


async def forget(connection: AsyncConnection, age: float) -> None:
    """Drop some of the URLs that were last called `age` seconds ago: many are used but once."""
    await connection.execute(_FORGET, {"age": age})


# -- disabled

_DISABLE = (
    insert(DisabledUrl)
    .values(client_id=_CLIENT, url=_URL, reason=bindparam("reason", type_=Text))
    .on_conflict_do_nothing()
    .returning(select(Client.name).where(Client.id == _CLIENT).scalar_subquery())
)
_END_PENDING = (
    update(Delivery)
    .where(
        Delivery.client_id == _CLIENT,
        Delivery.url == _URL,
        Delivery.state == DeliveryState.PENDING.value,
        lease_is_free(Delivery),
    )
    .values(state=DeliveryState.DISABLED, due_at=None, leased_until=None, finished_at=NOW)
)


async def disable(
    connection: AsyncConnection, client_id: UUID, url: str, reason: DisableReason
) -> str | None:
    """Call the URL no more for this client, and end what waits for it.

    Returns the client's name; None: it was disabled already. Attempts that are under way settle
    themselves: two of them answered with 410 at once would wait for each other's rows.
    """
    given = {"of_client": client_id, "of_url": url}
    name: str | None = await connection.scalar(_DISABLE, {**given, "reason": reason})
    await connection.execute(_END_PENDING, given)
    await connection.execute(_SUCCEEDED, given)
    return name


_IS_DISABLED = select(DisabledUrl.reason).where(
    DisabledUrl.client_id == _CLIENT, DisabledUrl.url == _URL
)


async def is_disabled(connection: AsyncConnection, client_id: UUID, url: str) -> bool:
    """Return whether the URL is not called for this client.

    To be asked after `failed`, which waits for the transaction that may be disabling it.
    """
    given = {"of_client": client_id, "of_url": url}
    return await connection.scalar(_IS_DISABLED, given) is not None


_ENABLE = (
    delete(DisabledUrl)
    .where(DisabledUrl.client_id == _CLIENT, DisabledUrl.url == _URL)
    .returning(DisabledUrl.url)
)


async def enable(connection: AsyncConnection, client_id: UUID, url: str) -> bool:
    """Call the URL again for this client, as one that never failed; False: it was not disabled."""
    given = {"of_client": client_id, "of_url": url}
    if await connection.scalar(_ENABLE, given) is None:
        return False
    await connection.execute(_SUCCEEDED, given)
    return True


_LISTED = (
    select(DisabledUrl.url, DisabledUrl.reason, DisabledUrl.disabled_at)
    .where(DisabledUrl.client_id == _CLIENT)
    .order_by(DisabledUrl.disabled_at.desc(), DisabledUrl.url)
    .limit(bindparam("limit"))
)


async def disabled(
    connection: AsyncConnection, client_id: UUID, *, limit: int
) -> Sequence[RowMapping]:
    """Return the client's URLs that are not called, the newest first."""
    rows = await connection.execute(_LISTED, {"of_client": client_id, "limit": limit})
    return rows.mappings().all()


_OF_ALL = (
    select(
        Client.name.label("client"),
        DisabledUrl.url,
        DisabledUrl.reason,
        DisabledUrl.disabled_at,
    )
    .join(Client, Client.id == DisabledUrl.client_id)
    .order_by(DisabledUrl.disabled_at.desc(), DisabledUrl.url)
    .limit(bindparam("limit"))
)


async def disabled_of_all(connection: AsyncConnection, *, limit: int) -> Sequence[RowMapping]:
    """Return the URLs of all clients that are not called, newest first."""
    return (await connection.execute(_OF_ALL, {"limit": limit})).mappings().all()


_NAMED = (
    select(DisabledUrl.client_id, DisabledUrl.url)
    .join(Client, Client.id == DisabledUrl.client_id)
    .where(
        Client.name == bindparam("client_name"),
        func.sha256(func.convert_to(DisabledUrl.url, "UTF8")) == bindparam("digest"),
    )
)


async def named(connection: AsyncConnection, client: str, digest: bytes) -> RowMapping | None:
    """Return `client_id` and `url` of a client's disabled URL by its SHA-256; None: no such."""
    given = {"client_name": client, "digest": digest}
    return (await connection.execute(_NAMED, given)).mappings().one_or_none()
