"""Answers that are held open: each counts for its client until it ends, also when nobody waits."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from fastapi import Request
from starlette.types import Scope

from app.api.parameters import Waiting
from app.domain.access import Caller
from app.domain.errors import TooManyWaitsError
from app.domain.limits import Held
from app.services.services import Services

AT_END = "at_end"
"""Where a request's state has what is to be done when the request is over, however it ends."""


@asynccontextmanager
async def held(
    request: Request, services: Services, caller: Caller
) -> "AsyncIterator[asyncio.Future[None]]":
    """Hold an answer for the length of the block; lends what is done once nobody listens.

    Raises `TooManyWaitsError`. A body must be read before.
    """
    with services.limits.holding(caller, Held.WAIT):
        hung_up = asyncio.ensure_future(_hung_up(request))
        try:
            yield hung_up
        finally:
            hung_up.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@contextmanager
def held_if_room(services: Services, caller: Caller, wait: Waiting) -> Iterator[Waiting]:
    """Lend what a create may wait: as it asks, or, with no room for one more, nothing special.

    By then the task is committed, so there is nothing to refuse any more.
    """
    if not wait.seconds:
        yield wait
        return
    try:
        services.limits.take(caller, Held.WAIT)
    except TooManyWaitsError:
        yield Waiting(seconds=None, applied={})
        return
    try:
        yield wait
    finally:
        services.limits.give_back(caller, Held.WAIT)


def hold_stream(request: Request, services: Services, caller: Caller) -> None:
    """Count a stream until its request is over; raises `TooManyStreamsError`.

    Not by the stream itself: one that its reader leaves before the first byte never runs.
    """
    services.limits.take(caller, Held.STREAM)
    request.scope["state"][AT_END] = lambda: services.limits.give_back(caller, Held.STREAM)


def at_end(scope: Scope) -> None:
    """Do what a request left to be done."""
    do: Callable[[], None] | None = scope["state"].get(AT_END)
    if do is not None:
        do()
