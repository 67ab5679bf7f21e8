"""Ends what would otherwise wait for ever: leases of the dead, and states past their bound."""

from app.domain.task import LAPSES
from app.domain.terms import Terms
from app.store import leases
from app.store.engine import Database
from app.store.signals import ASK, Signals

BATCH = 200
"""Rows in one transaction: short locks, and the next turn takes the rest."""


class Sweeper:
    """Looks at bounds, by the database's clock."""

    def __init__(self, database: Database, signals: Signals, terms: Terms) -> None:
        self._database = database
        self._signals = signals
        self._terms = terms

    async def sweep(self) -> int:
        """Free and end what is over; return how many tasks moved."""
        async with self._database.begin() as connection:
            moved = await leases.free_lost(
                connection, limit=BATCH, lapses_in=self._terms.unconfirmed_expires_after
            )
        for state in LAPSES:
            async with self._database.begin() as connection:
                moved += await leases.end_lapsed(connection, state, limit=BATCH)
        if moved:
            self._signals.announce(*(task_id.hex for task_id in moved), ASK)
        return len(moved)
