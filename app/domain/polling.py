"""When to ask kie.ai about a task that it has."""

from collections.abc import Sequence

PollSchedule = Sequence[tuple[float, float]]
"""Rows of (age below, seconds until the next question); the last row's age is infinite."""

EXPECTING_CALLBACK: PollSchedule = (
    (60.0, 60.0),
    (600.0, 60.0),
    (1800.0, 120.0),
    (float("inf"), 300.0),
)
"""Asking is only the net below the callback, so it starts late and grows slower."""

POLLING: PollSchedule = ((30.0, 2.5), (120.0, 7.5), (float("inf"), 20.0))
"""The vendor's advice: every 2 to 3 s for 30 s, 5 to 10 s until 2 min, 15 to 30 s after."""


def schedule_of(*, callbacks_expected: bool) -> PollSchedule:
    """Return how often to ask about tasks that run."""
    return EXPECTING_CALLBACK if callbacks_expected else POLLING


def next_poll(schedule: PollSchedule, age: float) -> float:
    """Seconds until the next question about a task that was submitted `age` seconds ago."""
    return next(interval for below, interval in schedule if age < below)


AFTER_EXPIRY: Sequence[float] = (2 * 3600.0, 6 * 3600.0, 24 * 3600.0)
"""Ages of an expired task, in seconds since it expired, at which kie.ai is asked once more."""


def next_after_expiry(age: float) -> float | None:
    """Seconds until the next question about a task that expired `age` seconds ago; None: none."""
    return next((at - age for at in AFTER_EXPIRY if at > age), None)
