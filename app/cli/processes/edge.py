"""Where strangers' bytes come in: everything is bounded before the application hears of it.

uvicorn with httptools bounds neither headers nor time nor connections. This protocol counts what
came since a message began, gives head, body and idleness their seconds, and lets strangers go once
they are too many. It looks at no token and at no path; the application says whom it knows.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import httptools
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api.callers import is_known, takes_time
from app.cli.processes.arrived import Arrived
from app.cli.processes.refusing import (
    HEADERS_TOO_LARGE,
    MALFORMED,
    NO_HOST,
    ODD_ENCODING,
    TOO_SLOW,
    URL_TOO_LONG,
    Refusal,
    Refused,
)
from app.cli.processes.strangers import Strangers

MAX_HEADERS = 100
MAX_URL_BYTES = 8192
LINGER = 10.0
"""Seconds for which the rest of a body is thrown away, so that its sender gets to the answer."""
LINGER_BYTES = 64 * 1024 * 1024
FLUSH = 1.0
"""Seconds that the end of an answer has to go out on a connection that makes way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one connection may take, in bytes and seconds; and how many of strangers there are."""

    header_bytes: int = 65536
    header_timeout: float = 10
    body_timeout: float = 30
    connections: int = 1000


class RefusedError(Exception):
    """A message is refused before its application runs: stops the parser."""


def edge(bounds: Bounds, refused: Refused) -> type[HttpToolsProtocol]:
    """Return the protocol for one server: uvicorn makes one instance for each connection."""
    shared = {"bounds": bounds, "refused": refused, "strangers": Strangers(bounds.connections)}
    return type("Edge", (EdgeProtocol,), shared)


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
    refused: Refused
    strangers: Strangers

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
        self.strangers.arrives(self)
        self._bound_by(self.bounds.header_timeout, self._too_slow)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.strangers.leaves(self)
        self._unbound()
        super().connection_lost(exc)

    def is_known(self) -> bool:
        """Return whether its latest request showed a key or a token."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and is_known(cycle.scope)

    def make_way(self) -> None:
        """Go, for there are too many strangers; what was answered may be read."""
        self._note("crowded")
        self._socket.close()
        if self._socket.get_write_buffer_size():
            self.loop.call_later(FLUSH, self._socket.abort)

    def _note(self, reason: str) -> None:
        self.refused(reason, self.client[0] if self.client else None)

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
        self._feed(data)
        if self._reading_head and not self.is_leaving:
            self._head_bytes += len(data)
            if self._head_bytes > self.bounds.header_bytes:
                self._refuse(HEADERS_TOO_LARGE)

    def _feed(self, data: bytes) -> None:
        """Parse; uvicorn's own way to do so logs a line for whatever anybody sends."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._note("upgrade")  # it is answered as HTTP, and what follows is not read
        except httptools.HttpParserError:
            self._refuse(self._refusal or MALFORMED)

    # -- one message

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading_head, self._head_bytes = True, 0
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
    def on_body(self, body: bytes) -> None:
        if not self.cycle.body:
            self.cycle.body = Arrived()  # type: ignore[assignment]  # it has what uvicorn uses
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        self._incomplete = False
        self._unbound()
        self.strangers.leaves(self)
        super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        under_way = self._incomplete or not self.cycle.response_complete
        if not under_way and not self.is_leaving and not self.is_known():
            self.strangers.is_answered(self)

    # -- leaving

    def _too_slow(self) -> None:
        if not (self._reading_head or self._incomplete):
            self._note("silent")
            self._socket.close()
        elif self._incomplete and takes_time(self.cycle.scope):
            self._bound_by(self.bounds.body_timeout, self._too_slow)
        elif self._is_answering():
            self._note(TOO_SLOW.code)
            self._socket.close()  # half an answer is out
        else:
            self._refuse(TOO_SLOW)

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or not cycle.response_started:
            return False
        return self._incomplete or not cycle.response_complete

    def _refuse(self, refusal: Refusal) -> None:
        self._note(refusal.code)
        cycle: RequestResponseCycle | None = self.cycle
        self._incomplete = True  # whatever it was to be
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self._socket.write(refusal.render())  # else half an answer is out
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
        if self._thrown_away > LINGER_BYTES and not self._socket.is_closing():
            self._note("endless_body")
            self._socket.close()

    # -- time

    def _bound_by(self, seconds: float, act: Callable[[], None]) -> None:
        self._unbound()
        self._timer = self.loop.call_later(seconds, partial(act))

    def _unbound(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
