"""The most usual requests, past FastAPI.

It compares routes twice, and solves dependencies anew for each request. Only the plainest form of a
request comes here, without parameters and preferences; all else goes FastAPI's way. A route's own
function answers either way, given what its dependencies would return.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import callbacks, health, tasks
from app.api.bodies import read_json
from app.api.deps import callers_key, services_of
from app.api.errors import refusal
from app.api.parameters import NO_WAIT, idempotency_key
from app.api.schemas.bodies import validated
from app.api.schemas.tasks import TaskCreate
from app.domain.callback_url import CALLBACK_PATH
from app.domain.errors import GatewayError

Answer = Callable[[Request, Sequence[str]], Awaitable[Response]]
"""Answers a request; given are the parts of its path that vary."""

_HEX = "[0-9a-f]"
_ID = "-".join(f"{_HEX}{{{count}}}" for count in (8, 4, 4, 4, 12))
"""As we spell a task's id; other spellings of a UUID are FastAPI's to read."""

_PREFERENCES = b"prefer"


@dataclass(frozen=True, slots=True)
class Usual:
    """A request that goes straight to its route's function."""

    method: str
    path: re.Pattern[str]
    endpoint: Callable[..., Any]
    answer: Answer


async def _live(_: Request, __: Sequence[str]) -> Response:
    return await health.livez()


async def _read(request: Request, path: Sequence[str]) -> Response:
    caller = await callers_key(request)
    return await tasks.read_task(request, caller, UUID(path[0]), NO_WAIT)


async def _create(request: Request, _: Sequence[str]) -> Response:
    caller = await callers_key(request)
    key = await idempotency_key(request, request.headers.get("idempotency-key"))
    body = validated(TaskCreate, await read_json(request, services_of(request).api))
    return await tasks.create_task(request, caller, key, body, NO_WAIT)


async def _call_back(request: Request, path: Sequence[str]) -> Response:
    return await callbacks.receive_callback(services_of(request), request, *path)


USUAL = (
    Usual("GET", re.compile(f"/v1/tasks/({_ID})"), tasks.read_task, _read),
    Usual("POST", re.compile("/v1/tasks"), tasks.create_task, _create),
    Usual(
        "POST",
        re.compile(f"{CALLBACK_PATH}/([^/]+)/([^/]+)"),
        callbacks.receive_callback,
        _call_back,
    ),
    Usual("GET", re.compile("/livez"), health.livez, _live),
)


class StraightFrame:
    """Pure ASGI: answers what is usual, of the routes that `routers` have."""

    def __init__(self, app: ASGIApp, routers: Iterable[APIRouter]) -> None:
        self._app = app
        found = (route for router in routers for route in router.routes)
        routes = {route.endpoint: route for route in found if isinstance(route, APIRoute)}
        self._usual = [(one, routes[one.endpoint]) for one in USUAL if one.endpoint in routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._found(scope)
        if found is None:
            await self._app(scope, receive, send)
            return
        answer, path = found
        request = Request(scope, receive, send)
        try:
            response = await answer(request, path)
        except GatewayError as error:
            response = refusal(scope, error)
        await response(scope, receive, send)

    def _found(self, scope: Scope) -> tuple[Answer, Sequence[str]] | None:
        if scope["type"] != "http" or scope["query_string"] or scope.get("root_path"):
            return None
        for usual, route in self._usual:
            path = usual.path.fullmatch(scope["path"]) if scope["method"] == usual.method else None
            if path is not None:
                if any(name == _PREFERENCES for name, _ in scope["headers"]):
                    return None
                scope["route"], scope["endpoint"] = route, usual.endpoint
                return usual.answer, path.groups()
        return None
