"""What is over and to be ended, in one look: nearly always nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.breaker import FORGOTTEN_AFTER
from app.domain.task import DEADLINES, State
from app.store.account.breakers import IS_OLD
from app.store.account.sizes import UNCOUNTED_CLIENTS
from app.store.connections.prepared import Prepared
from app.store.spend.folding import IS_UNBOOKED
from app.store.tables import Budget, KieBreaker, QueueSize, Task, UsageEntry
from app.store.tasks.sweep import IS_LOST, IS_UNRELEASED, is_one_over


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """Where there is something to sweep."""

    leases: bool
    unreleased: bool
    states: Sequence[State]
    breakers: bool
    uncounted: Sequence[UUID]
    """Clients whose queues are to be counted."""
    long: bool
    """A queue was long when it was counted last."""
    unbooked: bool
    """Tasks ended under an older release, which booked nothing."""
    entries: bool
    """Something was booked, and not folded yet."""
    budgets: bool
    """A client has one."""


def _any(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(Task.id).where(condition).exists()


_UNCOUNTED = UNCOUNTED_CLIENTS.subquery("uncounted")
_LOOK = Prepared(
    lambda: select(
        _any(IS_LOST).label("leases"),
        _any(IS_UNRELEASED).label("unreleased"),
        *(is_one_over(state).label(state.value) for state in DEADLINES),
        select(KieBreaker.model).where(IS_OLD).exists().label("breakers"),
        select(func.array_agg(_UNCOUNTED.c.client_id)).scalar_subquery().label("uncounted"),
        select(QueueSize.client_id).exists().label("long"),
        _any(IS_UNBOOKED).label("unbooked"),
        select(UsageEntry.id).exists().label("entries"),
        select(Budget.period).exists().label("budgets"),
    )
)


async def over(connection: AsyncConnection) -> Over:
    """Look, without a lock; each kind by its index."""
    (row,) = await _LOOK.mappings(connection, {"after": FORGOTTEN_AFTER})
    return Over(
        leases=row["leases"],
        unreleased=row["unreleased"],
        states=[state for state in DEADLINES if row[state.value]],
        breakers=row["breakers"],
        uncounted=row["uncounted"] or (),
        **{name: row[name] for name in ("long", "unbooked", "entries", "budgets")},
    )
