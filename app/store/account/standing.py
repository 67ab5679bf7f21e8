"""How the account and a pair stand, in one look: what an attempt's outcome is judged by."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Row,
    SQLColumnExpression,
    Text,
    Update,
    Uuid,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.admission import Condition, HoldReason, Pair, Run
from app.domain.breaker import Breaker
from app.domain.task import FINAL, State
from app.store.account.pairs import of_pair
from app.store.connections.prepared import Prepared
from app.store.slots import RELEASE, Held, released
from app.store.sql import NOW, seconds_since, state_literal
from app.store.tables import ClientQueue, KieAccount, KieBreaker, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The account's condition and the pair's breaker, and whether an attempt probed their holds."""

    account: Condition
    probed: bool
    breaker: Breaker
    pair_probed: bool
    success_is_old: bool
    """The last success was noted long enough ago to note another."""


_CLIENT = bindparam("pair_client", type_=Uuid)
_MODEL = bindparam("pair_model", type_=Text)


def named(pair: Pair) -> dict[str, object]:
    """Return the parameters that name a pair."""
    return {"pair_client": pair.client_id, "pair_model": pair.model}


def _held_before(held_at: SQLColumnExpression[datetime | None]) -> ColumnElement[bool]:
    """Tell whether the attempt began after the hold; where there is none, it did."""
    return func.coalesce(held_at < bindparam("since", type_=NOW.type), true(), type_=Boolean)


SUCCESS_EVERY = 1.0
"""Seconds for which one success stands for all: not every create writes to the account's row."""
_SUCCESS_IS_OLD = or_(
    KieAccount.succeeded_at.is_(None), seconds_since(KieAccount.succeeded_at) >= SUCCESS_EVERY
)

_LOOK = select(
    KieAccount.hold_reason,
    KieAccount.hold_tries,
    KieAccount.hold_client_id,
    KieAccount.failures,
    KieAccount.failed_clients,
    KieAccount.failed_models,
    _held_before(KieAccount.held_at).label("probed"),
    KieBreaker.hold_reason.label("pair_hold_reason"),
    func.coalesce(KieBreaker.hold_tries, 0).label("pair_hold_tries"),
    func.coalesce(KieBreaker.unknowns, 0).label("pair_unknowns"),
    _held_before(KieBreaker.held_at).label("pair_probed"),
    _SUCCESS_IS_OLD.label("success_is_old"),
).outerjoin(KieBreaker, (KieBreaker.client_id == _CLIENT) & (KieBreaker.model == _MODEL))
_LOOK_LOCKED = _LOOK.with_for_update(of=KieAccount)


async def standing(
    connection: AsyncConnection, pair: Pair, *, since: datetime, lock: bool
) -> Standing:
    """Look at both as of an attempt that began at `since`; the account's lock guards both."""
    statement = _LOOK_LOCKED if lock else _LOOK
    row = (await connection.execute(statement, {**named(pair), "since": since})).one()
    return Standing(
        account=_condition(row),
        probed=row.probed,
        breaker=Breaker(
            hold_reason=_reason(row.pair_hold_reason),
            hold_tries=row.pair_hold_tries,
            unknowns=row.pair_unknowns,
        ),
        pair_probed=row.pair_probed,
        success_is_old=row.success_is_old,
    )


def _condition(row: Row[*tuple[object, ...]]) -> Condition:
    return Condition(
        hold_reason=_reason(row.hold_reason),
        hold_tries=row.hold_tries,
        hold_client_id=row.hold_client_id,
        run=Run(
            failures=row.failures,
            clients=frozenset(row.failed_clients),
            models=frozenset(row.failed_models),
        ),
    )


def _reason(word: str | None) -> HoldReason | None:
    return None if word is None else HoldReason(word)


IS_UNTROUBLED = and_(
    KieAccount.hold_reason.is_(None),
    KieAccount.failures == 0,
    ~exists(KieBreaker.client_id).where(of_pair(_CLIENT, _MODEL)),
)
"""Neither the account nor the pair has anything to learn from a success."""
_ALL_IS_WELL = select(KieAccount.id).where(IS_UNTROUBLED, ~_SUCCESS_IS_OLD).exists()
_RELEASE = Prepared(lambda: RELEASE.where(_ALL_IS_WELL))


async def release_where_all_is_well(
    connection: AsyncConnection, pair: Pair, held: Held, *, window: float, answered_ago: float
) -> bool:
    """Free the slot of a create that was accepted, where that teaches nothing.

    False: nothing is done, since there is something to learn, or it was freed before.
    """
    given = released(held, window=window, answered_ago=answered_ago)
    return await _RELEASE.scalar(connection, {**named(pair), **given}) is not None


_HAS_OPEN_TASKS = or_(
    *(
        select(Task.id)
        .where(Task.client_id == ClientQueue.client_id, Task.state == state_literal(state))
        .exists()
        for state in State
        if state not in FINAL
    )
)
_OTHERS_ARE_ACTIVE = select(
    select(ClientQueue.client_id)
    .where(ClientQueue.client_id != bindparam("client_id", type_=Uuid), _HAS_OPEN_TASKS)
    .exists()
)


async def others_are_active(connection: AsyncConnection, client_id: UUID) -> bool:
    """Return whether another client has tasks that are not final: an index says for each client."""
    return bool(await connection.scalar(_OTHERS_ARE_ACTIVE, {"client_id": client_id}))


def succeeding(*only: ColumnElement[bool]) -> Update:
    """Note the pair as the one that succeeded last, where that is due and `only` holds."""
    account = (
        select(KieAccount.id)
        .where(_SUCCESS_IS_OLD, *only)
        .with_for_update(skip_locked=True)
        .cte("account")
    )
    return (
        update(KieAccount)
        .where(KieAccount.id == account.c.id)
        .values(succeeded_at=NOW, succeeded_client_id=_CLIENT, succeeded_model=_MODEL)
    )


_SUCCEEDED = succeeding()


async def note_success(connection: AsyncConnection, pair: Pair) -> None:
    """Remember the pair as the one that succeeded last.

    Nobody waits for it: where the account's row is locked just now, a later success is noted.
    """
    await connection.execute(_SUCCEEDED, named(pair))
