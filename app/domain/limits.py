"""How much one client may ask of one process: requests in time, and answers held open.

A bucket of requests is kept as one number, the instant at which it will be full again: what it has
follows from that and from the clock, and a full one needs no memory at all.
"""

import math
from dataclasses import dataclass, fields
from enum import StrEnum

from app.domain.errors import RateLimitedError, TooManyStreamsError, TooManyWaitsError, bad_member
from app.domain.file_errors import TooManyUploadsError
from app.domain.redeliveries import grant

WINDOW = 2
"""Seconds in which an empty bucket is full again: so it holds twice the requests of a second."""

HELD_RETRY = 5.0
"""Seconds after which one more stream or wait may be tried: nobody knows when another ends."""

MOST = 100_000
"""The highest limit that a client can be given."""


class Limited(StrEnum):
    """What a client had too much of."""

    REQUESTS = "requests"
    STREAMS = "streams"
    WAITS = "waits"
    UPLOADS = "uploads"
    QUEUE_FULL = "queue_full"
    REFRESH = "refresh"
    REDELIVERIES = "redeliveries"
    OVERLOADED = "overloaded"
    LARGE_ANSWERS = "large_answers"


class Held(StrEnum):
    """An answer that is held open."""

    WAIT = "wait"
    STREAM = "stream"
    UPLOAD = "upload"

    @property
    def limited(self) -> Limited:
        """By which limit."""
        return _LIMITED[self]


_LIMITED = {
    Held.WAIT: Limited.WAITS,
    Held.STREAM: Limited.STREAMS,
    Held.UPLOAD: Limited.UPLOADS,
}
_TOO_MANY = {
    Held.WAIT: TooManyWaitsError,
    Held.STREAM: TooManyStreamsError,
    Held.UPLOAD: TooManyUploadsError,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a client may have by its own settings; None: what the process allows each."""

    requests_per_second: int | None = None
    streams: int | None = None
    waits: int | None = None


LIMITS = tuple(field.name for field in fields(Allowance))
"""The names of what each client may be given another limit of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """What each client may have, and what the process holds open for all."""

    requests_per_second: int = 50
    streams: int = 20
    waits: int = 200
    uploads: int = 4
    uploads_per_minute: int = 60
    max_uploads: int = 40
    """Uploads of all clients together."""
    max_held: int = 10_000
    """Streams and waits of all clients together."""

    @property
    def max_held_of_one(self) -> int:
        """Streams and waits of one client together, whatever its own limits are."""
        return max(1, self.max_held // 10)


@dataclass(frozen=True, slots=True)
class Count:
    """Where a request left its client's bucket."""

    rate: int
    """Requests per second."""
    full_in: float
    """Seconds until nothing is missing any more, this request included where it was taken."""
    taken: bool
    """False: it was one too many."""

    @property
    def left(self) -> int:
        """How many more requests there are at once."""
        return max(0, math.floor(WINDOW * self.rate - self.full_in * self.rate + _ROUNDING))

    @property
    def retry_after(self) -> float:
        """Seconds until there is one again."""
        return max(0.0, self.full_in - WINDOW + 1 / self.rate)

    @property
    def policy(self) -> str:
        """The field `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-11."""
        return f'"requests";q={WINDOW * self.rate};w={WINDOW}'

    @property
    def field(self) -> str:
        """The field `RateLimit`: what is left, and in how many seconds all of it is back."""
        return f'"requests";r={self.left};t={math.ceil(self.full_in - _ROUNDING)}'

    def require(self) -> None:
        """Raise `RateLimitedError` for one too many."""
        if self.taken:
            return
        detail = (
            f"Your client sends more than {self.rate} requests per second: send fewer. The headers "
            "RateLimit and Retry-After say when there is room."
        )
        raise RateLimitedError(detail, retry_after=self.retry_after)


_ROUNDING = 1e-6
"""Of a request or a second: sums of floats miss whole numbers by less."""


def count(full_at: float, now: float, rate: int) -> Count:
    """Take a request from the bucket that is full at `full_at`; at the latest it is full `now`."""
    missing = max(0.0, full_at - now)
    full_in = missing + 1 / rate
    if full_in > WINDOW + _ROUNDING / rate:
        return Count(rate, missing, taken=False)
    return Count(rate, full_in, taken=True)


@dataclass(frozen=True, slots=True)
class Holding:
    """How many answers are held open."""

    of_kind: int
    """Of the client's, of this kind."""
    of_client: int
    of_all: int
    all_of_kind: int = 0
    """Of all clients', of this kind."""


def require_room(held: Held, before: Holding, limit: int, limits: ClientLimits) -> None:
    """Raise the error of this kind, such as `TooManyStreamsError`, where no more may be held open.

    Uploads have a bound for all clients together too. Beyond it each client has one all the same,
    until there are twice as many: so who has several leaves room for who has none.
    """
    full = held is Held.UPLOAD and before.all_of_kind >= limits.max_uploads
    bounds = {
        f"Your client has as many open {held.limited} as it may ({limit})": before.of_kind >= limit,
        "Your client holds a tenth of all answers that this process holds open": before.of_client
        >= limits.max_held_of_one,
        "This process takes in as many uploads as it may": full
        and (before.of_kind > 0 or before.all_of_kind >= 2 * limits.max_uploads),
        "This process holds open as many answers as it may": before.of_all >= limits.max_held,
    }
    for bound, met in bounds.items():
        if met:
            detail = f"{bound}: end one, or try again later."
            raise _TOO_MANY[held](detail, retry_after=HELD_RETRY)


def begin_upload(full_at: float, now: float, per_minute: int) -> float:
    """Take one of the uploads that a client may begin; returns when its bucket is full again.

    A sixth of a minute's may begin at once. Raises `TooManyUploadsError`.
    """
    granted = grant(full_at, now, per_minute, 1)
    if granted.count:
        return now + granted.full_in
    detail = f"Your client begins more than {per_minute} uploads per minute: try again later."
    raise TooManyUploadsError(detail, retry_after=granted.retry_after)


def checked_limit(name: str, limit: int | None) -> int | None:
    """Return the limit; raises `InvalidRequestError` for one outside 1 to `MOST`."""
    if limit is None or 1 <= limit <= MOST:
        return limit
    where, trouble = f"/{name}", f"should be a whole number from 1 to {MOST}, or null"
    raise bad_member(where, trouble)
