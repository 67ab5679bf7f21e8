"""Events: one task's history and a client's feed, as lists or as they come."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from app.api.answers import ExactJSON
from app.api.cursors import feed_id, history_id, read_feed_id, read_history_id
from app.api.deps import CallerDep, ServicesDep, needs
from app.api.holding import hold_stream
from app.api.openapi import refusals
from app.api.parameters import only_known_parameters
from app.api.schemas.events import EventList
from app.domain.access import Scope
from app.domain.errors import TaskErasedError
from app.domain.exact_json import render
from app.domain.paging import FeedPlace
from app.domain.task import Change
from app.services.clients.uses import Hold

router = APIRouter(prefix="/v1", tags=["events"], dependencies=[Depends(only_known_parameters)])

Event = Mapping[str, Any]
Shown = dict[str, Any]
Show = Callable[[Event], Shown]
Batches = AsyncIterator[Sequence[Event]]

Holding = AbstractContextManager[Hold]

LONGEST = 3600.0
"""Seconds after which a stream ends; its reader comes back, with a key that is looked up again."""

QUIET_LOOKS = 10
"""Empty looks after which a stream sends a comment: proxies cut silent connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The parameters of both lists of events."""

    parameter: str
    """Which of the two says where to begin."""
    after: str | None
    limit: int
    streamed: bool


async def reading(
    after: Annotated[
        str | None, Query(description="The id of the last event seen; none: from the beginning.")
    ] = None,
    last_event_id: Annotated[
        str | None, Header(description="The same, as browsers send it when a stream broke off.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 200,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Reading:
    """Read the parameters; a browser that comes back has the address that it was opened with."""
    return Reading(
        parameter="Last-Event-ID" if last_event_id else "after",
        after=last_event_id or after,
        limit=limit,
        streamed="text/event-stream" in accept.lower(),
    )


ReadingDep = Annotated[Reading, Depends(reading)]

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "With `Accept: text/event-stream` the same as a stream, resumable.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.get(
    "/tasks/{task_id}/events",
    operation_id="listTaskEvents",
    response_model=EventList,
    responses={
        **_STREAM,
        **refusals(401, 403, 404, 410, 422, 429, 503, as_in={410: TaskErasedError}),
    },
)
@needs(Scope.TASKS_READ)
async def task_events(
    request: Request, services: ServicesDep, caller: CallerDep, task_id: UUID, asked: ReadingDep
) -> Response:
    """Return what happened to the task, oldest first; a stream ends with the final state."""
    client = caller.client_id
    after = read_history_id(asked.parameter, asked.after)
    if asked.streamed:
        hold_stream(request, services, caller)
        await services.reader.task(client, task_id)  # a refusal is no stream
        return _streamed(
            services.uses.holding(caller),
            services.feed.follow_task(client, task_id, after=after),
            _in_history,
        )
    found = await services.feed.history(client, task_id, after=after, limit=asked.limit)
    return _listed([_in_history(event) for event in found], asked.after or history_id(0))


@router.get(
    "/events",
    operation_id="listEvents",
    response_model=EventList,
    responses={**_STREAM, **refusals(401, 403, 410, 422, 429, 503)},
)
@needs(Scope.TASKS_READ)
async def client_events(
    request: Request, services: ServicesDep, caller: CallerDep, asked: ReadingDep
) -> Response:
    """Return what happened to your tasks, oldest first; read on from `next_cursor`."""
    client = caller.client_id
    after = read_feed_id(asked.parameter, asked.after)
    if asked.streamed:
        hold_stream(request, services, caller)
        await services.feed.find(client, after)  # a refusal is no stream
        return _streamed(
            services.uses.holding(caller), services.feed.follow(client, after=after), _in_feed
        )
    found = await services.feed.feed(client, after=after, limit=asked.limit)
    return _listed([_in_feed(event) for event in found], asked.after or feed_id(0, FeedPlace()))


def _in_history(event: Event) -> Shown:
    return _shown(history_id(event["id"]), event)


def _in_feed(event: Event) -> Shown:
    place = FeedPlace(position=event["position"], token=event["token"])
    return _shown(feed_id(event["id"], place), event)


def _shown(place: str, event: Event) -> Shown:
    return {
        "id": place,
        "type": _type(event),
        **{name: event[name] for name in ("task_id", "from_state", "to_state")},
        **{name: event[name] for name in ("attempt", "reason", "at")},
    }


def _type(event: Event) -> str:
    moved = event["kind"] == Change.MOVED
    return f"task.{event['to_state'] if moved else event['kind']}"


def _listed(shown: Sequence[Shown], after: str) -> Response:
    return ExactJSON({"data": shown, "next_cursor": shown[-1]["id"] if shown else after})


def _streamed(holding: Holding, batches: Batches, show: Show) -> Response:
    written = _written(holding, batches, show)
    return EventSourceResponse(written, headers={"Cache-Control": "no-store"})


async def _written(holding: Holding, batches: Batches, show: Show) -> AsyncIterator[bytes]:
    """Write until there is no more, the caller's key has ended, or `LONGEST` is over."""
    quiet = 0
    clock = asyncio.get_running_loop().time
    until = clock() + LONGEST
    with holding as hold:
        yield KEEPALIVE_COMMENT  # the headers go out at once
        async for batch in batches:
            if hold.is_over or clock() > until:
                return
            quiet = 0 if batch else quiet + 1
            for shown in map(show, batch):
                yield format_sse_event(data_str=render(shown), event=shown["type"], id=shown["id"])
            if quiet == QUIET_LOOKS:
                quiet = 0
                yield KEEPALIVE_COMMENT
