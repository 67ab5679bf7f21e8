"""What a client may ask of its task once it exists: cancel it, or have kie.ai asked now."""

import asyncio
from contextlib import suppress
from uuid import UUID

from app.domain.audit import Action, Operator
from app.domain.errors import NotCancelableError, NotRefreshableError
from app.domain.limits import Limited
from app.domain.task import Standing, State
from app.metrics import Metrics
from app.services.consequences import Consequences
from app.services.limits.refusals import LimitRefusals
from app.services.missing import missing
from app.services.tasks.lifecycle import Lifecycle
from app.store.clients import audit
from app.store.connections.engine import Connection, Database
from app.store.signals import POLL, Signals
from app.store.tasks import polls, refreshes, rows
from app.store.tasks.refreshes import Refresh

REFRESH_EVERY = 5.0
"""Seconds in which kie.ai is asked about a task once at most because its client wants it."""


class Commands:
    """Carries out a client's commands on its own tasks."""

    def __init__(
        self, database: Database, signals: Signals, lifecycle: Lifecycle, metrics: Metrics
    ) -> None:
        self._database = database
        self._signals = signals
        self._lifecycle = lifecycle
        self._refusals = LimitRefusals(metrics)

    async def cancel(self, client_id: UUID, task_id: UUID) -> None:
        """Cancel a task that waits in the queue; one that is canceled stays so.

        Raises `NotFoundError` and `NotCancelableError`.
        """

        async def work(connection: Connection, consequences: Consequences) -> None:
            standing = await self._locked(connection, client_id, task_id)
            if standing.state is State.CANCELED:
                return
            if standing.state is not State.QUEUED:
                detail = (
                    f"The task is {standing.state}; only a queued task can be canceled, since "
                    "kie.ai has no cancel. Ignore its result if you no longer want it."
                )
                raise NotCancelableError(detail)
            await self._lifecycle.cancel(connection, consequences, task_id)

        await self._lifecycle.run(work)

    async def refresh(
        self,
        client_id: UUID,
        task_id: UUID,
        *,
        seconds: float,
        operator: Operator | None = None,
    ) -> Refresh:
        """Have kie.ai asked in the client's turn, and wait for its answer at most `seconds`.

        However many ask, one question is sent in `REFRESH_EVERY` seconds: a further one waits for
        the answer to the last, or sees what that left. It is audited where an `operator` says so.
        Raises `NotFoundError` and `NotRefreshableError`.
        """

        async def work(connection: Connection, consequences: Consequences) -> Refresh:
            standing = await self._locked(connection, client_id, task_id)
            if standing.kie_task_id is None:
                detail = (
                    f"The task is {standing.state} and has no id at kie.ai to ask about. Wait for "
                    "it with ?wait=30, or follow its events: it moves on by itself."
                )
                raise NotRefreshableError(detail)
            found = await refreshes.refresh(connection, task_id, every=REFRESH_EVERY)
            if found is None:
                detail = (
                    "The task is parked: the gateway's operators have to act first. Ask them, or "
                    "create another one."
                )
                raise NotRefreshableError(detail)
            if operator is not None:
                action = Action.TASK_REFRESHED
                await audit.note(connection, action, operator=operator, task_id=task_id)
            if found.again_in is None:
                consequences.wake(POLL)
            return found

        with self._signals.subscribed(task_id.hex) as announced:
            found = await self._lifecycle.run(work)
            if found.again_in is not None:
                self._refusals.note(Limited.REFRESH, client_id)
                announced.set()  # it may be answered already
            with suppress(TimeoutError):  # the question stays due; the caller sees what there is
                async with asyncio.timeout(seconds):
                    await self._answered(task_id, announced)
        return found

    async def _answered(self, task_id: UUID, announced: asyncio.Event) -> None:
        """Wait for the answer itself: other news of the task wake us too."""
        while True:
            await announced.wait()
            announced.clear()
            async with self._database.read() as connection:
                if await polls.is_answered(connection, task_id):
                    return

    async def _locked(self, connection: Connection, client_id: UUID, task_id: UUID) -> Standing:
        if await rows.read_state(connection, client_id=client_id, task_id=task_id) is None:
            raise await missing(connection, client_id, task_id)
        standing = await rows.lock_task(connection, task_id)
        if standing is None:
            raise await missing(connection, client_id, task_id)
        return standing
