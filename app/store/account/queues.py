"""The clients' places in the fair queue, as operators see and change them."""

from collections.abc import Sequence

from sqlalchemy import (
    Boolean,
    Integer,
    RowMapping,
    Text,
    bindparam,
    case,
    func,
    null,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.task import State
from app.store.sql import NOW, as_given, given, state_literal
from app.store.tables import Client, ClientQueue, Task

_NAME = bindparam("client_name", type_=Text)
_NAMED = ClientQueue.client_id == select(Client.id).where(Client.name == _NAME).scalar_subquery()

_PAUSE = (
    update(ClientQueue)
    .where(_NAMED)
    .values(
        paused_at=func.coalesce(ClientQueue.paused_at, NOW),
        pause_note=bindparam("note", type_=Text),
    )
    .returning(ClientQueue.client_id)
)
_RESUME = (
    update(ClientQueue)
    .where(_NAMED)
    .values(paused_at=null(), pause_note=null())
    .returning(ClientQueue.client_id)
)
_DISABLE = (
    update(ClientQueue)
    .where(_NAMED)
    .values(disabled_at=case((given("off", Boolean), func.coalesce(ClientQueue.disabled_at, NOW))))
)
_WEIGH = (
    update(Client)
    .where(Client.name == _NAME)
    .values(weight=bindparam("new_weight", type_=Integer))
    .returning(Client.id)
)


async def pause(connection: AsyncConnection, client: str, note: str | None) -> bool:
    """Admit none of the client's tasks; False: there is no client of this name."""
    parameters = {"client_name": client, "note": note}
    return await connection.scalar(_PAUSE, parameters) is not None


async def resume(connection: AsyncConnection, client: str) -> bool:
    """Admit the client's tasks again; False: there is no client of this name."""
    return await connection.scalar(_RESUME, {"client_name": client}) is not None


async def disable(connection: AsyncConnection, client: str, *, off: bool) -> None:
    """Send nothing more of the client, and refuse its keys; or, not `off`, no longer."""
    await connection.execute(_DISABLE, {"client_name": client, **as_given(off=off)})


async def weigh(connection: AsyncConnection, client: str, weight: int) -> bool:
    """Give the client another share; False: there is no client of this name."""
    parameters = {"client_name": client, "new_weight": weight}
    return await connection.scalar(_WEIGH, parameters) is not None


_WAITING = (
    select(func.count())
    .select_from(Task)
    .where(Task.client_id == Client.id, Task.state == state_literal(State.QUEUED))
    .scalar_subquery()
)

_LIST = (
    select(
        Client.name.label("client"),
        Client.weight,
        ClientQueue.paused_at,
        ClientQueue.pause_note,
        ClientQueue.disabled_at,
        _WAITING.label("queued"),
        Client.webhook_url,
        Client.webhook_hosts,
        Client.webhook_events,
        Client.previous_secret_until,
        Client.sees_balance,
        Client.requests_per_second,
        Client.streams,
        Client.waits,
        Client.running_share,
        Client.queued_tasks,
        Client.queued_bytes,
        Client.archives,
        Client.archive_days,
        Client.created_at,
    )
    .join(ClientQueue, ClientQueue.client_id == Client.id)
    .order_by(Client.name)
)


async def list_queues(connection: AsyncConnection) -> Sequence[RowMapping]:
    """Return every client with its share, what of it waits, and how it is notified."""
    return (await connection.execute(_LIST)).mappings().all()


_ONE = _LIST.where(Client.name == _NAME)


async def read_queue(connection: AsyncConnection, client: str) -> RowMapping | None:
    """Return one client as the list shows it; None: there is no client of this name."""
    found = await connection.execute(_ONE, {"client_name": client})
    return found.mappings().one_or_none()
