"""The breakers' rows: what is known against pairs, kept while it matters.

Locks are taken in one order everywhere: the task's row, the account's, a slot's, a breaker's. Who
writes a breaker holds the account's row, so writers never meet; the sweep does not, and waits for
nobody.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import (
    Float,
    Integer,
    RowMapping,
    Text,
    Uuid,
    bindparam,
    case,
    delete,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.admission import HoldReason, Pair
from app.domain.breaker import BREAKERS_PER_CLIENT, Breaker
from app.store.account.pairs import HELD_PAIR
from app.store.sql import NOW, interval, later
from app.store.tables import Client, KieBreaker

_CLIENT = bindparam("pair_client", type_=Uuid)
_MODEL = bindparam("pair_model", type_=Text)
_OF_PAIR = (KieBreaker.client_id == _CLIENT, KieBreaker.model == _MODEL)


def _named(pair: Pair) -> dict[str, object]:
    return {"pair_client": pair.client_id, "pair_model": pair.model}


_REASON = bindparam("new_reason", type_=Text)
_NEW = insert(KieBreaker).values(
    client_id=_CLIENT,
    model=_MODEL,
    hold_reason=_REASON,
    hold_detail=bindparam("new_detail", type_=Text),
    hold_tries=bindparam("new_tries", type_=Integer),
    unknowns=bindparam("new_unknowns", type_=Integer),
    held_since=case((_REASON.is_not(None), NOW)),
    held_at=case((_REASON.is_not(None), NOW)),
    held_until=later("new_wait"),
    updated_at=NOW,
)
_CHANGED = ("hold_reason", "hold_detail", "hold_tries", "unknowns", "held_at", "held_until")
_KEPT = _NEW.on_conflict_do_update(
    index_elements=["client_id", "model"],
    set_={
        **{name: _NEW.excluded[name] for name in (*_CHANGED, "updated_at")},
        "held_since": func.coalesce(KieBreaker.held_since, _NEW.excluded.held_since),
    },
)
_BEYOND = (
    select(KieBreaker.client_id, KieBreaker.model)
    .where(KieBreaker.client_id == _CLIENT, KieBreaker.model != _MODEL)
    .order_by(KieBreaker.held_until.desc().nulls_last(), KieBreaker.model)
    .offset(BREAKERS_PER_CLIENT - 1)
    .cte("beyond")
)
_REMOVED = delete(KieBreaker).where(
    KieBreaker.client_id == _BEYOND.c.client_id, KieBreaker.model == _BEYOND.c.model
)
_KEEP = (
    select(func.count())
    .select_from(_KEPT.returning(KieBreaker.model).cte("kept"))
    .add_cte(_REMOVED.cte("removed"))
)


async def keep_breaker(
    connection: AsyncConnection,
    pair: Pair,
    after: Breaker,
    *,
    detail: str | None,
    wait: float | None,
) -> None:
    """Keep what is known against the pair; a hold is probed after `wait` seconds.

    The caller holds the account's row. Of too many pairs of one client those go whose holds end
    first, after those that are not held.
    """
    parameters = {
        **_named(pair),
        "new_reason": after.hold_reason,
        "new_detail": detail,
        "new_tries": after.hold_tries,
        "new_unknowns": after.unknowns,
        "new_wait": wait,
    }
    await connection.execute(_KEEP, parameters)


_FORGET = delete(KieBreaker).where(*_OF_PAIR)


async def forget_breaker(connection: AsyncConnection, pair: Pair) -> None:
    """Let nothing be known against the pair; the caller holds the account's row."""
    await connection.execute(_FORGET, _named(pair))


IS_OLD = (
    func.greatest(KieBreaker.held_until, KieBreaker.updated_at)
    + interval(bindparam("after", type_=Float))
    < NOW
)
_OLD = (
    select(KieBreaker.client_id, KieBreaker.model)
    .where(IS_OLD)
    .limit(bindparam("limit", type_=Integer))
    .with_for_update(skip_locked=True)
    .cte("old")
)
_FORGET_OLD = (
    delete(KieBreaker)
    .where(KieBreaker.client_id == _OLD.c.client_id, KieBreaker.model == _OLD.c.model)
    .returning(KieBreaker.model)
)


async def forget_old(connection: AsyncConnection, *, after: float, limit: int) -> int:
    """Remove breakers of which nothing was heard for so many seconds; returns how many."""
    found = await connection.execute(_FORGET_OLD, {"after": after, "limit": limit})
    return len(found.all())


_LIST = (
    select(
        Client.name.label("client"),
        KieBreaker.model,
        KieBreaker.hold_reason,
        KieBreaker.hold_detail,
        KieBreaker.held_since,
        KieBreaker.held_until,
        KieBreaker.hold_tries,
    )
    .join(Client, Client.id == KieBreaker.client_id)
    .where(HELD_PAIR)
    .order_by(KieBreaker.hold_tries.desc(), KieBreaker.held_since, Client.name, KieBreaker.model)
    .limit(bindparam("limit", type_=Integer))
)


async def list_held(connection: AsyncConnection, *, limit: int) -> Sequence[RowMapping]:
    """Return the held pairs as operators see them, those first whose probes failed most often."""
    return (await connection.execute(_LIST, {"limit": limit})).mappings().all()


COUNTS = (
    select(KieBreaker.hold_reason, func.count().label("pairs"))
    .where(HELD_PAIR)
    .group_by(KieBreaker.hold_reason)
)


async def count_held(connection: AsyncConnection) -> Mapping[HoldReason, int]:
    """Return how many pairs are held, by reason."""
    rows = await connection.execute(COUNTS)
    return {HoldReason(row.hold_reason): row.pairs for row in rows}
