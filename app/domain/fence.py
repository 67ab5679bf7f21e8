"""Whether a claim is still in time: by clocks from which a process that stood still can tell."""

from dataclasses import dataclass

SEND_MARGIN = 5.0
"""Seconds before a lease's end from which nothing is sent under it: the way to kie.ai takes time,
and another process may take the task up once the lease is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """One moment by two clocks, in seconds.

    `boot` counts on while the machine sleeps, and knows no steps; `wall` goes on where a guest
    system is stopped and is set right afterwards. A pause that stops both cannot be seen.
    """

    boot: float
    wall: float


def is_in_time(began: Instant, now: Instant, *, lease: float) -> bool:
    """Tell whether what was claimed at `began` may still be sent, by the clock that went further.

    A wall clock that is set ahead makes it too late: then it is queued again, and costs nothing.
    """
    gone = max(now.boot - began.boot, now.wall - began.wall)
    return gone < lease - SEND_MARGIN
