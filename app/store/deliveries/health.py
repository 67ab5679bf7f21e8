"""How clients' URLs do: those that fail are called rarely, those that are slow by few at once."""

from uuid import UUID

from sqlalchemy import BigInteger, Float, Text, Uuid, bindparam, case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery import NOTED_FROM, SLOW_SHARE
from app.store.sql import NOW, interval, later
from app.store.tables import DeliveryUrl

_CLIENT = bindparam("of_client", type_=Uuid)
_LANE = func.hashtextextended(
    func.split_part(bindparam("of_url", type_=Text), "?", 1), 0, type_=BigInteger
)
_TOOK = bindparam("took", type_=Float)
_THIS = (DeliveryUrl.client_id == _CLIENT, DeliveryUrl.lane == _LANE)
_MEAN = DeliveryUrl.seconds + SLOW_SHARE * (_TOOK - DeliveryUrl.seconds)
_HOLD = func.least(60.0, 0.5 * func.power(2.0, func.least(DeliveryUrl.failures, 10)), type_=Float)

_NEW = insert(DeliveryUrl).values(
    client_id=_CLIENT,
    lane=_LANE,
    host=bindparam("of_host", type_=Text),
    failures=bindparam("failed"),
    held_until=case((bindparam("failed") > 0, NOW)),
    seconds=SLOW_SHARE * _TOOK,
)
_KEY = ("client_id", "lane")
_FAILED = _NEW.on_conflict_do_update(
    index_elements=_KEY,
    set_={
        "failures": DeliveryUrl.failures + 1,
        "held_until": later(_HOLD),
        "seconds": _MEAN,
        "noted_at": NOW,
    },
)
_ANSWERED_LATE = _NEW.on_conflict_do_update(
    index_elements=_KEY,
    set_={"failures": 0, "held_until": None, "seconds": _MEAN, "noted_at": NOW},
)
_ANSWERED = (
    update(DeliveryUrl)
    .where(*_THIS)
    .values(failures=0, held_until=None, seconds=_MEAN, noted_at=NOW)
)
_WELL = delete(DeliveryUrl).where(*_THIS, _MEAN < NOTED_FROM)


async def failed(
    connection: AsyncConnection, client_id: UUID, url: str, host: str, seconds: float
) -> None:
    """Note that nothing was answered within so many seconds.

    From now on the URL is called more rarely: half a second after the first failure, a minute in
    the end.
    """
    given = {"of_client": client_id, "of_url": url, "of_host": host, "took": seconds}
    await connection.execute(_FAILED, {**given, "failed": 1})


async def answered(
    connection: AsyncConnection,
    client_id: UUID,
    url: str,
    host: str,
    seconds: float,
    *,
    noted: bool,
) -> None:
    """Note that something was answered after so many seconds; of a quick URL nothing is kept.

    `noted`: something is known of it.
    """
    given = {"of_client": client_id, "of_url": url, "took": seconds}
    if seconds >= NOTED_FROM:
        await connection.execute(_ANSWERED_LATE, {**given, "of_host": host, "failed": 0})
    elif noted:
        await connection.execute(_WELL, given)
        await connection.execute(_ANSWERED, given)


_OLD = (
    select(DeliveryUrl.client_id, DeliveryUrl.lane)
    .where(DeliveryUrl.noted_at < NOW - interval("age"))
    .order_by(DeliveryUrl.noted_at)
    .limit(100)
    .with_for_update(skip_locked=True)
    .cte("old")
)
_FORGET = delete(DeliveryUrl).where(
    DeliveryUrl.client_id == _OLD.c.client_id, DeliveryUrl.lane == _OLD.c.lane
)


async def forget(connection: AsyncConnection, age: float) -> None:
    """Drop some of what was noted more than `age` seconds ago: many URLs are used but once."""
    await connection.execute(_FORGET, {"age": age})
