"""Around every request: its id, its duration, its count, and an answer even where we broke.

Every answer gets the headers that keep browsers from misusing it. How long it took is shown only to
who has a key: to others it would be an exact clock for what they try.
"""

import re
import time
import uuid
from collections.abc import Iterator

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.browsers import protect
from app.api.callers import is_known
from app.api.deps import COUNT
from app.api.errors import SORRY, refusal
from app.api.holding import at_end
from app.domain.errors import InternalError
from app.domain.limits import Count
from app.metrics import Metrics
from app.services.services import Services

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

log = structlog.get_logger(__name__)


class RequestFrame:
    """Pure ASGI: takes the caller's X-Request-ID or makes one, times and counts, logs a defect."""

    def __init__(self, app: ASGIApp, *, timed: bool = True) -> None:
        """Show the duration as `Server-Timing` if `timed`, and only to callers with a key."""
        self._app = app
        self._timed = timed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(Headers(scope=scope).get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        status: int | None = None

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._dress(scope, message, time.perf_counter() - started)
            await send(message)

        about = {"request_id": request_id, "address": _address(scope)}
        before = structlog.contextvars.bind_contextvars(**about)
        try:
            await self._app(scope, receive, framed)
        except ClientDisconnect:
            log.info("request.given_up", method=scope["method"])  # nobody reads an answer
        except Exception:
            log.exception("request.broken", method=scope["method"])
            if status is not None:
                raise
            await refusal(scope, InternalError(SORRY))(scope, receive, framed)
        finally:
            at_end(scope)
            _count(scope, status, time.perf_counter() - started)
            structlog.contextvars.reset_contextvars(**before)

    def _dress(self, scope: Scope, message: Message, seconds: float) -> None:
        ours = dict(_headers(scope))
        if self._timed and is_known(scope):
            ours[b"server-timing"] = b"total;dur=%.1f" % (seconds * 1000)
        headers = [pair for pair in message.get("headers", ()) if pair[0] not in ours]
        protect(headers)
        headers.extend(ours.items())
        message["headers"] = headers


def _address(scope: Scope) -> str | None:
    """Return the caller's address, as far as proxies are trusted (app/api/forwarded.py)."""
    client = scope.get("client")
    return client[0] if client else None


def _headers(scope: Scope) -> Iterator[tuple[bytes, bytes]]:
    """Yield what every answer to this request says beside its own."""
    state = scope["state"]
    yield b"x-request-id", state["request_id"].encode()
    counted: Count | None = state.get(COUNT)
    if counted is not None:
        yield b"ratelimit-policy", counted.policy.encode()
        yield b"ratelimit", counted.field.encode()
    if _is_ending(scope):
        yield b"connection", b"close"  # the next one goes to another process


def _is_ending(scope: Scope) -> bool:
    services: Services = scope["app"].state.services
    return services.shutdown.begun


def _count(scope: Scope, status: int | None, seconds: float) -> None:
    """Count by the route's template: a path holds ids, and a stranger may send any."""
    counted: Metrics = scope["app"].state.services.metrics
    counted.answered(_template(scope.get("route")), scope["method"], status, seconds)


def _template(route: BaseRoute | None) -> str | None:
    return getattr(route, "path", None)


def _request_id(given: str | None) -> str:
    return given if given and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
