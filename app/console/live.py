"""`/console/live`: says to open pages that something changed; what it is, they read themselves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Final
from uuid import UUID

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from app.console.routing import Pages
from app.console.visits import COOKIE, Visit, sent_by
from app.domain.errors import TooManyStreamsError, bad_parameter
from app.services.limits.under_way import resting

pages = Pages()

MOST: Final = 50
"""Open pages of one process."""
PACE = 0.4
"""Seconds between two words at most: what changes meanwhile is one change."""
LOOK = 0.5
"""Seconds after which a task is looked at though nothing was announced."""
CHECK = 15.0
"""Seconds between looks at whether the session still counts; then proxies hear something too."""
LONGEST = 3600.0

_open: set[object] = set()


@pages.get("/console/live")
async def live(visit: Visit) -> Response:
    """Stream a word for every change: of one task, or of anything."""
    if len(_open) >= MOST:
        detail = f"{MOST} pages are open live in this process: this one does not update itself."
        raise TooManyStreamsError(detail, retry_after=5)
    if "task" not in visit.given:
        return _Stream(_said(visit, _of_all(visit)))
    return _Stream(_said(visit, _of_task(visit, _id(visit.given["task"]))))


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        name = "task"
        raise bad_parameter(name, "should be the id of a task") from None


class _Stream(StreamingResponse):
    """Counts as open from its answer's beginning to its end, also where nobody reads it."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        super().__init__(content, media_type="text/event-stream")
        _open.add(self)

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            _open.discard(self)


async def _said(visit: Visit, changes: AsyncIterator[bool]) -> AsyncIterator[bytes]:
    """Write what the stream says until the session is over, or the process ends."""
    clock = asyncio.get_running_loop().time
    began = checked = clock()
    yield b"retry: 2000\n\n"
    async for changed in changes:
        if visit.services.waiters.is_closing or clock() > began + LONGEST:
            return
        if clock() > checked + CHECK:
            checked = clock()
            if not await _lasts(visit):
                yield b"event: over\ndata:\n\n"
                return
            yield b": still here\n\n"
        if changed:
            yield b"event: changed\ndata:\n\n"


async def _lasts(visit: Visit) -> bool:
    token = visit.request.cookies.get(COOKIE, "")
    return await visit.services.sessions.recognise(token, sent_by(visit.request)) is not None


async def _of_all(visit: Visit) -> AsyncIterator[bool]:
    """Yield True after each change of anything, False where nothing was announced for a while."""
    with visit.services.streams.of_all() as event:
        while True:
            yield await _waited(event.wait)
            event.clear()
            await asyncio.sleep(PACE)


async def _of_task(visit: Visit, task_id: UUID) -> AsyncIterator[bool]:
    """Yield whether anything of the task's page differs from before."""
    seen: str | None = await visit.services.overview.mark(task_id)
    with visit.services.signals.subscribed(task_id.hex) as event:
        while True:
            await _waited(event.wait)
            event.clear()
            mark = await visit.services.overview.mark(task_id)
            yield mark != seen
            seen = mark


async def _waited(wait: Callable[[], Awaitable[object]]) -> bool:
    """Wait for what is announced; False: nothing was."""
    with resting(), suppress(TimeoutError):
        async with asyncio.timeout(LOOK):
            await wait()
            return True
    return False
