"""Log lines that strangers can cause: few of them, and how many each speaks for."""

from collections.abc import Callable

EVERY = 10.0
"""Seconds between two such lines."""


class Sampled:
    """Lets the first through, and then one in `EVERY` seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._next = float("-inf")
        self._since = 0

    def times(self) -> int | None:
        """Count one; returns how many there were since the last line, None: no line is due."""
        self._since += 1
        now = self._monotonic()
        if now < self._next:
            return None
        self._next = now + EVERY
        found, self._since = self._since, 0
        return found
