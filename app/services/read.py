"""Reading for answers: rows go from the store to the edge untouched, but for what is redacted."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.domain.callback_url import CallbackUrls
from app.domain.errors import NotFoundError
from app.domain.redact import redacted_body
from app.domain.task import AT_REST, State
from app.store import callbacks, tasks
from app.store.engine import Database
from app.store.signals import Signals

POLL = 2.0
"""Seconds between looks at a task that somebody waits for, where no wake-up came."""

CALLBACKS_SHOWN = 200


class Reader:
    """Answers a client's questions about its own tasks, and knows no others."""

    def __init__(self, database: Database, signals: Signals, urls: CallbackUrls) -> None:
        self._database = database
        self._signals = signals
        self._urls = urls

    async def task(self, client_id: UUID, task_id: UUID) -> Mapping[str, Any]:
        """Return the task's answered columns; raises `NotFoundError`."""
        async with self._database.read() as connection:
            row = await tasks.read_task(connection, client_id=client_id, task_id=task_id)
        if row is None:
            raise _no_such_task()
        return dict(row)

    async def wait(self, client_id: UUID, task_id: UUID, seconds: float) -> None:
        """Return when the task rests or the time is over; raises `NotFoundError`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        with self._signals.subscribed(task_id.hex) as announced:
            while await self._state(client_id, task_id) not in AT_REST:
                left = deadline - loop.time()
                if left <= 0:
                    return
                try:
                    async with asyncio.timeout(min(left, POLL)):
                        await announced.wait()
                except TimeoutError:
                    continue
                announced.clear()

    async def callbacks(self, client_id: UUID, task_id: UUID) -> Sequence[Mapping[str, Any]]:
        """Return what kie.ai said of the task, newest first; raises `NotFoundError`."""
        await self._state(client_id, task_id)
        async with self._database.read() as connection:
            rows = await callbacks.read_callbacks(connection, task_id, limit=CALLBACKS_SHOWN)
        tokens = self._urls.tokens(task_id)
        return [
            {name: value for name, value in row.items() if name != "body"}
            | {"raw": redacted_body(row["body"], tokens)}
            for row in rows
        ]

    async def _state(self, client_id: UUID, task_id: UUID) -> State:
        async with self._database.read() as connection:
            state = await tasks.read_state(connection, client_id=client_id, task_id=task_id)
        if state is None:
            raise _no_such_task()
        return state


def _no_such_task() -> NotFoundError:
    detail = "You have no task with this id."
    return NotFoundError(detail)
