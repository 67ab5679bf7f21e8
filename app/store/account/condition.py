"""The account's condition: its holds, its pauses, what others leave of it, its balance."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import (
    ARRAY,
    Float,
    Integer,
    Numeric,
    RowMapping,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.admission import BRAKES, Condition, HoldReason, Limits
from app.store.account.limits import (
    ALLOWED,
    FREE_SLOTS,
    IS_HELD,
    PROBE_DUE,
    RUNNING,
    SEATS,
    UNPROVED,
    brake,
    given_limits,
)
from app.store.connections.prepared import Prepared
from app.store.sql import NOW, later, seconds_since
from app.store.tables import KieAccount

_SINCE = bindparam("since", type_=NOW.type)

_NEW_REASON = bindparam("new_reason", type_=Text)
_SET = update(KieAccount).values(
    hold_reason=_NEW_REASON,
    hold_detail=bindparam("new_detail", type_=Text),
    hold_tries=bindparam("new_tries", type_=Integer),
    hold_client_id=bindparam("new_client_id", type_=Uuid),
    failures=bindparam("new_failures", type_=Integer),
    failed_clients=bindparam("new_clients", type_=ARRAY(Uuid)),
    failed_models=bindparam("new_models", type_=ARRAY(Text)),
    held_since=case(
        (_NEW_REASON.is_(None), null()),
        (KieAccount.hold_reason == _NEW_REASON, KieAccount.held_since),
        else_=NOW,
    ),
    held_at=case((_NEW_REASON.is_(None), null()), else_=NOW),
    held_until=later("new_wait"),
    probed_at=null(),
)


async def set_condition(
    connection: AsyncConnection, after: Condition, *, detail: str | None, wait: float | None
) -> None:
    """Keep the condition; a hold is probed again after `wait` seconds."""
    parameters = {
        "new_reason": after.hold_reason,
        "new_detail": detail,
        "new_tries": after.hold_tries,
        "new_client_id": after.hold_client_id,
        "new_failures": after.run.failures,
        "new_clients": sorted(after.run.clients),
        "new_models": sorted(after.run.models),
        "new_wait": wait,
    }
    await connection.execute(_SET, parameters)


_THROTTLE = (
    update(KieAccount)
    .where(or_(KieAccount.throttled_at.is_(None), KieAccount.throttled_at < _SINCE))
    .values(
        creates_allowed=func.greatest(1, cast(func.floor(ALLOWED * 0.75), Integer)),
        throttled_at=NOW,
    )
)


async def record_throttling(
    connection: AsyncConnection, limits: Limits, *, since: datetime
) -> None:
    """Take a quarter less of the limit: others use it too. One burst counts once."""
    await connection.execute(_THROTTLE, {**given_limits(limits), "since": since})


_CLAIM_PROBE = Prepared(
    lambda: (
        update(KieAccount)
        .where(PROBE_DUE)
        .values(held_until=later("lease"))
        .returning(KieAccount.hold_tries)
    )
)


async def claim_probe(connection: AsyncConnection, *, lease: float) -> int | None:
    """Take the credit call that is due; returns the failed probes so far, None: none is due."""
    found: int | None = await _CLAIM_PROBE.scalar(connection, {"lease": lease})
    return found


_PROVED = update(KieAccount).where(UNPROVED).values(probed_at=NOW, held_until=NOW)
_STILL_HELD = (
    update(KieAccount)
    .where(UNPROVED)
    .values(held_until=later("wait"), hold_tries=KieAccount.hold_tries + 1)
)


async def end_probe(connection: AsyncConnection, *, good: bool, wait: float) -> None:
    """Let one task be risked, or probe again after `wait` seconds."""
    if good:
        await connection.execute(_PROVED)
    else:
        await connection.execute(_STILL_HELD, {"wait": wait})


_KEEP_BALANCE = update(KieAccount).values(
    balance=bindparam("new_balance", type_=Numeric), balance_at=NOW
)


async def keep_balance(connection: AsyncConnection, balance: Decimal) -> None:
    await connection.execute(_KEEP_BALANCE, {"new_balance": balance})


_FRESH_BALANCE = select(KieAccount.balance).where(
    seconds_since(KieAccount.balance_at) < bindparam("within", type_=Float)
)


async def fresh_balance(connection: AsyncConnection, *, within: float) -> Decimal | None:
    """Return the balance if kie.ai reported it in the last `within` seconds; None: it did not."""
    return await connection.scalar(_FRESH_BALANCE, {"within": within})


_READING_DUE = (
    update(KieAccount)
    .where(
        or_(
            KieAccount.balance_due_at.is_(None),
            KieAccount.balance_due_at <= NOW,
            KieAccount.balance_due_at > later("longest"),  # the setting was longer before
        )
    )
    .values(balance_due_at=later("every"))
    .returning(KieAccount.id)
)
_READ_AGAIN = update(KieAccount).values(balance_due_at=later("after"))


async def claim_reading(connection: AsyncConnection, *, every: float) -> bool:
    """Return whether this process is to read the balance now; nobody else does for so long."""
    given = {"every": every, "longest": every + 1}
    return await connection.scalar(_READING_DUE, given) is not None


async def read_again(connection: AsyncConnection, *, after: float) -> None:
    """Have the balance read sooner: it was not read."""
    await connection.execute(_READ_AGAIN, {"after": after})


_PAUSE = update(KieAccount).values(
    paused_at=func.coalesce(KieAccount.paused_at, NOW), pause_note=bindparam("note", type_=Text)
)
_RESUME = update(KieAccount).values(paused_at=null(), pause_note=null())


async def pause(connection: AsyncConnection, note: str | None) -> None:
    """Admit nothing any more; what is under way goes on."""
    await connection.execute(_PAUSE, {"note": note})


async def resume(connection: AsyncConnection) -> None:
    await connection.execute(_RESUME)


_DATABASE = brake(*(reason for reason in BRAKES if reason is not HoldReason.ADMISSION_PAUSED))
"""What holds the account because of its database; the hold by kie.ai beneath it stays as it is."""

_STATUS = select(
    KieAccount.paused_at,
    KieAccount.pause_note,
    func.coalesce(_DATABASE, case((IS_HELD, KieAccount.hold_reason))).label("hold_reason"),
    *(
        case((_DATABASE.is_not(None), ours), (IS_HELD, kies)).label(kies.key)
        for ours, kies in (
            (KieAccount.restored_detail, KieAccount.hold_detail),
            (func.coalesce(KieAccount.restored_at, KieAccount.changed_at), KieAccount.held_since),
            (KieAccount.move_expected_until, KieAccount.held_until),
        )
    ),
    ALLOWED.label("creates_allowed"),
    func.greatest(0, FREE_SLOTS).label("creates_free"),
    RUNNING.label("running_limit"),
    SEATS.label("running"),
)


async def status(connection: AsyncConnection, limits: Limits) -> RowMapping:
    """Return what is paused, held and free."""
    return (await connection.execute(_STATUS, given_limits(limits))).mappings().one()
