"""When a task of a model is likely to end, and when to ask about it where no callback comes.

All durations are in seconds, from the create.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

EARLY_LOOKS = (10.0, 60.0)
"""Ages at which a long task is asked about before its time: what fails, mostly fails soon."""
LONG = 3.0
"""How many times an early look's age a task has to last for it to be worth a question."""

LOOKS = 8
"""Gaps between the first likely end and the last one."""
LEAST_GAP = 3.0
"""As the vendor advises for what is young, every 2 to 3 s; where tasks differ by less, less."""
MOST_GAP = 300.0
GROWTH = 1.5
"""By how much each gap beyond the last likely end is longer than the one before."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a model's tasks take: half of them at most `p50`, nearly all at most `p95`."""

    p50: float
    p95: float

    @property
    def spread(self) -> float:
        """By how much most differ from the middle, a tenth of it at the least."""
        return max(self.p95 - self.p50, self.p50 / 10)

    @property
    def starts(self) -> float:
        """When the first of them are likely to end: as far before the middle as the last after."""
        return max(self.p50 - self.spread, self.p50 / 2)

    @property
    def gap(self) -> float:
        """Seconds between two questions while it is likely to end."""
        least = min(max(self.spread, LEAST_GAP / 3), LEAST_GAP)
        return min(max((self.last - self.starts) / LOOKS, least), MOST_GAP)

    @property
    def last(self) -> float:
        """When nearly all have ended."""
        return self.p50 + self.spread

    def wait(self, age: float) -> float:
        """Return the seconds until the next question about a task of that age."""
        early = (look for look in EARLY_LOOKS if look > age and look * LONG <= self.starts)
        planned = next(early, self.starts)
        if planned - age > LEAST_GAP / 2:
            return planned - age
        beyond = age - self.last
        return min(max(self.gap, beyond * (GROWTH - 1)), MOST_GAP)


class Paces:
    """The paces of models, as this process learned them last."""

    def __init__(self) -> None:
        self._known: Mapping[str, Pace] = {}

    def learn(self, known: Mapping[str, Pace]) -> None:
        self._known = known

    def of(self, model: str | None) -> Pace | None:
        """Return the model's; None: too little is known."""
        return None if model is None else self._known.get(model)

    def ends_at(self, model: str, sent_at: datetime | None, now: datetime) -> datetime | None:
        """Return when a task is likely to end; None: nobody knows, or it lasts longer than most.

        As long as it is younger than the middle of its model's tasks, that; then the 95th percent.
        """
        pace = self.of(model)
        if pace is None or sent_at is None:
            return None
        likely = (sent_at + timedelta(seconds=after) for after in (pace.p50, pace.p95))
        return next((at for at in likely if at > now), None)
