"""Who is refused when a process has too much under way: who has most of it, and nobody else."""

from collections.abc import Iterable
from dataclasses import dataclass

LAST_RESORT = 2
"""Times a bound, beyond which nobody has anything more taken: many callers may come at once."""


@dataclass(slots=True, kw_only=True)
class Load:
    """What is under way: of one caller, or of all."""

    requests: int = 0
    size: int = 0
    """Bytes of bodies that have come, and of answers that have not gone."""

    @property
    def is_nothing(self) -> bool:
        return self.requests == 0 and self.size == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one process takes on at once."""

    requests: int
    size: int


def is_too_much(mine: Load, total: Load, everyone: Iterable[Load], bounds: Bounds) -> bool:
    """Tell whether to refuse what this caller has just begun; all loads have it in them.

    One request by itself is taken, however large: other settings bound it.
    """
    if total.requests <= bounds.requests and total.size <= bounds.size:
        return False
    if total.requests <= 1:
        return False
    if total.requests > LAST_RESORT * bounds.requests or total.size > LAST_RESORT * bounds.size:
        return True
    if mine.requests <= 1:
        return False
    loads = list(everyone)
    most = total.requests > bounds.requests and mine.requests >= max(
        load.requests for load in loads
    )
    largest = total.size > bounds.size and mine.size >= max(load.size for load in loads)
    return most or largest
