"""Pairs of a client and a model, as SQL: which are held, and where in the queue the others are.

Usually nothing is known against any pair, and all of this reads an empty table. A client with a
breaker is looked at model by model, each by index: however many tasks of a held pair wait, nobody
reads over them.
"""

from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    CompoundSelect,
    Float,
    Integer,
    ScalarSelect,
    Select,
    SQLColumnExpression,
    Text,
    and_,
    case,
    exists,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import aliased

from app.domain.breaker import BREAKERS_PER_CLIENT, UNKNOWNS_IN_A_ROW
from app.domain.task import State
from app.store.account.limits import QUEUED
from app.store.sql import NOW, seconds, state_literal
from app.store.tables import ClientQueue, KieBreaker, Task

HELD_PAIR = KieBreaker.hold_reason.is_not(None)

_SENT = aliased(Task)
UNDER_WAY: ScalarSelect[int] = (
    select(func.count())
    .select_from(_SENT)
    .where(
        _SENT.state == state_literal(State.SUBMITTING),
        _SENT.client_id == KieBreaker.client_id,
        _SENT.model == KieBreaker.model,
    )
    .correlate(KieBreaker)
    .scalar_subquery()
)
"""Creates of the pair that are under way: its probe, or others from before the hold."""

HELD_BACK: ColumnElement[bool] = HELD_PAIR & or_(KieBreaker.held_until > NOW, UNDER_WAY > 0)
"""No task of the pair may be sent now."""

_MAY_BE_UNDER_WAY = case((HELD_PAIR, 1), else_=UNKNOWNS_IN_A_ROW - KieBreaker.unknowns)
"""A pair that is held lets one task through as its probe. One that is suspect, since nobody knows
what became of its last creates, as many as may still end so: else a whole burst would.
"""


def of_pair(
    client_id: SQLColumnExpression[Any], model: SQLColumnExpression[Any]
) -> ColumnElement[bool]:
    """Join the pair's breaker."""
    return and_(KieBreaker.client_id == client_id, KieBreaker.model == model)


def held_pair_of(
    client_id: SQLColumnExpression[Any], model: SQLColumnExpression[Any]
) -> ColumnElement[bool]:
    """Join the pair's breaker where it holds."""
    return and_(HELD_PAIR, of_pair(client_id, model))


_ANY = aliased(KieBreaker)

MODELS_AT_ONCE = 2 * BREAKERS_PER_CLIENT
"""Of one client; since no more than half of them can be held, there is always one to go on with."""


def _queued_pairs() -> CTE:
    """List the models of which tasks are queued, for the clients with a breaker.

    One step of an index for each model (a loose index scan); NULL ends a client's list.
    """
    known = select(_ANY.client_id).distinct().subquery("known_clients")
    least = select(func.min(Task.model)).where(QUEUED)
    first = least.where(Task.client_id == known.c.client_id).scalar_subquery()
    pairs = select(known.c.client_id, first.label("model"), literal(1).label("number")).cte(
        "queued_pairs", recursive=True
    )
    following = least.where(
        Task.client_id == pairs.c.client_id, Task.model > pairs.c.model
    ).scalar_subquery()
    step = select(pairs.c.client_id, following, pairs.c.number + 1).where(
        pairs.c.model.is_not(None), pairs.c.number < MODELS_AT_ONCE
    )
    return pairs.union_all(step)


def queues() -> CompoundSelect[Any]:
    """List the queues that tasks may be taken from.

    A client without a breaker has one, of all its models (`model` is NULL); others have one for
    each model with room. `room`: how many may be taken, NULL: any number. `is_probe`: the pair is
    held. `opens_in`: seconds until it may be probed.
    """
    whole = select(
        ClientQueue.client_id,
        literal_column("NULL", Text).label("model"),
        literal_column("NULL::integer", Integer).label("room"),
        false().label("is_probe"),
        literal_column("0.0", Float).label("opens_in"),
    ).where(~exists(_ANY.client_id).where(_ANY.client_id == ClientQueue.client_id))
    return union_all(whole, _by_model())


def _by_model() -> Select[Any]:
    pairs = _queued_pairs()
    room = case((KieBreaker.model.is_not(None), _MAY_BE_UNDER_WAY - UNDER_WAY))
    opens_in = func.greatest(0.0, seconds(KieBreaker.held_until - NOW), type_=Float)
    return (
        select(
            pairs.c.client_id,
            pairs.c.model,
            room.label("room"),
            HELD_PAIR.label("is_probe"),
            case((HELD_PAIR, opens_in), else_=0.0).label("opens_in"),
        )
        .select_from(pairs)
        .outerjoin(KieBreaker, of_pair(pairs.c.client_id, pairs.c.model))
        .where(pairs.c.model.is_not(None), func.coalesce(room > 0, true()))
    )


def has_first(
    client_id: SQLColumnExpression[Any], *conditions: ColumnElement[bool]
) -> ColumnElement[bool]:
    """Tell whether the client has such a task, by looking for the first in the queue's order.

    For just any, PostgreSQL would read the table until it met one: perhaps all of another client's.
    """
    first = select(Task.id).where(Task.client_id == client_id, *conditions)
    return first.order_by(Task.priority.desc(), Task.id).limit(1).scalar_subquery().is_not(None)


def has_task(queue: CTE, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Tell whether such a task is in the queue; each kind of queue has an index."""
    client_id, model = queue.c.client_id, queue.c.model
    return case(
        (model.is_(None), has_first(client_id, *conditions)),
        else_=has_first(client_id, Task.model == model, *conditions),
    )
