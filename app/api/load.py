"""Counts what is under way: requests, the bytes of their bodies and those of their answers."""

import asyncio

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.callers import recognise
from app.api.deps import COUNT
from app.api.errors import refusal
from app.domain.callback_url import CALLBACK_PATH
from app.domain.errors import OverloadedError
from app.services.limits.under_way import CURRENT, Place
from app.services.services import Services

EXEMPT = (f"{CALLBACK_PATH}/", "/livez", "/readyz", "/metrics")
"""kie.ai's word is never refused for what callers do, and neither are questions about health."""

PIECE = 64 * 1024
"""Bytes of an answer that are handed to the connection at once: a reader who is slow keeps the
rest counted."""


class LoadFrame:
    """Pure ASGI: refuses what is too much, in the name of the caller who has most under way."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(EXEMPT):
            await self._app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        address, *_ = scope.get("client") or ("unknown",)
        authorization = Headers(scope=scope).get("authorization", "")
        whose = services.authentication.whose(authorization, address)
        try:
            with services.under_way.request(whose) as place:
                await services.under_way.enter(whose)
                token = CURRENT.set(place)
                try:
                    await self._app(scope, _taking(place, receive), _holding(place, send))
                finally:
                    CURRENT.reset(token)
        except OverloadedError as error:  # at the door; behind it, the app answers
            count = services.authentication.count_refused(authorization)
            if count is not None:
                recognise(Request(scope))
                scope["state"][COUNT] = count
            await services.under_way.may_refuse(whose)
            await refusal(scope, error)(scope, receive, send)


def _taking(place: Place, receive: Receive) -> Receive:
    async def taking() -> Message:
        message = await receive()
        place.take(len(message.get("body", b"")))
        return message

    return taking


def _holding(place: Place, send: Send) -> Send:
    """Send large bodies in pieces: each waits until the connection has taken those before."""

    async def holding(message: Message) -> None:
        body = message.get("body", b"")
        if len(body) <= PIECE:
            await send(message)
            return
        place.hold(len(body))
        for start in range(0, len(body), PIECE):
            more = start + PIECE < len(body) or message.get("more_body", False)
            await send({**message, "body": body[start : start + PIECE], "more_body": more})
            place.hold(-len(body[start : start + PIECE]))
            await asyncio.sleep(0)  # others come between the pieces

    return holding
