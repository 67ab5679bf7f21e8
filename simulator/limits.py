"""The account's limits: creates in any window, tasks at once, queries per second."""

from collections import deque
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from simulator.choices import DAY

Limit = Annotated[int, Field(ge=0)] | None
"""None: no limit."""


class Limits(BaseModel):
    """What an account may do."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
    )

    creates_per_window: Limit = None
    """Accepted creates in any `window_seconds`."""
    window_seconds: Annotated[float, Field(gt=0, le=DAY)] = 10.0
    queries_per_second: Limit = None
    running_cap: Limit = None
    """Tasks at once."""
    out_of_credits_code: Literal[402, 500] = 402
    """How a create that cannot be paid is refused: kie.ai has been seen to use both."""


class Window:
    """Counts what happened lately, exactly: every instant is kept as long as it matters."""

    def __init__(self) -> None:
        self._instants: deque[float] = deque()

    def count(self, now: float, seconds: float) -> int:
        """Tell how many there were in the half-open span of so many seconds up to `now`."""
        while self._instants and self._instants[0] <= now - seconds:
            self._instants.popleft()
        return len(self._instants)

    def add(self, now: float) -> None:
        self._instants.append(now)

    def clear(self) -> None:
        self._instants.clear()


def is_full(limit: Limit, count: int) -> bool:
    return limit is not None and count >= limit
