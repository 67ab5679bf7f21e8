"""Answers: whole ones, and those of which the client sees a part or nothing.

Closing a connection without an answer is beyond ASGI, so `Closable` hands uvicorn's transport
through as an extension of the scope; that works under any uvicorn, however it was started.
"""

import asyncio
import contextlib
import socket
import struct
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from simulator import json_codec

RESET_ON_CLOSE = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
"""Closing then sends RST, not FIN."""
TRANSPORT = "simulator.transport"


class Closable:
    """Lets the application close the connection that a request came by. Outermost of all."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = getattr(receive, "__self__", None)  # uvicorn's, with httptools and h11 alike
        transport = getattr(exchange, "transport", None)
        scope["extensions"] = {**scope.get("extensions", {}), TRANSPORT: transport}
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:  # we are being stopped: uvicorn would answer 500
            await ClosedConnection()(scope, receive, send)


class ClosedConnection(Response):
    """No answer. Resets the connection, or closes it."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self._reset = reset

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = _transport(scope)
        if self._reset:
            transport.get_extra_info("socket").setsockopt(*RESET_ON_CLOSE)
            transport.abort()
        else:
            transport.close()
        await _disconnected(receive)


class HalfAnswer(Response):
    """The headers and half of the body; then the connection is closed."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        half = bytes(self.body[: len(self.body) // 2])
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await closed_after(scope, receive)


async def closed_after(scope: Scope, receive: Receive) -> None:
    """Close the connection once what was sent has gone."""
    _transport(scope).close()
    await _disconnected(receive)


def answer(value: object, status: int = 200) -> Response:
    """Answer JSON, each number digit for digit."""
    return Response(json_codec.encode(value), status, media_type="application/json")


def page(status: HTTPStatus) -> Response:
    """Answer as a proxy in front of kie.ai does: a page of HTML, no envelope."""
    title = f"{status} {status.phrase}"
    html = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n"
        f"<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    )
    return Response(html, status, media_type="text/html")


async def wait_or_disconnect(request: Request, seconds: float | None) -> None:
    """Wait so long, or for ever, but no longer than the client does."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await _disconnected(request.receive)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _transport(scope: Scope) -> asyncio.Transport:
    transport = scope["extensions"][TRANSPORT]
    if transport is None:
        message = "this fault closes the connection, which works under uvicorn only"
        raise RuntimeError(message)
    return transport  # type: ignore[no-any-return]  # uvloop's is no subclass
