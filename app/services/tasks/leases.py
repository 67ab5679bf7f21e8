"""Leases that this process holds: renewed while it is at work, lost when it dies."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from app.store.connections.engine import Database
from app.store.tasks import leases

RENEWALS_PER_LEASE = 5
"""A lease outlives four renewals that fail in a row."""


class Leases:
    """Keeps the leases of tasks that are being sent or asked about; `lease` in seconds."""

    def __init__(self, database: Database, lease: float) -> None:
        self._database = database
        self._lease = lease
        self._held: set[UUID] = set()

    @contextmanager
    def hold(self, task_id: UUID) -> Iterator[None]:
        """Renew the task's lease for as long as the block runs."""
        self._held.add(task_id)
        try:
            yield
        finally:
            self._held.discard(task_id)

    async def renew(self) -> int:
        """Renew all at once; return how many are held."""
        if self._held:
            async with self._database.begin() as connection:
                await leases.renew(connection, self._held, lease=self._lease)
        return len(self._held)

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            await asyncio.sleep(self._lease / RENEWALS_PER_LEASE)
            await self.renew()
