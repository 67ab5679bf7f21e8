"""What operators see of the tasks of all clients; each task's client is found here, not named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.domain.client import is_name, no_such_client
from app.domain.errors import no_such_task
from app.domain.paging import Filter, Place
from app.store.clients import clients
from app.store.connections.engine import Database
from app.store.tasks import overview


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose task it is."""

    id: UUID
    client: str


class Overview:
    """Reads tasks of whichever client."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, narrowed: Filter, *, client: str | None, after: Place | None, limit: int
    ) -> tuple[Sequence[Mapping[str, Any]], Place | None]:
        """Return a page of tasks, newest first, and where the next one begins.

        It may have fewer than `limit` and still not be the last. Raises `NotFoundError` where
        there is no such client.
        """
        async with self._database.read() as connection:
            client_id = None
            if client is not None:
                named = is_name(client)
                client_id = await clients.find_client(connection, client) if named else None
                if client_id is None:
                    raise no_such_client(client)
            page = await overview.list_tasks(
                connection, narrowed, client_id=client_id, after=after, limit=limit
            )
        return page.rows, page.next

    async def owner(self, task_id: UUID) -> Owner:
        """Return whose task it is; raises `NotFoundError`."""
        async with self._database.read() as connection:
            found = await overview.whose(connection, task_id)
        if found is None:
            raise no_such_task()
        return Owner(id=found[0], client=found[1])

    async def by_kie_id(self, kie_task_id: str) -> UUID:
        """Return the newest task with this id at kie.ai; raises `NotFoundError`."""
        async with self._database.read() as connection:
            found = await overview.by_kie_id(connection, kie_task_id)
        if found is None:
            raise no_such_task()
        return found

    async def work_owed(self, task_id: UUID) -> Mapping[str, Any]:
        """Return what the gateway has still to do for the task; raises `NotFoundError`."""
        async with self._database.read() as connection:
            found = await overview.work_owed(connection, task_id)
        if found is None:
            raise no_such_task()
        return dict(found)

    async def mark(self, task_id: UUID) -> str | None:
        """Return a text that differs once anything of the task's page does; None: it is gone."""
        async with self._database.read() as connection:
            return await overview.mark(connection, task_id)
