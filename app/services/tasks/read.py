"""Reading for answers: rows go from the store to the edge untouched, but for what is redacted."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

from app.domain.admission import Limits
from app.domain.callback_url import CallbackUrls
from app.domain.errors import NotFoundError
from app.domain.paging import Filter, Place
from app.domain.redact import redacted_body
from app.domain.task import FINAL, State
from app.services.tasks.waiters import Waiters
from app.store.account import forecast
from app.store.engine import Connection, Database
from app.store.tasks import callbacks, lists, rows

CALLBACKS_SHOWN = 200

Row = Mapping[Any, Any]

Columns = Mapping[str, Any]
"""A task's answered columns."""


class Reader:
    """Answers a client's questions about its own tasks, and knows no others."""

    def __init__(
        self, database: Database, waiters: Waiters, urls: CallbackUrls, limits: Limits
    ) -> None:
        self._database = database
        self._waiters = waiters
        self._urls = urls
        self._limits = limits

    async def task(self, client_id: UUID, task_id: UUID) -> Columns:
        """Return the task; raises `NotFoundError`."""
        async with self._database.read() as connection:
            row = await rows.read_task(connection, client_id=client_id, task_id=task_id)
            if row is None:
                raise no_such_task()
            return (await self._foretold(connection, client_id, [row]))[0]

    async def _foretold(
        self, connection: Connection, client_id: UUID, rows: Sequence[Row]
    ) -> list[Columns]:
        """Say of the queued ones what they wait for, and how long."""
        queued = [row["id"] for row in rows if row["state"] == State.QUEUED]
        if not queued:
            return [dict(row) for row in rows]
        found = await forecast.forecast(connection, client_id, queued, self._limits)
        return [
            dict(row)
            if (known := found.get(row["id"])) is None
            else {
                **row,
                "hold_reason": known.hold_reason,
                "estimated_start_at": known.estimated_start_at,
            }
            for row in rows
        ]

    async def when_final(self, client_id: UUID, task_id: UUID, *, seconds: float) -> Columns:
        """Return the task once it rests, or as it is when the time is over.

        Raises `NotFoundError`.
        """
        return (await self.all_when_final(client_id, [task_id], mode="any", seconds=seconds))[0]

    async def all_when_final(
        self,
        client_id: UUID,
        ids: Sequence[UUID],
        *,
        mode: Literal["any", "all"],
        seconds: float,
    ) -> list[Columns]:
        """Return the tasks, in the order asked for, once any or all of them rest.

        Raises `NotFoundError` where one of them is not the client's.
        """
        until = asyncio.get_running_loop().time() + seconds
        entered = {task_id: self._waiters.enter(task_id) for task_id in dict.fromkeys(ids)}
        try:
            tasks_now = {task_id: await self.task(client_id, task_id) for task_id in entered}
            pending = {one for one, task in tasks_now.items() if task["state"] not in FINAL}
            while pending and not (mode == "any" and len(pending) < len(entered)):
                if not await self._waiters.come([entered[one] for one in pending], until=until):
                    break
                came = {one for one in pending if entered[one].done()}
                tasks_now |= {one: entered[one].result() for one in came}
                pending -= came
            tasks_now |= {one: await self.task(client_id, one) for one in pending}
        finally:
            for task_id, future in entered.items():
                self._waiters.leave(task_id, future)
        return [tasks_now[task_id] for task_id in ids]

    async def page(
        self, client_id: UUID, narrowed: Filter, *, after: Place | None, limit: int
    ) -> tuple[list[Columns], Place | None]:
        """Return a page of the client's tasks, newest first, and where the next one begins."""
        async with self._database.read() as connection:
            rows = await lists.list_tasks(
                connection, client_id, narrowed, after=after, limit=limit + 1
            )
            shown = await self._foretold(connection, client_id, rows[:limit])
        if len(rows) <= limit:
            return shown, None
        return shown, Place(created_at=shown[-1]["created_at"], id=shown[-1]["id"])

    async def callbacks(self, client_id: UUID, task_id: UUID) -> Sequence[Columns]:
        """Return what kie.ai said of the task, newest first; raises `NotFoundError`."""
        async with self._database.read() as connection:
            if await rows.read_state(connection, client_id=client_id, task_id=task_id) is None:
                raise no_such_task()
            found = await callbacks.read_callbacks(connection, task_id, limit=CALLBACKS_SHOWN)
        tokens = self._urls.tokens(task_id)
        return [
            {name: value for name, value in row.items() if name != "body"}
            | {"raw": redacted_body(row["body"], tokens)}
            for row in found
        ]


def no_such_task() -> NotFoundError:
    """Say the same of a task that is another client's."""
    detail = "You have no task with this id."
    return NotFoundError(detail)
