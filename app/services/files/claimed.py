"""Artifacts that this process has claimed: so many at once, and under leases that it keeps."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

import structlog

from app.domain.errors import DatabaseUnavailableError
from app.store.connections.engine import Database
from app.store.files import claims, outcomes
from app.store.files.claims import DueArtifact

LEASE = 30.0
"""Seconds after which others take up what a process left."""

RENEWALS = 5
"""A lease outlives four renewals that fail in a row."""

MARGIN = 3.0
"""Seconds before the end of a lease at which its holder stops by its own clock."""

CUT_SHORT = "its process ended"

log = structlog.get_logger(__name__)

_Key = tuple[UUID, int]


class Claimed:
    """Claims, carries each claim in a task of its own, and stops one whose lease is lost."""

    def __init__(
        self,
        database: Database,
        concurrency: int,
        carry: Callable[[DueArtifact], Awaitable[None]],
        lease: float = LEASE,
    ) -> None:
        self._database = database
        self._concurrency = concurrency
        self._carry = carry
        self._lease = lease
        self._held: dict[_Key, tuple[DueArtifact, asyncio.Task[None]]] = {}
        self._until = 0.0
        """By the loop's clock: until then the leases are ours for sure."""
        self._claiming = asyncio.Lock()
        self._more = False
        self._ending = False
        self._keeper: asyncio.Task[None] | None = None

    async def claim(self) -> None:
        """Take up as much as there is room for."""
        async with self._claiming:
            room = self._concurrency - len(self._held)
            self._more = room <= 0
            if self._more or self._ending:
                return
            at = asyncio.get_running_loop().time()
            async with self._database.begin() as connection:
                due = await claims.claim_due(connection, room=room, lease=self._lease)
            self._more = len(due) == room
            if not self._held:
                self._until = at + self._lease
            for one in due:
                task = asyncio.create_task(self._carried(one))
                self._held[one.task_id, one.n] = (one, task)
        if due and (self._keeper is None or self._keeper.done()):
            self._keeper = asyncio.create_task(self._keep())

    async def release(self) -> None:
        """Stop what is under way, and leave it for others at once."""
        self._ending = True
        cut = [due for due, task in self._held.values() if task.cancel()]
        await self.ended()
        if self._keeper is not None:
            self._keeper.cancel()
        with suppress(DatabaseUnavailableError):  # the leases run out
            async with self._database.begin() as connection:
                for due in cut:
                    await outcomes.again(connection, due, CUT_SHORT, wait=0, counts=False)

    async def ended(self) -> None:
        """Wait until nothing is under way."""
        while True:
            async with self._claiming:  # what is being claimed is begun first
                tasks = [task for _, task in self._held.values()]
            if not tasks:
                return
            await asyncio.wait(tasks)

    async def _carried(self, due: DueArtifact) -> None:
        try:
            await self._carry(due)
        except Exception:  # a defect of ours: its lease runs out
            log.exception("archive.broken", task_id=str(due.task_id), n=due.n)
        finally:
            del self._held[due.task_id, due.n]
        if self._more:
            with suppress(DatabaseUnavailableError):  # the loop's next turn comes anyway
                await self.claim()

    async def _keep(self) -> None:
        """Renew the leases of all at once, for as long as there are any."""
        clock = asyncio.get_running_loop()
        while self._held:
            await asyncio.sleep(self._lease / RENEWALS)
            held, at = list(self._held.values()), clock.time()
            if not held:
                return
            try:
                async with asyncio.timeout_at(self._until - MARGIN):
                    ours = await self._renewed([due for due, _ in held])
            except (TimeoutError, DatabaseUnavailableError):
                if clock.time() < self._until - MARGIN:
                    continue
                ours = set()
            else:
                self._until = at + self._lease
            for due, task in held:
                if (due.task_id, due.n) not in ours:
                    log.warning("archive.lease_lost", task_id=str(due.task_id), n=due.n)
                    task.cancel()

    async def _renewed(self, held: list[DueArtifact]) -> set[_Key]:
        async with self._database.begin() as connection:
            return await claims.renew(connection, held, lease=self._lease)
