"""Ends what would otherwise wait for ever: leases of the dead, and states past their bound."""

from collections.abc import Collection, Mapping
from uuid import UUID

from app.domain.policy import Policy
from app.domain.polling import AFTER_EXPIRY
from app.domain.task import DEADLINES, State
from app.metrics import Metrics
from app.services.deliveries.outbox import Outbox
from app.store.engine import Database
from app.store.signals import DELIVER, POLL, QUEUE, Signals
from app.store.tasks import sweep

BATCH = 200
"""Rows in one transaction: short locks, and the next turn takes the rest."""


_ASK_IN: Mapping[State, float] = {State.EXPIRED: AFTER_EXPIRY[0]}


class Sweeper:
    """Looks at bounds, by the database's clock."""

    def __init__(
        self,
        database: Database,
        signals: Signals,
        outbox: Outbox,
        policy: Policy,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._signals = signals
        self._policy = policy
        self._metrics = metrics

    async def sweep(self) -> float | None:
        """Free and end what is over; 0 where there may be more, else None."""
        async with self._database.begin() as connection:
            moved = await sweep.free_lost(
                connection, limit=BATCH, expires_in=self._policy.unconfirmed_expires_after
            )
        self._metrics.swept(State.UNCONFIRMED, len(moved))
        for state in DEADLINES:
            async with self._database.begin() as connection:
                ended = await sweep.expire(
                    connection, state, limit=BATCH, ask_in=_ASK_IN.get(DEADLINES[state].state)
                )
                await self._outbox.notify(connection, ended)
            self._count(ended, DEADLINES[state].state)
            moved += ended
        if moved:
            self._signals.announce(*(task_id.hex for task_id in moved), POLL, QUEUE, DELIVER)
        return 0 if moved else None

    def _count(self, ended: Collection[UUID], state: State) -> None:
        """Count after the commit."""
        self._metrics.swept(state, len(ended))
        for task_id in ended:
            self._metrics.settled(task_id, "gateway", state)
