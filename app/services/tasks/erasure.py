"""Erasure of one task, or of a client with all it has: everywhere, and for good."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from app.domain.audit import Action, Operator
from app.domain.client import is_name, no_such_client
from app.domain.errors import NotErasableError, no_such_task, not_your_task
from app.domain.task import FINAL, State
from app.services.consequences import Consequences
from app.services.tasks.lifecycle import Lifecycle
from app.services.tasks.removal import Removal
from app.store.account import admission, queues
from app.store.clients import audit
from app.store.clients import erasure as clients
from app.store.connections.engine import Connection, Database
from app.store.files import owed, uploads
from app.store.signals import ERASE, KEYS, announce_now
from app.store.spend import folding
from app.store.tasks import overview, rows, tombstones

BATCH = 100
"""Tasks in one transaction: their rows are locked for a fraction of a second."""

PLACES = 2000
"""Places of a feed in one transaction."""

CLIENT_ERASED = "canceled: its client is erased"

Progress = Callable[[int], None]
"""Told after each batch how many tasks are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """How far the erasure of a client has come."""

    tasks: int
    """Erased by this call."""
    left: Mapping[str, int] = field(default_factory=dict)
    """Tasks that are still there, by state, and `copies` of results in the archive.

    Where there are none, the client is gone.
    """


class Erasure:
    """Erases at a client's wish, or at an operator's."""

    def __init__(self, database: Database, lifecycle: Lifecycle, removal: Removal) -> None:
        self._database = database
        self._lifecycle = lifecycle
        self._removal = removal

    async def task(self, client_id: UUID, task_id: UUID) -> None:
        """Erase a client's own task; one that is erased stays so.

        Raises `NotFoundError`, and `NotErasableError` where it is not in a final state.
        """

        async def work(connection: Connection, consequences: Consequences) -> None:
            state = await rows.read_state(connection, client_id=client_id, task_id=task_id)
            if state is not None and await self._erase(connection, consequences, task_id):
                return
            if not await tombstones.any_erased(connection, client_id, [task_id]):
                raise not_your_task()

        await self._lifecycle.run(work)

    async def of_any_client(self, operator: Operator, task_id: UUID) -> None:
        """Erase a task of whichever client; one that is erased stays so, without an entry more.

        Raises `NotFoundError`, and `NotErasableError` where it is not in a final state.
        """

        async def work(connection: Connection, consequences: Consequences) -> None:
            whose = await overview.whose(connection, task_id)
            if whose is not None and await self._erase(connection, consequences, task_id):
                await audit.note(
                    *(connection, Action.TASK_ERASED),
                    operator=operator,
                    client=whose[1],
                    task_id=task_id,
                )
            elif not await tombstones.is_erased(connection, task_id):
                raise no_such_task()

        await self._lifecycle.run(work)

    async def _erase(
        self, connection: Connection, consequences: Consequences, task_id: UUID
    ) -> bool:
        """Erase a task that was there; False: it went meanwhile."""
        standing = await rows.lock_task(connection, task_id)
        if standing is None:
            return False
        _require_final(standing.state)
        await self._removal.one(connection, consequences, task_id)
        return True

    async def client(
        self,
        operator: Operator,
        name: str,
        *,
        cancel: bool = False,
        progress: Progress = lambda _: None,
    ) -> Erased:
        """Erase a client: from here on it is marked, and who works goes on with it.

        Tasks that kie.ai has are erased once they have ended. Raises `NotFoundError`, and, changing
        nothing, `NotErasableError` where tasks are not final, unless `cancel` says what with them.
        """
        client_id = await self._lifecycle.run(partial(self._begin, operator, name, cancel))
        await announce_now(self._database, KEYS)
        return await self._go_on(client_id, progress)

    async def resume(self) -> int:
        """Go on with what was begun by anybody; returns how many tasks went."""
        async with self._database.read() as connection:
            marked = await clients.marked(connection)
        return sum([(await self._go_on(row["id"], lambda _: None)).tasks for row in marked])

    async def _begin(
        self,
        operator: Operator,
        name: str,
        cancel: bool,  # noqa: FBT001  # bound by name above
        connection: Connection,
        consequences: Consequences,
    ) -> UUID:
        await admission.lock_account(connection, wait=True)  # who admits just now ends first
        found = await clients.lock(connection, name) if is_name(name) else None
        if found is None:
            raise no_such_client(name)
        client_id: UUID = found["id"]
        if not found["erasing"]:
            if not cancel:
                _require_all_final(name, await clients.states(connection, client_id))
            await clients.begin(connection, name)
            await queues.disable(connection, name, off=True)
            await audit.note(connection, Action.CLIENT_ERASING, operator=operator, client=name)
        consequences.wake(ERASE)
        return client_id

    async def _go_on(self, client_id: UUID, progress: Progress) -> Erased:
        gone = 0
        while await self._lifecycle.run(partial(self._cancel, client_id)):
            pass
        while batch := await self._lifecycle.run(partial(self._batch, client_id)):
            gone += batch
            progress(gone)
        while await self._lifecycle.run(partial(self._places, client_id)):
            pass
        left = await self._lifecycle.run(partial(self._finish, client_id))
        return Erased(tasks=gone, left=left)

    async def _cancel(
        self, client_id: UUID, connection: Connection, consequences: Consequences
    ) -> int:
        ids = await clients.lock_queued(connection, client_id, limit=BATCH)
        for task_id in ids:
            await self._lifecycle.cancel(connection, consequences, task_id, reason=CLIENT_ERASED)
        return len(ids)

    async def _batch(
        self, client_id: UUID, connection: Connection, consequences: Consequences
    ) -> int:
        return await self._removal.of_client(connection, consequences, client_id, limit=BATCH)

    async def _places(self, client_id: UUID, connection: Connection, _: Consequences) -> int:
        return await clients.delete_places(connection, client_id, limit=PLACES)

    async def _finish(
        self, client_id: UUID, connection: Connection, _: Consequences
    ) -> Mapping[str, int]:
        """Return what is left, or delete the rest of it, where there is no task any more.

        Nor a copy of a result: its row says where the object is, until that is removed.
        """
        left = await clients.states(connection, client_id)
        if not left:
            await uploads.forget_clients(connection, client_id)
        if copies := await owed.left(connection, client_id):
            left["copies"] = copies
        if left:
            return left
        await folding.forget_client(connection, client_id)
        name = await clients.finish(connection, client_id)
        if name is not None:
            detail = {"tasks": str(await clients.erased_tasks(connection, client_id))}
            await audit.note(connection, Action.CLIENT_ERASED, client=name, detail=detail)
        return {}


def _require_final(state: State) -> None:
    if state not in FINAL:
        detail = (
            f"The task is {state}; only a task in a final state is erased. Cancel it if it is "
            "queued, or wait for its end."
        )
        raise NotErasableError(detail)


def _require_all_final(name: str, states: Mapping[str, int]) -> None:
    open_tasks = {state: count for state, count in states.items() if state not in FINAL}
    if open_tasks:
        said = ", ".join(f"{count} {state}" for state, count in sorted(open_tasks.items()))
        detail = (
            f"{name} has tasks that are not final: {said}. Nothing was changed. Wait for their "
            "end, or erase it with --cancel: what is queued is canceled, and what kie.ai has is "
            "erased once it has ended."
        )
        raise NotErasableError(detail)
