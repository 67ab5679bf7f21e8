"""Keys that were refused: counted, logged with moderation, and remembered for a while.

All of it is this process's own, and bounded: to guess keys fills no memory, no log and no
database.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import structlog

from app.domain.access import Reason, Surface
from app.domain.errors import RateLimitedError
from app.log import Sampled
from app.metrics import Metrics

MOST = 10_000
"""Digests, and addresses, that are remembered."""

REMEMBERED = 10.0
"""Seconds for which a refused digest is not looked up again."""

HINT = 10
"""Characters of an API key that lists, and the log, show."""

TRIES = 10
"""Wrong admin keys from one address, each within `WINDOW` of the one before, without a wait."""

WINDOW = 60.0
LONGEST_WAIT = 60.0

log = structlog.get_logger(__name__)

Clock = Callable[[], float]


class Refusals:
    """Counts refused keys, and logs them now and then, by reason."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told = Sampled(clock=metrics.now)

    def note(self, surface: Surface, reason: Reason, *, address: str | None, key: str = "") -> None:
        """Count one; of the `key` only its beginning is logged, where it looks like one of ours."""
        self._metrics.refused_key(surface, reason)
        suppressed = self._told.admit(f"{surface} {reason}")
        if suppressed is None:
            return
        log.warning(
            "auth.refused",
            surface=surface,
            reason=reason,
            address=address,
            hint=key[:HINT] if key.startswith("kgw_") else None,
            suppressed=suppressed,
        )


class RefusedDigests:
    """Remembers which keys PostgreSQL does not know, the last `MOST`, for `REMEMBERED` seconds."""

    def __init__(self, now: Clock) -> None:
        self._now = now
        self._until: OrderedDict[bytes, tuple[float, Reason]] = OrderedDict()

    def add(self, digest: bytes, reason: Reason) -> None:
        self._until[digest] = (self._now() + REMEMBERED, reason)
        self._until.move_to_end(digest)
        if len(self._until) > MOST:
            self._until.popitem(last=False)

    def reason(self, digest: bytes) -> Reason | None:
        """Return why it was refused a moment ago; None: nobody knows."""
        found = self._until.get(digest)
        if found is None or found[0] > self._now():
            return found and found[1]
        del self._until[digest]
        return None


class KnownDigests:
    """Remembers which keys were good, the last `MOST`: who has one waits for no stranger."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def add(self, digest: bytes) -> None:
        self._known[digest] = None
        self._known.move_to_end(digest)
        if len(self._known) > MOST:
            self._known.popitem(last=False)

    def line(self, digest: bytes, address: str | None) -> Hashable:
        """Return for whom a look-up is: all unknown keys of an address are one caller's."""
        return digest if digest in self._known else ("unknown", address)


@dataclass(slots=True)
class _Tries:
    count: int = 0
    last: float = field(default=float("-inf"))
    waits_until: float = field(default=float("-inf"))


class Backoff:
    """Makes an address wait that sent `TRIES` wrong keys: 1 s, 2 s, 4 s … `LONGEST_WAIT`."""

    def __init__(self, now: Clock) -> None:
        self._now = now
        self._tries: OrderedDict[str, _Tries] = OrderedDict()

    def check(self, address: str) -> None:
        """Raise `RateLimitedError` while the address has to wait, whatever key it sends."""
        found = self._tries.get(address)
        left = found.waits_until - self._now() if found else 0.0
        if left > 0:
            detail = "Too many wrong admin keys came from your address: wait, then try again."
            raise RateLimitedError(detail, retry_after=left)

    def refused(self, address: str) -> None:
        """Count a wrong key."""
        now = self._now()
        found = self._tries.setdefault(address, _Tries())
        self._tries.move_to_end(address)
        if len(self._tries) > MOST:
            self._tries.popitem(last=False)
        if now - max(found.last, found.waits_until) > WINDOW:
            found.count = 0
        found.count += 1
        found.last = now
        if found.count >= TRIES:
            found.waits_until = now + min(LONGEST_WAIT, 2.0 ** (found.count - TRIES))

    def accepted(self, address: str) -> None:
        """Forget what was wrong before."""
        self._tries.pop(address, None)
