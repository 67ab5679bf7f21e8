"""How clients' URLs do: those that fail are called rarely, those that are slow by few at once."""

from uuid import UUID

from sqlalchemy import BigInteger, Float, Text, Uuid, bindparam, case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery import NOTED_FROM, SLOW_SHARE
from app.store.sql import NOW, interval, later, seconds
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
).returning(
    DeliveryUrl.failures, func.greatest(0.0, seconds(DeliveryUrl.held_until - NOW), type_=Float)
)
_ANSWERED_LATE = _NEW.on_conflict_do_update(
    index_elements=_KEY,
    set_={"failures": 0, "held_until": None, "seconds": _MEAN, "noted_at": NOW},
).returning(DeliveryUrl.seconds)
_ANSWERED = (
    update(DeliveryUrl)
    .where(*_THIS)
    .values(failures=0, held_until=None, seconds=_MEAN, noted_at=NOW)
)
_WELL = delete(DeliveryUrl).where(*_THIS, _MEAN < NOTED_FROM)


async def failed(
    connection: AsyncConnection, client_id: UUID, url: str, host: str, took: float
) -> tuple[int, float]:
    """Note that nothing was answered within so many seconds.

    From now on the URL is called more rarely: half a second after the first failure, a minute in
    the end. Returns how often that was so in a row, and in how many seconds it is called next.
    """
    given = {"of_client": client_id, "of_url": url, "of_host": host, "took": took}
    failures, held = (await connection.execute(_FAILED, {**given, "failed": 1})).one()
    return int(failures), float(held)


async def answered(
    connection: AsyncConnection,
    client_id: UUID,
    url: str,
    host: str,
    took: float,
    *,
    noted: bool,
) -> float:
    """Note that something was answered after so many seconds; of a quick URL nothing is kept.

    `noted`: something is known of it. Returns what an attempt takes, in the mean, where this one
    took long; else 0.
    """
    given = {"of_client": client_id, "of_url": url, "took": took}
    if took >= NOTED_FROM:
        late = {**given, "of_host": host, "failed": 0}
        mean: float = (await connection.execute(_ANSWERED_LATE, late)).scalar_one()
        return mean
    if noted:
        await connection.execute(_WELL, given)
        await connection.execute(_ANSWERED, given)
    return 0.0


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
