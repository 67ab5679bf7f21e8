"""Budgets: what clients may spend, and how much of it is gone."""

from collections.abc import Collection
from datetime import date
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Date,
    Integer,
    RowMapping,
    Text,
    Uuid,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.spend import Budget, Mode, Period, Standing
from app.domain.task import FINAL, State
from app.store.spend.entries import utc_day
from app.store.sql import NOW, state_literal
from app.store.tables import Budget as BudgetRow
from app.store.tables import Client, DisabledUrl, Task

_IDLE_AT_MOST = "10s"
"""A process that hangs with the lock in hand must not keep the client's creates out."""

_CLIENT = bindparam("client_id", type_=Uuid)
_LOCK = (
    select(
        BudgetRow.period,
        func.set_config("idle_in_transaction_session_timeout", _IDLE_AT_MOST, true()),
    )
    .where(BudgetRow.client_id == _CLIENT)
    .order_by(BudgetRow.period)
    .with_for_update()
)


async def lock(connection: AsyncConnection, client_id: UUID) -> bool:
    """Become the only one to spend of the client's budgets until the transaction ends.

    False: it has none. What they stand at is read after it, in a statement of its own: one that
    began before the lock would not see what the one before has reserved.
    """
    return bool((await connection.execute(_LOCK, {"client_id": client_id})).all())


_STANDING = text(
    """
WITH asked AS (
    SELECT coalesce(CAST(:day AS date), (clock_timestamp() AT TIME ZONE 'UTC')::date) AS day
),
changes AS (
    SELECT client_id, day, spent, reserved FROM spend_daily WHERE client_id = ANY (:clients)
    UNION ALL
    SELECT client_id, created_day, credits - left_credits, reserved FROM usage_entries
    WHERE client_id = ANY (:clients)
)
SELECT budgets.client_id, budgets.period, budgets.credits, budgets.mode, budgets.thresholds,
    asked.day,
    trim_scale(coalesce(sum(changes.spent), 0)) AS spent,
    trim_scale(coalesce(sum(changes.reserved), 0)) AS reserved,
    CASE WHEN announced_for IS NOT DISTINCT FROM CASE budgets.period WHEN 'day' THEN asked.day
        WHEN 'month' THEN date_trunc('month', asked.day::timestamp)::date END
    THEN announced ELSE '{}' END AS announced
FROM budgets CROSS JOIN asked LEFT JOIN changes ON changes.client_id = budgets.client_id AND (
    budgets.period = 'total'
    OR (budgets.period = 'day' AND changes.day = asked.day)
    OR (budgets.period = 'month' AND date_trunc('month', changes.day::timestamp)
        = date_trunc('month', asked.day::timestamp))
)
WHERE budgets.client_id = ANY (:clients)
GROUP BY budgets.client_id, budgets.period, asked.day ORDER BY budgets.client_id, budgets.period
"""
).bindparams(bindparam("clients", type_=ARRAY(Uuid)), bindparam("day", type_=Date))


async def standing(
    connection: AsyncConnection, client_id: UUID, day: date | None = None
) -> list[Standing]:
    """Return the client's budgets as they stand; `day` of the period, None: today."""
    found = await connection.execute(_STANDING, {"clients": [client_id], "day": day})
    return [_standing(row) for row in found.mappings()]


async def standing_of(
    connection: AsyncConnection, clients: Collection[UUID]
) -> list[tuple[UUID, Standing]]:
    """Return the same of several clients, each with its client."""
    found = await connection.execute(_STANDING, {"clients": list(clients), "day": None})
    return [(row["client_id"], _standing(row)) for row in found.mappings()]


def _standing(row: RowMapping) -> Standing:
    budget = Budget(
        period=Period(row["period"]),
        credits=row["credits"],
        mode=Mode(row["mode"]),
        thresholds=tuple(row["thresholds"]),
    )
    return Standing(
        budget=budget,
        day=row["day"],
        spent=row["spent"],
        reserved=row["reserved"],
        announced=tuple(row["announced"]),
    )


_OPEN = [state.value for state in State if state not in FINAL or state is State.EXPIRED]
_SINCE = bindparam("since", type_=Date)
_OTHER = (
    Task.client_id == _CLIENT,
    Task.model == bindparam("model", type_=Text),
    Task.reserved.is_(None),
    Task.credits_consumed.is_(None),
    or_(_SINCE.is_(None), utc_day(Task.created_at) >= _SINCE),
    Task.id != bindparam("task_id", type_=Uuid),
)
_UNPRICED = state_literal(State.SUCCEEDED) == Task.state
_UNKNOWN = select(
    or_(
        select(Task.id).where(Task.state.in_(_OPEN), *_OTHER).exists(),
        select(Task.id).where(_UNPRICED, *_OTHER).exists(),
    )
)


async def has_unknown(
    connection: AsyncConnection,
    client_id: UUID,
    task_id: UUID,
    model: str,
    *,
    since: date | None,
) -> bool:
    """Return whether another task of the model may cost something, and nobody knows how much."""
    given = {"client_id": client_id, "task_id": task_id, "model": model, "since": since}
    return bool(await connection.scalar(_UNKNOWN, given))


# -- setting them

_NAMED = select(Client.id).where(Client.name == bindparam("client_name", type_=Text))


async def client_named(connection: AsyncConnection, name: str) -> UUID | None:
    """Return the client of this name; None: there is none."""
    found: UUID | None = await connection.scalar(_NAMED, {"client_name": name})
    return found


_BOUNDED = (
    select(Client.id, Client.name)
    .where(select(BudgetRow.period).where(BudgetRow.client_id == Client.id).exists())
    .order_by(Client.name)
)


async def bounded_clients(connection: AsyncConnection) -> dict[UUID, str]:
    """Return the clients that have a budget, with their names, by these."""
    rows = await connection.execute(_BOUNDED)
    return {row.id: row.name for row in rows}


_GIVEN = ("client_id", "period", "credits", "mode", "thresholds")


def _setting() -> Insert:
    given = {name: bindparam(name, type_=BudgetRow.__table__.c[name].type) for name in _GIVEN}
    setting = insert(BudgetRow).values(given)
    same = BudgetRow.credits == setting.excluded.credits
    return setting.on_conflict_do_update(
        index_elements=["client_id", "period"],
        set_={
            **{name: setting.excluded[name] for name in ("credits", "mode", "thresholds")},
            # Of other credits the thresholds are others, too.
            "announced": case((same, BudgetRow.announced), else_=text("'{}'::integer[]")),
            "updated_at": NOW,
        },
    )


_SET = _setting()


async def set_budget(connection: AsyncConnection, client_id: UUID, budget: Budget) -> None:
    """Set a budget, or another one for the same period; the caller has the client's lock."""
    values = {name: getattr(budget, name) for name in _GIVEN[1:]}
    values |= {"client_id": client_id, "thresholds": list(budget.thresholds)}
    await connection.execute(_SET, values)


_THIS = (
    BudgetRow.client_id == bindparam("of_client", type_=Uuid),
    BudgetRow.period == bindparam("of_period", type_=Text),
)
_CLEAR = delete(BudgetRow).where(*_THIS).returning(BudgetRow.period)


async def clear(connection: AsyncConnection, client_id: UUID, period: Period) -> bool:
    """Take a budget away; False: there is none."""
    given = {"of_client": client_id, "of_period": period}
    return await connection.scalar(_CLEAR, given) is not None


_ANNOUNCE = (
    update(BudgetRow)
    .where(*_THIS)
    .values(
        announced=bindparam("reached", type_=ARRAY(Integer)),
        announced_for=bindparam("start", type_=Date),
    )
)


async def note_announced(connection: AsyncConnection, client_id: UUID, standing: Standing) -> None:
    """Note that the thresholds that are reached were announced; the caller has the lock."""
    given = {
        "of_client": client_id,
        "of_period": standing.budget.period,
        "reached": [*standing.announced, *standing.crossed],
        "start": standing.period_start,
    }
    await connection.execute(_ANNOUNCE, given)


_WHERE = select(
    Client.name,
    Client.webhook_url,
    Client.webhook_events,
    select(DisabledUrl.url)
    .where(DisabledUrl.client_id == Client.id, DisabledUrl.url == Client.webhook_url)
    .exists()
    .label("disabled"),
    NOW.label("now"),
).where(Client.id == _CLIENT)


async def where_to(connection: AsyncConnection, client_id: UUID) -> RowMapping:
    """Return the client's `name`, `webhook_url` and `webhook_events`, and what time it is `now`.

    `disabled`: that URL is not called.
    """
    return (await connection.execute(_WHERE, {"client_id": client_id})).mappings().one()
