"""What is pending, by client and URL: found by one index probe for each, not by reading it all."""

from typing import NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    Boolean,
    ColumnElement,
    Integer,
    ScalarSelect,
    bindparam,
    func,
    literal_column,
    select,
    true,
)

from app.store.tables import Delivery

LANES = 32
"""Lanes of a client, of one kind, that one look finds. Of more each look finds others."""

PENDING: ColumnElement[bool] = literal_column("deliveries.state = 'pending'", Boolean)

LANE: ColumnElement[int] = literal_column(
    "hashtextextended(split_part(deliveries.url, '?', 1), 0)", BigInteger
)
"""What waits for one URL of a client, whatever the query: as the indexes have it."""


class Kind(NamedTuple):
    """Of two kinds of deliveries, each has its index."""

    name: str
    again: int
    """1: attempts that can wait for those of fresh events."""
    which: ColumnElement[bool]


FIRST = Kind(
    "first",
    0,
    literal_column("(deliveries.tries = 0 AND deliveries.origin_id IS NULL)", Boolean),
)
AGAIN = Kind(
    "again",
    1,
    literal_column("(deliveries.tries > 0 OR deliveries.origin_id IS NOT NULL)", Boolean),
)
"""Retries, and repetitions that somebody asked for."""

KINDS = (FIRST, AGAIN)


def _clients(kind: Kind) -> CTE:
    of_kind = (PENDING, kind.which)
    client = select(Delivery.client_id).order_by(Delivery.client_id).limit(1)
    first = client.where(*of_kind).subquery()
    clients = select(first.c.client_id).cte(f"{kind.name}_clients", recursive=True)
    following = client.where(*of_kind, Delivery.client_id > clients.c.client_id).scalar_subquery()
    return clients.union_all(select(following).where(clients.c.client_id.is_not(None)))


def pending_lanes(kind: Kind) -> CTE:
    """List for each client up to `LANES` lanes as `client_id`, `lane`.

    The list begins behind the hash `start`, a parameter, and goes on round from the first one.
    """

    def lane(of: CTE, *after: ColumnElement[bool]) -> ScalarSelect[int]:
        of_client = (PENDING, kind.which, Delivery.client_id == of.c.client_id)
        found = select(LANE).select_from(Delivery).where(*of_client, *after)
        return found.order_by(LANE).limit(1).correlate(of).scalar_subquery()

    clients = _clients(kind)
    client_id = clients.c.client_id
    behind = bindparam("start", type_=BigInteger) < LANE
    begin = (
        select(client_id, func.coalesce(lane(clients, behind), lane(clients)).label("lane"))
        .where(client_id.is_not(None))
        .subquery()
    )
    number: ColumnElement[int] = literal_column("1", Integer).label("number")
    lanes = select(begin, begin.c.lane.label("origin"), number).cte(
        f"{kind.name}_lanes", recursive=True
    )
    following = select(
        func.coalesce(lane(lanes, lanes.c.lane < LANE), lane(lanes)).label("lane")
    ).lateral("following")
    return lanes.union_all(
        select(lanes.c.client_id, following.c.lane, lanes.c.origin, lanes.c.number + 1)
        .select_from(lanes.join(following, true()))
        .where(lanes.c.number < LANES, following.c.lane != lanes.c.origin)
    )
