"""The one door by which tasks are deleted: what follows from it is not left to the caller.

A deleted task takes everything below it along, the archive's copies of its results too. Who waits
for it or follows it is woken, and what erasure leaves is a tombstone.
"""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from app.metrics import Metrics
from app.services.consequences import Consequences
from app.store.connections.engine import Connection
from app.store.files import owed
from app.store.signals import ARCHIVE, erased
from app.store.spend import forgetting
from app.store.tasks import ageing, removal


class Removal:
    """Deletes tasks within a caller's transaction, by age or by somebody's wish."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def old(
        self, connection: Connection, consequences: Consequences, *, after: float, limit: int
    ) -> int | None:
        """Delete tasks that have been final for `after` seconds; None: another process does."""
        if not await ageing.is_our_turn(connection):
            return None
        ids = await removal.lock_old(connection, after=after, limit=limit)
        if ids:
            await owed.let_go(connection, ids)
            await removal.delete(connection, ids)
            self._follow(consequences, "tasks", ids)
        return len(ids)

    async def one(self, connection: Connection, consequences: Consequences, task_id: UUID) -> None:
        """Erase a final task, whose row the caller has locked."""
        await forgetting.forget_metadata(connection, task_id)
        await owed.let_go(connection, [task_id])
        await removal.erase(connection, [task_id], keep_keys=True)
        self._follow(consequences, "erased", [task_id])

    async def of_client(
        self, connection: Connection, consequences: Consequences, client_id: UUID, *, limit: int
    ) -> int:
        """Erase final tasks of a client that creates no more; returns how many."""
        ids = await removal.lock_of_client(connection, client_id, limit=limit)
        if ids:
            await owed.let_go(connection, ids)
            await removal.erase(connection, ids, keep_keys=False)
            self._follow(consequences, "erased", ids)
        return len(ids)

    def _follow(self, consequences: Consequences, kind: str, ids: Sequence[UUID]) -> None:
        consequences.count(partial(self._metrics.deleted, kind, len(ids)))
        consequences.wake(ARCHIVE)
        if kind == "erased":  # of old ones nobody waits for anything
            consequences.wake(*ids, *map(erased, ids))
