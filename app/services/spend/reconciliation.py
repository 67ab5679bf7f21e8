"""The balance against the books: read every few minutes, compared by day, alarmed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog

from app.domain.policy import Policy
from app.domain.reconciliation import Reading, by_day, days_wanted, total, unexplained
from app.metrics import Metrics
from app.services.account.admission import CALL_MARGIN
from app.services.account.probe import Account
from app.store import slots
from app.store.account import condition
from app.store.connections.engine import Connection, Database
from app.store.slots import Held
from app.store.spend import readings

LOOK = 60.0
"""Seconds between two looks at whether the balance is to be read."""
NO_SLOT = 2.0
"""Seconds until the next look where all of kie.ai's query slots are in use."""
DAY = timedelta(days=1)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingPolicy:
    """How often the balance is read, and how much may be lost unexplained."""

    every: float
    """Seconds."""
    alert: Decimal
    """Credits in 24 hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceNow:
    """The newest reading, and what the last day lost."""

    last: Reading | None
    """None: none was read in the last day."""
    unexplained: Decimal
    """Credits of the last 24 hours that no task explains."""
    alert: Decimal
    """So many of them are too many."""


class Reconciliation:
    """Reads the balance, keeps it beside the books, and says what they do not explain."""

    def __init__(
        self,
        database: Database,
        working: Database,
        account: Account,
        policy: Policy,
        reading: ReadingPolicy,
        new_id: Callable[[], UUID],
        metrics: Metrics,
        today: Callable[[], date],
    ) -> None:
        self._database = database
        self._working = working
        self._account = account
        self._policy = policy
        self._reading = reading
        self._new_id = new_id
        self._metrics = metrics
        self._today = today
        self._was_over: bool | None = None

    async def turn(self) -> float | None:
        """Read the balance where it is due; returns the seconds until the next look."""
        rest = await self._read_due()
        await self._show()
        return rest

    async def _read_due(self) -> float:
        async with self._working.begin() as connection:
            if not await condition.claim_reading(connection, every=self._reading.every):
                return LOOK
            held = await self._take_slot(connection)
            if held is None:
                await condition.read_again(connection, after=NO_SLOT)
                return NO_SLOT
        await self._read(held)
        return min(LOOK, self._reading.every)

    async def _take_slot(self, connection: Connection) -> Held | None:
        queries = self._policy.limits.queries
        taken_for = queries.window + self._policy.call + CALL_MARGIN
        by = self._new_id()
        return await slots.take_query(connection, by, calls=queries.calls, taken_for=taken_for)

    async def _read(self, held: Held) -> None:
        """Ask kie.ai, and keep the answer with what the books hold now."""
        balance = await self._account.balance()
        answered = self._metrics.now()
        window = self._policy.limits.queries.window
        async with self._working.begin() as connection:
            if isinstance(balance, Decimal):
                await readings.keep(connection, balance)
            ago = self._metrics.now() - answered
            await slots.release(connection, held, window=window, answered_ago=ago)
        if not isinstance(balance, Decimal):
            log.info("balance.unanswered", answer=repr(balance))

    async def _show(self) -> None:
        """Show what the last day lost unexplained, and log it once when it is too much."""
        async with self._working.read() as connection:
            found = await readings.recent(connection, within=DAY.total_seconds())
        lost, alert = unexplained(found, DAY), self._reading.alert
        self._metrics.show_unexplained(float(lost), float(alert))
        over = lost > alert
        if over and not self._was_over:
            about = {"credits": str(lost), "alert": str(alert), "hours": 24}
            log.warning("account.unexplained_loss", **about)
        self._was_over = over

    async def standing(self) -> BalanceNow:
        """Return the balance as it was last read, without asking kie.ai."""
        async with self._database.read() as connection:
            found = await readings.recent(connection, within=DAY.total_seconds())
        return BalanceNow(
            last=found[-1] if found else None,
            unexplained=unexplained(found, DAY),
            alert=self._reading.alert,
        )

    async def by_day(self, first: date | None, last: date | None) -> dict[str, Any]:
        """Return what each day lost, and what explains it; both days are included.

        Raises `InvalidRequestError`.
        """
        first, last = days_wanted(self._today(), first, last)
        since = datetime.combine(first, time(), UTC)
        until = datetime.combine(last + DAY, time(), UTC)
        async with self._database.read() as connection:
            found = await readings.between(connection, since, until)
            recent = await readings.recent(connection, within=DAY.total_seconds())
        days = by_day(found, first)
        whole = total(days.values())
        return {
            "data": [{"day": day.isoformat(), **one.shown} for day, one in days.items()],
            "total": whole and whole.shown,
            "unexplained_24h": unexplained(recent, DAY),
            "alert_credits": self._reading.alert,
            "from": first.isoformat(),
            "to": last.isoformat(),
        }
