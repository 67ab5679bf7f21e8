"""Where the console is: it is imported when somebody first comes, and costs nothing before.

Without any admin key there is no console: the answer is that of any path which does not exist.
"""

import asyncio
from html import escape
from importlib import import_module

from fastapi import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors import NOWHERE, Problem, problem
from app.domain.errors import GatewayError
from app.services.services import Services

PREFIX = "/console"

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><h1>{title}</h1><p>{detail}</p>
<p><a href="/console">Back to the console</a></p></html>
"""


class Door:
    """Pure ASGI: leads to the pages, once there is somebody who could sign in."""

    def __init__(self) -> None:
        self._opening = asyncio.Lock()
        self._site: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services: Services = scope["app"].state.services
        address, *_ = scope.get("client") or (None,)
        if not await services.sessions.possible(address):
            content = problem(NOWHERE, scope["state"]["request_id"])
            await Problem(content, status_code=404)(scope, receive, send)
            return
        site = self._site or await self._opened()
        await site(scope, receive, send)

    async def _opened(self) -> ASGIApp:
        """Import the pages beside the loop: to compile the templates' engine takes a while."""
        async with self._opening:
            if self._site is None:
                module = await asyncio.to_thread(import_module, "app.console.site")
                self._site = module.site()
        return self._site


def route() -> Route:
    """Return the one route of the application behind which the pages are."""
    return Route(PREFIX + "{rest:path}", Door(), include_in_schema=False)


def refused(error: GatewayError, status: int) -> Response:
    """Write a refusal from before the pages, as where too much is under way."""
    content = _PAGE.format(title=escape(error.title), detail=escape(error.detail))
    return Response(content, status_code=status, media_type="text/html")
