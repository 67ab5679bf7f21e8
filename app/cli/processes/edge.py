"""Where strangers' bytes come in: everything is bounded before the application hears of it.

uvicorn with httptools bounds neither headers nor time nor connections. This protocol counts what
came since a message began, gives head, body and idleness their seconds, and lets go of who waits
longest once too many wait. It looks at no token and at no path.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEADERS = 100
MAX_URL_BYTES = 8192
LINGER = 10.0
"""Seconds for which the rest of a body is thrown away, so that its sender gets to the answer."""
LINGER_BYTES = 64 * 1024 * 1024

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one connection may take, in bytes and seconds; and how many may wait."""

    header_bytes: int = 65536
    header_timeout: float = 10
    body_timeout: float = 30
    connections: int = 1000


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that needs no application; `code` is stable, see docs/errors.md."""

    status: HTTPStatus
    code: str
    title: str

    def render(self) -> bytes:
        problem = {
            "type": f"urn:kie-gateway:error:{self.code}",
            "title": self.title,
            "status": self.status.value,
            "code": self.code,
        }
        body = json.dumps(problem).encode()
        head = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n"
            "content-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        return head.encode() + body


MALFORMED = Refusal(HTTPStatus.BAD_REQUEST, "malformed_request", "This is no HTTP/1.1 request")
NO_HOST = Refusal(
    HTTPStatus.BAD_REQUEST, "malformed_request", "A request of HTTP/1.1 has one Host header"
)
ODD_ENCODING = Refusal(
    HTTPStatus.BAD_REQUEST, "malformed_request", "The one Transfer-Encoding that is read is chunked"
)
HEADERS_TOO_LARGE = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "The headers are too large"
)
URL_TOO_LONG = Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "url_too_long", "The URL is too long")
TOO_SLOW = Refusal(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "The request took too long")


class RefusedError(Exception):
    """A message is refused before its application runs: stops the parser."""


@dataclass(slots=True)
class Waiting:
    """The connections without a complete request, the longest waiting first."""

    bound: int
    _found: "dict[EdgeProtocol, None]" = field(default_factory=dict)
    dropped: int = 0

    def add(self, one: "EdgeProtocol") -> None:
        self._found.pop(one, None)
        self._found[one] = None
        if len(self._found) > self.bound:
            oldest = next(iter(self._found))
            self.remove(oldest)
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # 1, 2, 4, …: a flood fills no log
                log.warning("edge.connections_dropped", dropped=self.dropped, bound=self.bound)
            oldest.abort()

    def remove(self, one: "EdgeProtocol") -> None:
        self._found.pop(one, None)

    def __len__(self) -> int:
        return len(self._found)


def edge(bounds: Bounds) -> type[HttpToolsProtocol]:
    """Return the protocol for one server: uvicorn makes one instance for each connection."""
    waiting = Waiting(bounds.connections)
    return type("Edge", (EdgeProtocol,), {"bounds": bounds, "waiting": waiting})


class _Lingering:
    """The transport, but that closing it waits for the body that is still coming.

    To close while bytes arrive resets the connection, and the answer with it.
    """

    def __init__(self, transport: asyncio.Transport, protocol: "EdgeProtocol") -> None:
        self._transport = transport
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # all the rest as it is
        return getattr(self._transport, name)

    def close(self) -> None:
        if not self._protocol.lingers():
            self._transport.close()

    def is_closing(self) -> bool:
        return self._protocol.is_leaving or self._transport.is_closing()


class EdgeProtocol(HttpToolsProtocol):
    """One connection, bounded."""

    bounds: Bounds
    waiting: Waiting

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # uvicorn's own
        super().__init__(*args, **options)
        self.is_leaving = False
        """It is refused, or answered for good: what still comes is thrown away."""
        self._socket: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._reading_head = False
        self._head_bytes = 0
        self._incomplete = False
        """A body is still coming."""
        self._thrown_away = 0
        self._refusal: Refusal | None = None

    # -- the connection

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._socket = transport
        super().connection_made(_Lingering(transport, self))  # type: ignore[arg-type]
        self.waiting.add(self)
        self._bound_by(self.bounds.header_timeout, self._too_slow)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.waiting.remove(self)
        self._unbound()
        super().connection_lost(exc)

    def abort(self) -> None:
        self._socket.abort()

    @override
    def data_received(self, data: bytes) -> None:
        if self.is_leaving:
            self._throw_away(len(data))
            return
        cycle: RequestResponseCycle | None = self.cycle
        if self._incomplete and cycle is not None and cycle.response_complete:
            self._throw_away(len(data))  # answered early: the parser looks for the body's end
        if self._reading_head and self._head_bytes + len(data) > 2 * self.bounds.header_bytes:
            data = data[: 2 * self.bounds.header_bytes - self._head_bytes]
        super().data_received(data)
        if self._reading_head and not self.is_leaving:
            self._head_bytes += len(data)
            if self._head_bytes > self.bounds.header_bytes:
                self._refuse(HEADERS_TOO_LARGE)

    # -- one message

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading_head, self._head_bytes = True, 0
        self.waiting.add(self)
        self._bound_by(self.bounds.header_timeout, self._too_slow)

    @override
    def on_headers_complete(self) -> None:
        self._reading_head = False
        self._refusal = self._objection()
        if self._refusal is not None:
            raise RefusedError
        self._incomplete, self._thrown_away = True, 0
        self._bound_by(self.bounds.body_timeout, self._too_slow)
        super().on_headers_complete()

    def _objection(self) -> Refusal | None:
        names = [name for name, _ in self.headers]
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        encodings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        hosts = names.count(b"host")
        objections = {
            URL_TOO_LONG: len(self.url) > MAX_URL_BYTES,
            HEADERS_TOO_LARGE: len(names) > MAX_HEADERS or size > self.bounds.header_bytes,
            NO_HOST: hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"),
            ODD_ENCODING: encodings not in ([], [b"chunked"])
            or (bool(encodings) and b"content-length" in names),
        }
        return next((one for one, present in objections.items() if present), None)

    @override
    def on_message_complete(self) -> None:
        self._incomplete = False
        self._unbound()
        self.waiting.remove(self)
        super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._incomplete and not self.is_leaving:
            self.waiting.add(self)

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or MALFORMED)

    # -- leaving

    def _too_slow(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        answering = self._incomplete and cycle is not None and cycle.response_started
        if answering or not (self._reading_head or self._incomplete):
            self._socket.close()  # it never began, or half an answer is out
        else:
            self._refuse(TOO_SLOW)

    def _refuse(self, refusal: Refusal) -> None:
        self._incomplete = True  # whatever it was to be
        self._socket.write(refusal.render())
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True  # its application, if it runs, hears that nobody listens
            cycle.message_event.set()
        self.lingers()

    def lingers(self) -> bool:
        """Begin to leave; False: nothing is coming any more, and it may be closed at once."""
        if self.is_leaving:
            return True
        if not self._incomplete or self._socket.is_closing():
            return False
        self.is_leaving = True
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if self._socket.can_write_eof():
            self._socket.write_eof()
        self._bound_by(LINGER, self._socket.close)
        return True

    @override
    def eof_received(self) -> None:
        if self.is_leaving:
            self._socket.close()

    def _throw_away(self, count: int) -> None:
        self._thrown_away += count
        if self._thrown_away > LINGER_BYTES:
            self._socket.close()

    # -- time

    def _bound_by(self, seconds: float, act: Callable[[], None]) -> None:
        self._unbound()
        self._timer = self.loop.call_later(seconds, partial(act))

    def _unbound(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
