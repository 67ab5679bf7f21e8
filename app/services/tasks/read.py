"""Reading for answers: rows go from the store to the API untouched, but for what is redacted."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from app.domain.admission import Limits
from app.domain.callback_url import CallbackUrls
from app.domain.pace import Paces
from app.domain.paging import Filter, Place
from app.domain.redact import redacted_body
from app.domain.task import FINAL, State
from app.services.limits.large import LargeAnswers
from app.services.limits.under_way import give_back, take
from app.services.missing import missing
from app.services.tasks.waiters import Awaited, Future, Waiters, is_gone
from app.store.account import forecast
from app.store.connections.engine import Columns, Connection, Database, Row
from app.store.tasks import callbacks, lists, rows

CALLBACKS_SHOWN = 200
CALLBACKS_WEIGHT = 3 * 1024 * 1024
"""Bytes of a page of callbacks; what JSON adds around them keeps it under 4 MB."""

HIDDEN_HEADERS = frozenset({"x-webhook-signature"})
"""Kept, and not shown: for five minutes it vouches for whatever is sent under the task's id."""

MAX_PAGE = lists.MAX_PAGE
"""Bytes of the tasks' own texts in one page, where it has more than one task."""

PAGES, TASKS = "pages", "tasks"
"""What a client reads in turns of its own each, where it is large."""

HIDDEN = 4096
"""Characters at the end of a body that was cut; no secret is longer, however it is spelled."""


class Reader:
    """Reads a client's own tasks, and no others."""

    def __init__(
        self,
        database: Database,
        waiters: Waiters,
        urls: CallbackUrls,
        limits: Limits,
        paces: Paces,
        clock: Callable[[], datetime],
        large: LargeAnswers,
    ) -> None:
        self._database = database
        self._large = large
        self._waiters = waiters
        self._urls = urls
        self._limits = limits
        self._paces = paces
        self._clock = clock

    async def task(self, client_id: UUID, task_id: UUID) -> Columns:
        """Return the task; raises `NotFoundError`, `TaskErasedError`."""
        await self._large.may_read(client_id, TASKS)
        async with self._database.read(client_id) as connection:
            row = await rows.read_task(connection, client_id=client_id, task_id=task_id)
            if row is None:
                raise await missing(connection, client_id, task_id)
            self._large.was_read(client_id, TASKS, _size(row))
            return (await self._with_forecast(connection, client_id, [row]))[0]

    async def _with_forecast(
        self, connection: Connection, client_id: UUID, rows: Sequence[Row]
    ) -> list[Columns]:
        """Add to the queued ones why they wait, and how long; to running ones when they may end."""
        rows = [self._with_end(row) for row in rows]
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

    def _with_end(self, row: Row) -> Row:
        if row["state"] != State.RUNNING:
            return row
        ends_at = self._paces.ends_at(row["model"], row["submitted_at"], self._clock())
        return {**row, "estimated_finish_at": ends_at}

    async def when_final(
        self,
        client_id: UUID,
        task_id: UUID,
        *,
        seconds: float,
        given_up: Awaited | None = None,
    ) -> Columns:
        """Return the task in its final state, or as it is when the time is over.

        Raises `NotFoundError`, `TaskErasedError`.
        """
        found = await self.all_when_final(
            client_id, [task_id], mode="any", seconds=seconds, given_up=given_up
        )
        return found[0]

    async def all_when_final(
        self,
        client_id: UUID,
        ids: Sequence[UUID],
        *,
        mode: Literal["any", "all"],
        seconds: float,
        given_up: Awaited | None = None,
    ) -> list[Columns]:
        """Return the tasks, in the order asked for, once any or all of them are final.

        Where `given_up` is done first, nobody waits any more, and they are returned as they are.

        However many they are: one look at the start, and one at the end for those that are not
        final. Raises `NotFoundError` where one of them is not the client's.
        """
        until = asyncio.get_running_loop().time() + seconds
        with self._waiters.waiting_for(ids) as futures:
            found = await self._tasks(client_id, futures)
            pending = {one for one, task in found.items() if task["state"] not in FINAL}
            waits = mode == "all" or len(pending) == len(found)
            # For up to a minute nothing large is held of those that are read again.
            give_back(sum(_size(found.pop(one)) for one in pending))
            if waits:
                awaited = [futures[one] for one in pending]
                await self._until_final(awaited, mode, until, given_up)
            came = {one for one in pending if futures[one].done() and _is_whole(futures[one])}
            found |= {one: futures[one].result() for one in came}
            if left := pending - came:
                found |= await self._tasks(client_id, left)
        return [found[task_id] for task_id in ids]

    async def _until_final(
        self,
        futures: Sequence[Future],
        mode: Literal["any", "all"],
        until: float,
        given_up: Awaited | None,
    ) -> None:
        """Wait until any or all of them have come, the time is over, or nobody waits any more."""
        while left := [future for future in futures if not future.done()]:
            done = [future for future in futures if future.done()]
            if (mode == "any" and done) or any(map(is_gone, done)):
                return
            if not await self._waiters.wait(left, until=until, given_up=given_up):
                return

    async def _tasks(self, client_id: UUID, ids: Collection[UUID]) -> dict[UUID, Columns]:
        """Return the tasks by their ids; raises `NotFoundError` where one is not the client's."""
        await self._large.may_read(client_id, TASKS)
        async with self._database.read(client_id) as connection:
            found = await rows.read_many(connection, client_id=client_id, ids=ids)
            if len(found) < len(ids):
                raise await missing(connection, client_id, *ids)
            size = sum(map(_size, found))
            self._large.was_read(client_id, TASKS, size)
            take(size)
            return {
                row["id"]: row for row in await self._with_forecast(connection, client_id, found)
            }

    async def page(
        self,
        client_id: UUID,
        narrowed: Filter,
        *,
        after: Place | None,
        limit: int,
        with_input: bool = False,
    ) -> tuple[list[Columns], Place | None]:
        """Return a page of the client's tasks, newest first, and where the next one begins.

        It may have fewer than `limit`, where they are large: see `list_tasks`. Raises
        `RateLimitedError`, as `LargeAnswers` does.
        """
        if with_input:
            async with self._large.page(client_id, PAGES):
                take(MAX_PAGE)
                shown, more = await self._listed(client_id, narrowed, after, limit, with_input=True)
        else:
            await self._large.may_read(client_id, PAGES)
            shown, more = await self._listed(client_id, narrowed, after, limit)
        if not more:
            return shown, None
        return shown, Place(created_at=shown[-1]["created_at"], id=shown[-1]["id"])

    async def _listed(
        self,
        client_id: UUID,
        narrowed: Filter,
        after: Place | None,
        limit: int,
        *,
        with_input: bool = False,
    ) -> tuple[list[Columns], bool]:
        async with self._database.read(client_id) as connection:
            rows, more = await lists.list_tasks(
                connection, client_id, narrowed, after=after, limit=limit, with_input=with_input
            )
            self._large.was_read(client_id, PAGES, sum(map(_size, rows)))
            return await self._with_forecast(connection, client_id, rows), more

    async def callbacks(
        self, client_id: UUID, task_id: UUID, *, before: UUID | None = None
    ) -> tuple[Sequence[Columns], UUID | None]:
        """Return kie.ai's statements about the task, newest first, and where the next page begins.

        Raises `NotFoundError`, `TaskErasedError`, and `RateLimitedError` as `LargeAnswers` does.
        """
        async with (
            self._large.page(client_id, PAGES),
            self._database.read(client_id) as connection,
        ):
            if await rows.read_state(connection, client_id=client_id, task_id=task_id) is None:
                raise await missing(connection, client_id, task_id)
            found = await callbacks.read_callbacks(
                connection,
                task_id,
                before=before,
                limit=CALLBACKS_SHOWN,
                weight=CALLBACKS_WEIGHT,
            )
            self._large.was_read(client_id, PAGES, sum(len(row["body"]) for row in found))
            last = found[-1]["id"] if found else None
            more = await callbacks.has_earlier(connection, task_id, last) if last else False
        tokens = self._urls.tokens(task_id)
        return [_as_shown(row, tokens) for row in found], last if more else None


def _as_shown(row: Row, tokens: Sequence[str]) -> Columns:
    headers = {name: text for name, text in row["headers"].items() if name not in HIDDEN_HEADERS}
    shown = {name: value for name, value in row.items() if name != "body"}
    return shown | {"headers": headers, "raw": _shown(row["body"], tokens)}


def _is_whole(future: Future) -> bool:
    """Tell whether the wake-up brought the documents along: it does not where they are large."""
    return future.result()["input"] is not None


def _size(row: Row) -> int:
    """Return how long the texts of its documents are."""
    texts = (row.get(name) for name in rows.DOCUMENTS)
    return sum(len(text.encoded_json) for text in texts if text is not None)


def _shown(body: bytes, tokens: Sequence[str]) -> str:
    """Redact a body; of one that was cut the end goes too, where half a secret may stand."""
    text = redacted_body(body, tokens)
    return text if len(body) < callbacks.BODY_READ else text[:-HIDDEN]
