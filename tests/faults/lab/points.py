"""The points of a run at which a process can be killed, and the watch that counts up to one."""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from typing_extensions import override


class Side(StrEnum):
    """Where a message is when the process dies."""

    BEFORE = "before"
    """It has arrived at the proxy and is not passed on."""
    AFTER = "after"
    """The far side has done it and answered; the answer is not passed on."""


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """One side of one message of a run; `occurrence` counts its kind from 1."""

    what: str
    occurrence: int
    side: Side

    @override
    def __str__(self) -> str:
        return f"{self.side} {self.what} #{self.occurrence}"


class StruckError(Exception):
    """The process behind a connection was killed: there is nobody to carry messages for."""


class Mortal(Protocol):
    """What is killed."""

    @property
    def pid(self) -> int: ...

    def kill(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A death of a process, or of PostgreSQL where there is no pid; unix seconds."""

    at: float
    until: float
    """When it was over: PostgreSQL takes time to die and to come back."""
    pid: int | None = None
    is_death: bool = True
    """False: it stood still for longer than a lease, and went on."""


class Watch:
    """Counts the messages of a run in all its lines, and strikes at the point it is armed for."""

    def __init__(self) -> None:
        self.struck = asyncio.Event()
        self.begin()

    def begin(self, armed: Point | None = None) -> None:
        """Forget the last run."""
        self._armed = armed
        self.seen: list[Point] = []
        self._counts: Counter[tuple[Side, str]] = Counter()
        self.strikes: list[Strike] = []
        self.struck.clear()
        self.answered: dict[str, int] = {}
        """By task: the process that was handed the answer to its create."""

    def reached(self, side: Side, what: str, by: Mortal) -> None:
        """Count a message; raises `StruckError` where it was the last."""
        self._counts[side, what] += 1
        point = Point(what, self._counts[side, what], side)
        self.seen.append(point)
        if point == self._armed:
            self._armed = None
            self.strike(by)
            raise StruckError(str(point))

    def strike(self, victim: Mortal) -> None:
        victim.kill()
        now = time.time()
        self.strikes.append(Strike(at=now, until=now, pid=victim.pid))
        self.struck.set()


def common(runs: Sequence[Iterable[Point]], chatter: Collection[tuple[Side, str]]) -> list[Point]:
    """Return the points that every run has, in the order of the first, without the chatter."""
    first, *others = runs
    shared = set(first).intersection(*others)
    return [
        point for point in runs[0] if point in shared and (point.side, point.what) not in chatter
    ]
