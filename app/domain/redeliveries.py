"""How many deliveries one client may repeat: each sends up to a mebibyte to a URL of its choice.

Uploads are counted by the same bucket: both cost much more than other requests.

As with requests, what is kept is the instant at which the bucket will be full again.
"""

import math
from dataclasses import dataclass

WINDOW = 10.0
"""Seconds in which an empty bucket is full again: so long a part of a minute's is there at once."""

_ROUNDING = 1e-6
"""Of a delivery: sums of floats miss whole numbers by less."""


@dataclass(frozen=True, slots=True)
class Grant:
    """How many of those that were asked for are granted."""

    count: int
    full_in: float
    """Seconds until nothing is missing any more, these included."""
    retry_after: float
    """Seconds until there is one again; 0: there is one left."""


def grant(full_at: float, now: float, per_minute: int, wanted: int) -> Grant:
    """Take up to `wanted` from the bucket that is full at `full_at`, at the latest `now`."""
    each = 60.0 / per_minute
    room = max(WINDOW, each)  # of a rate below one in the window: one at once
    missing = max(0.0, full_at - now)
    count = min(wanted, max(0, math.floor((room - missing) / each + _ROUNDING)))
    full_in = missing + count * each
    return Grant(count, full_in, max(0.0, full_in + each - room - _ROUNDING))
