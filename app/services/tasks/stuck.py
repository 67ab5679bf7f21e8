"""Stuck tasks, and the few things that only a person can decide about them.

Each act and its audit entry are one transaction.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.domain.audit import Action, Operator
from app.domain.callback_url import CallbackUrls, Echo
from app.domain.errors import (
    InvalidRequestError,
    KieNotAnsweringError,
    NotStuckError,
    no_such_task,
    require_risk_taken,
)
from app.domain.report import Answered, NoAnswer, NotVisible
from app.domain.task import FINAL, Standing, State
from app.kie.client import KieClient
from app.services.consequences import Consequences
from app.services.tasks.lifecycle import Lifecycle
from app.store.clients import audit
from app.store.connections.engine import Connection, Database
from app.store.signals import POLL
from app.store.tasks import polls, rows, stuck

GRACE = 60.0
"""Seconds by which work may be over before it counts as stuck."""

SHOWN = 200
REVIEWED = 10_000

_KIE_TASK_ID = re.compile(r"[!-~]{1,200}")


class StuckTasks:
    """Lists stuck tasks, and carries out what an operator decides; `operator` said so."""

    def __init__(
        self, database: Database, lifecycle: Lifecycle, kie: KieClient, urls: CallbackUrls
    ) -> None:
        self._database = database
        self._lifecycle = lifecycle
        self._kie = kie
        self._urls = urls

    async def list(self) -> list[Mapping[str, Any]]:
        async with self._database.read() as connection:
            found = await stuck.list_stuck(connection, grace=GRACE, limit=SHOWN)
        return [dict(row) for row in found]

    async def review(self) -> Sequence[Mapping[str, Any]]:
        """Return the tasks that may have been sent before the database was restored.

        Those that it still has to send, as of the moment when that was noticed; empty where
        nothing is held because of the database.
        """
        async with self._database.read() as connection:
            found = await stuck.list_to_review(connection, grace=GRACE, limit=REVIEWED)
        return [dict(row) for row in found]

    async def one(self, task_id: UUID) -> Mapping[str, Any]:
        """Return any task as an operator sees it; raises `NotFoundError`."""
        async with self._database.read() as connection:
            found = await stuck.read_one(connection, task_id, grace=GRACE)
        if found is None:
            raise no_such_task()
        return dict(found)

    async def bind(self, operator: Operator, task_id: UUID, kie_task_id: str) -> None:
        """Give a task the id that a person found at kie.ai, and have kie.ai asked about it.

        An id is never replaced, and its result goes to the task's client: so kie.ai is asked
        first. Raises `NotFoundError`, `NotStuckError` where the task has an id or was not sent,
        `InvalidRequestError` for an id that is not this task's, `KieNotAnsweringError`.
        """
        if not _KIE_TASK_ID.fullmatch(kie_task_id):
            detail = "kie.ai's id is 1 to 200 printable ASCII characters without spaces."
            raise InvalidRequestError(detail)

        async def check(connection: Connection) -> Standing:
            standing = await self._locked(connection, task_id)
            _require_bindable(standing, kie_task_id)
            if await rows.is_of_another(connection, task_id, kie_task_id):
                detail = "This id at kie.ai belongs to another task of the gateway's."
                raise InvalidRequestError(detail)
            return standing

        async def work(connection: Connection, consequences: Consequences) -> None:
            if (await check(connection)).state is State.QUEUED:  # sent, before a restore
                await self._lifecycle.found_sent(connection, consequences, task_id, kie_task_id)
            await polls.bind(connection, task_id, kie_task_id)
            await polls.unpark(connection, task_id)
            await polls.poll_at_once(connection, task_id)
            await audit.note(
                connection,
                Action.TASK_BOUND,
                operator=operator,
                task_id=task_id,
                detail={"kie_task_id": kie_task_id},
            )
            consequences.wake(task_id, POLL)

        await self._database.run(check)
        await self._require_own(task_id, kie_task_id)
        await self._lifecycle.run(work)

    async def _require_own(self, task_id: UUID, kie_task_id: str) -> None:
        """Ask kie.ai whose id this is, as far as it says."""
        match await self._kie.record_info(kie_task_id):
            case Answered(report=report):
                echo = self._urls.echo(task_id, report.callback_url)
                foreign = echo in {Echo.ANOTHERS, Echo.STRANGE}
                if foreign or kie_task_id not in (report.kie_task_ids or (kie_task_id,)):
                    detail = "kie.ai has this id for something else than this task."
                    raise InvalidRequestError(detail)
            case NotVisible():
                detail = "kie.ai knows no task with this id; look at its log again."
                raise InvalidRequestError(detail)
            case NoAnswer(reason=reason):
                detail = f"kie.ai did not say whose this id is ({reason}). Nothing was bound."
                raise KieNotAnsweringError(detail)

    async def requeue(self, operator: Operator, task_id: UUID, *, may_pay_again: bool) -> None:
        """Put an unconfirmed task back into the queue, to be sent and perhaps paid once more.

        Raises `PaidTwiceRiskError` unless told that this is meant, `NotFoundError`, and
        `NotStuckError` for a task in any other state or with an id at kie.ai.
        """
        require_risk_taken(may_pay_again=may_pay_again)

        async def work(connection: Connection, consequences: Consequences) -> None:
            standing = await self._locked(connection, task_id)
            _require_lost(standing)
            await self._lifecycle.send_again(connection, consequences, task_id)
            await audit.note(
                connection,
                Action.TASK_REQUEUED,
                operator=operator,
                task_id=task_id,
                detail={"may_pay_again": "true", "attempt": str(standing.attempt)},
            )

        await self._lifecycle.run(work)

    async def release(self, operator: Operator, task_id: UUID) -> None:
        """Work again on a task that was parked; raises `NotFoundError`, `NotStuckError`."""

        async def work(connection: Connection, consequences: Consequences) -> None:
            await self._locked(connection, task_id)
            if not await polls.unpark(connection, task_id):
                detail = "The task is not parked: there is nothing to release."
                raise NotStuckError(detail)
            await audit.note(connection, Action.TASK_RELEASED, operator=operator, task_id=task_id)
            consequences.wake(task_id, POLL)

        await self._lifecycle.run(work)

    async def _locked(self, connection: Connection, task_id: UUID) -> Standing:
        standing = await rows.lock_task(connection, task_id)
        if standing is None:
            raise no_such_task()
        return standing


def _require_bindable(standing: Standing, kie_task_id: str) -> None:
    if standing.kie_task_id not in (None, kie_task_id):
        detail = "The task has another id at kie.ai already; an id is never replaced."
        raise NotStuckError(detail)
    if standing.state not in (State.QUEUED, State.UNCONFIRMED, State.EXPIRED):
        detail = (
            f"The task is {standing.state}; only an unconfirmed, expired or queued one is bound."
        )
        raise NotStuckError(detail)


def _require_lost(standing: Standing) -> None:
    if standing.state in FINAL:
        detail = f"The task is finished ({standing.state}): there is nothing to put back."
        raise NotStuckError(detail)
    if standing.state is not State.UNCONFIRMED:
        detail = f"The task is {standing.state}; only an unconfirmed one is put back."
        raise NotStuckError(detail)
    if standing.kie_task_id is not None:
        detail = "The task has an id at kie.ai: it was created, and is asked about."
        raise NotStuckError(detail)
