"""Keys that were looked up a moment ago: most requests come by one of these.

A change of a key or a client is announced after its commit, and then everything is forgotten; where
the announcement is lost, `KEPT` bounds how long the change has no effect here.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from app.store.clients.clients import FoundKey
from app.store.signals import EVERYTHING, KEYS

MOST = 10_000
"""Keys that are remembered, the last used ones; each takes about 1 kB."""

KEPT = 5.0
"""Seconds for which a key that was good is not looked up again."""


@dataclass(frozen=True, slots=True)
class _Entry:
    found: FoundKey
    until: float


class KnownKeys:
    """Remembers good keys by their digests; keys that open nothing are not kept here."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self.version = 0
        """Grows with each change: what was read before one must not be kept after it."""

    def get(self, digest: bytes) -> FoundKey | None:
        """Return what is known of the key; None: nothing, or nothing that is fresh enough."""
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if entry.until <= self._now():
            del self._entries[digest]
            return None
        self._entries.move_to_end(digest)
        return entry.found

    def keep(self, digest: bytes, found: FoundKey, version: int) -> None:
        """Remember a key that was read while this was the version, at most until it expires."""
        if version != self.version:
            return
        lasts = KEPT if found.expires_in is None else min(KEPT, found.expires_in)
        self._entries[digest] = _Entry(found, self._now() + lasts)
        if len(self._entries) > MOST:
            self._entries.popitem(last=False)

    def hear(self, topic: str) -> None:
        """Forget all keys where one may have changed."""
        if topic in (KEYS, EVERYTHING):
            self.forget()

    def forget(self) -> None:
        self.version += 1
        self._entries.clear()
