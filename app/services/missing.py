"""What is said of a task that is not there: its own client hears whether it was erased."""

from uuid import UUID

from app.domain.errors import GatewayError, not_your_task, task_erased
from app.store.connections.engine import Connection
from app.store.tasks import tombstones


async def missing(connection: Connection, client_id: UUID, *ids: UUID) -> GatewayError:
    """Return the refusal for tasks of which one is not the client's, or not any more."""
    erased = await tombstones.any_erased(connection, client_id, ids)
    return task_erased() if erased else not_your_task()
