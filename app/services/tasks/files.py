"""What a task's files change of it: owed with a success, told of once all have come."""

from uuid import UUID

from app.domain.delivery import EventType
from app.domain.report import Facts
from app.domain.sources import sources_of
from app.domain.task import Change
from app.services.consequences import Consequences
from app.services.deliveries.outbox import Outbox
from app.store.connections.engine import Connection
from app.store.files import owed
from app.store.files.outcomes import Counts
from app.store.signals import ARCHIVE
from app.store.tasks import facts


class TaskFiles:
    """The part of the lifecycle that is about files; no state changes by them."""

    def __init__(self, outbox: Outbox, *, archives: bool) -> None:
        """Where there is no archive, not `archives`, nothing is owed."""
        self._outbox = outbox
        self._archives = archives

    async def owe(
        self, connection: Connection, consequences: Consequences, task_id: UUID, found: Facts
    ) -> None:
        """Have the files of a result copied that are not known yet, where there is an archive."""
        sources = sources_of(found) if self._archives else ()
        if sources:
            await owed.owe(connection, task_id, sources)
            consequences.wake(ARCHIVE)

    async def archived(
        self, connection: Connection, consequences: Consequences, task_id: UUID, counts: Counts
    ) -> None:
        """Show a locked task's client that another file has come, and that it was the last."""
        if counts.waiting:
            await facts.touch(connection, task_id)
        else:
            reason = f"{counts.stored} stored, {counts.failed} given up"
            await facts.note(connection, task_id, Change.ARCHIVED, reason)
            await self._outbox.notify(connection, consequences, [task_id], event=EventType.ARCHIVED)
        consequences.wake(task_id)
