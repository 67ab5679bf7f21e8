"""The steps that calls are made of: what is sent, what comes back, and what is done between.

A call is a generator of such steps. It does nothing of its own; `sync.py` and `aio.py` perform its
steps and give it what came of each, so that all rules are written once.
"""

import os
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

import httpx

T = TypeVar("T")

MAX_ANSWER_BYTES = 64 * 2**20
"""A page of tasks has 4 MiB; a hundred tasks that were waited for may have more."""
CONNECT, WRITE, QUIET = 10.0, 30.0, 30.0
"""Seconds: to connect, to write a piece, and without a byte of an answer."""
LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=20)
"""A wait holds a connection; how many there may be the gateway says."""
SLOWEST = 300.0
"""Seconds after which an answer that still comes is given up."""
CHUNK = 64 * 1024

Source = str | os.PathLike[str] | bytes | IO[bytes] | Iterable[bytes]
"""A file to upload: a path, its bytes, something open, or pieces as they come."""


@dataclass(frozen=True)
class Upload:
    """A file as it is sent: read piece by piece, never held."""

    source: Source
    name: str | None
    content_type: str | None

    @property
    def can_repeat(self) -> bool:
        return isinstance(self.source, (str, os.PathLike, bytes))

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """Lend what httpx sends; raises `OSError` for a path that cannot be read."""
        fields: list[Any] = [] if self.name is None else [("name", (None, self.name.encode()))]
        if isinstance(self.source, (str, os.PathLike)):
            path = Path(self.source)
            with path.open("rb") as file:
                yield {"files": [*fields, self._part(path.name, file)]}
        elif isinstance(self.source, bytes):
            yield {"files": [*fields, self._part(self.name, self.source)]}
        else:
            yield {"files": [*fields, self._part(self.name, _Pieces(self.source))]}

    def _part(self, name: str | None, content: object) -> tuple[str, tuple[Any, ...]]:
        typed = () if self.content_type is None else (self.content_type,)
        return "file", (name or "file", content, *typed)


class _Pieces:
    """Read something open from where it stands: httpx would rewind it, or guess its length."""

    def __init__(self, source: IO[bytes] | Iterable[bytes]) -> None:
        self._read = getattr(source, "read", None)
        self._rest = iter(()) if self._read else iter(source)

    def read(self, _: int = CHUNK) -> bytes:
        if self._read is not None:
            found: bytes = self._read(CHUNK)
            return found
        return next((piece for piece in self._rest if piece), b"")


@dataclass(frozen=True)
class Request:
    """What is sent."""

    method: str
    url: str
    """Whole."""
    params: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str | bytes] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    upload: Upload | None = field(default=None, repr=False)
    held: float = 0.0
    """Seconds for which the gateway may hold the answer."""
    is_safe: bool = True
    """Whether it may be sent again where nobody knows if it was carried out."""

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """Lend the arguments of httpx's `build_request`."""
        timeout = httpx.Timeout(QUIET + self.held, connect=CONNECT, write=WRITE)
        options = {
            "method": self.method,
            "url": self.url,
            "headers": {name.encode(): _bytes(value) for name, value in self.headers.items()},
            "timeout": timeout,
            **({"params": list(self.params)} if self.params else {}),
        }
        if self.upload is None:
            yield {**options, "content": self.body}
            return
        with self.upload.opened() as sent:
            yield {**options, **sent}


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


@dataclass(frozen=True)
class Answer:
    """What came back; of a stream, only its head."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """Names in small letters."""
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Lost:
    """There was no answer, or not all of it."""

    why: str
    sent: bool
    """False: it is certain that nothing was sent."""


class Collected:
    """An answer's body while it comes: bounded in size and time."""

    def __init__(self, request: Request) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._until = time.monotonic() + request.held + SLOWEST

    def add(self, piece: bytes) -> None:
        """Keep a piece; raises `httpx.ReadError` where it is too much."""
        self._size += len(piece)
        self._pieces.append(piece)
        if self._size > MAX_ANSWER_BYTES or time.monotonic() > self._until:
            message = "the answer is too large or too slow"
            raise httpx.ReadError(message)

    def answer(self, response: httpx.Response) -> Answer:
        return Answer(response.status_code, small(response.headers), b"".join(self._pieces))


def small(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


TROUBLE = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)
_NEVER_SENT = (
    *(httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout),
    *(httpx.UnsupportedProtocol, httpx.InvalidURL),
)


def lost(error: Exception) -> Lost:
    """Say why there is no answer; what a protocol error quotes may be the key."""
    is_quoting = isinstance(error, httpx.ProtocolError)
    words = "" if is_quoting else str(error)
    return Lost(words or type(error).__name__, sent=not isinstance(error, _NEVER_SENT))


# -- steps


@dataclass(frozen=True)
class Send:
    """Send it and take the whole answer: gives `Answer` or `Lost`."""

    request: Request


@dataclass(frozen=True)
class Open:
    """The same, but leave the body of a success to `Read`."""

    request: Request


@dataclass(frozen=True)
class Read:
    """Take the next piece of what is open: gives bytes, empty at the end, or `Lost`."""


@dataclass(frozen=True)
class Sleep:
    """Wait for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Item(Generic[T]):
    """Hand this to the caller."""

    value: T


Step = Send | Open | Read | Sleep
Reply = Answer | Lost | bytes | None
Call = Generator[Step, Reply, T]
"""A call that returns a `T`."""
Items = Generator[Step | Item[T], Reply, None]
"""A call that hands out any number of `T`."""


def sent(request: Request) -> Call[Answer | Lost]:
    """Send it, once."""
    reply = yield Send(request)
    assert isinstance(reply, (Answer, Lost))  # noqa: S101  # what performers give
    return reply


def opened(request: Request) -> Call[Answer | Lost]:
    """Open it, once."""
    reply = yield Open(request)
    assert isinstance(reply, (Answer, Lost))  # noqa: S101
    return reply


def read() -> Call[bytes | Lost]:
    """Take the next piece."""
    reply = yield Read()
    assert isinstance(reply, (bytes, Lost))  # noqa: S101
    return reply
