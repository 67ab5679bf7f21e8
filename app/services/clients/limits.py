"""What each client asks of this process: counted, refused over its limits, and logged.

All of it is this process's own: with three processes behind a proxy a client may have three times
as much. Only clients whose key is good enter, and those that are quiet are forgotten.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from app.domain.access import Caller
from app.domain.errors import RateLimitedError
from app.domain.limits import (
    ClientLimits,
    Count,
    Held,
    Holding,
    Limited,
    begin_upload,
    count,
    require_room,
)
from app.metrics import Metrics
from app.services.limits.refusals import LimitRefusals

TIDY = 60.0
"""Seconds after which what nobody needs any more is forgotten."""


@dataclass(frozen=True, slots=True)
class Known:
    """Whose key a request has, and where the request left its client's bucket."""

    count: Count
    caller: Caller
    disabled: bool = False
    scopes: Sequence[str] | None = None
    """None: all."""


class Limits:
    """Counts the requests of clients, and the answers that are held open for them."""

    def __init__(self, limits: ClientLimits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self.now = metrics.now
        """Seconds of a clock that only goes on."""
        self._full_at: dict[UUID, float] = {}
        self._over: dict[bytes, tuple[float, Caller]] = {}
        self._uploaded: dict[UUID, float] = {}
        self._held: Counter[tuple[UUID, Held]] = Counter()
        self._open: Counter[Held] = Counter()
        self._refusals = LimitRefusals(metrics)
        self._tidy_at = self.now() + TIDY

    # -- requests

    def count(self, caller: Caller, digest: bytes) -> Count:
        """Count a request by the key with this `digest`; one too many is told by the `Count`."""
        now = self.now()
        if now >= self._tidy_at:
            self._tidy(now)
        rate = caller.allowance.requests_per_second or self._limits.requests_per_second
        counted = count(self._full_at.get(caller.client_id, now), now, rate)
        if counted.taken:
            self._full_at[caller.client_id] = now + counted.full_in
        else:
            self._over[digest] = (now + counted.retry_after, caller)
            self._refused(caller, Limited.REQUESTS)
        return counted

    def still_over(self, digest: bytes) -> Known | None:
        """Count a request too many without the database, which was asked whose key it is.

        None: it may be none too many.
        """
        found = self._over.get(digest)
        if found is None:
            return None
        until, caller = found
        if self.now() < until:
            return Known(self.count(caller, digest), caller)
        del self._over[digest]
        return None

    # -- answers held open

    @contextmanager
    def holding(self, caller: Caller, held: Held) -> Iterator[None]:
        """Hold an answer open for the length of the block.

        Raises `TooManyStreamsError` or `TooManyWaitsError`.
        """
        self.take(caller, held)
        try:
            yield
        finally:
            self.give_back(caller, held)

    def take(self, caller: Caller, held: Held) -> None:
        """Hold one more open, until `give_back`; raises as `holding`."""
        try:
            require_room(held, self._holding(caller, held), self._own(caller, held), self._limits)
            if held is Held.UPLOAD:
                self._begin_upload(caller)
        except RateLimitedError:
            self._refused(caller, held.limited)
            raise
        self._add(caller, held, 1)

    def _begin_upload(self, caller: Caller) -> None:
        """Count an upload by the minute too: small ones pass within no time."""
        now = self.now()
        full_at = self._uploaded.get(caller.client_id, now)
        per_minute = self._limits.uploads_per_minute
        self._uploaded[caller.client_id] = begin_upload(full_at, now, per_minute)

    def give_back(self, caller: Caller, held: Held) -> None:
        """Hold one open no longer."""
        self._add(caller, held, -1)

    def _own(self, caller: Caller, held: Held) -> int:
        """Return how many of a kind this client may hold open."""
        name = held.limited.value
        own: int | None = getattr(caller.allowance, name, None)
        usual: int = getattr(self._limits, name)
        return own or usual

    def _holding(self, caller: Caller, held: Held) -> Holding:
        return Holding(
            of_kind=self._held[caller.client_id, held],
            of_client=sum(self._held[caller.client_id, kind] for kind in Held),
            of_all=self._open.total(),
            all_of_kind=self._open[held],
        )

    def _add(self, caller: Caller, held: Held, by: int) -> None:
        place = (caller.client_id, held)
        self._held[place] += by
        if not self._held[place]:
            del self._held[place]
        self._open[held] += by
        self._metrics.show_held(held, self._open[held])

    # -- what is said of it

    def _refused(self, caller: Caller, limited: Limited) -> None:
        """Count it, and log it now and then for each client and limit."""
        self._refusals.note(limited, caller.client_id, client=caller.client)

    def _tidy(self, now: float) -> None:
        """Forget what means nothing any more: full buckets, keys with room."""
        self._tidy_at = now + TIDY
        self._full_at = {one: at for one, at in self._full_at.items() if at > now}
        self._uploaded = {one: at for one, at in self._uploaded.items() if at > now}
        self._over = {one: known for one, known in self._over.items() if known[0] > now}
