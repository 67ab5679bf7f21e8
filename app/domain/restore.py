"""Whether PostgreSQL has lost what was committed: judged by what living processes remember.

Every admission that takes something moves a counter on, and every process remembers the highest
that it saw committed. A server that comes back with a lower one has lost commits, so tasks that
were sent may be queued there again. Where the server changes, nothing is sent until each living
process has looked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

BEAT_EVERY = 5.0
"""Seconds between two beats of a process."""

AWAITED = 20.0
"""Seconds for which processes that may be alive are waited for after a change of the server."""

LIVING = 15.0
"""Seconds after its last beat for which a process counts as alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """Which database this is, and since when its server has run; None: it cannot be read."""

    system_identifier: int | None
    """The cluster's own number, from its initdb; copies of its files have the same."""
    timeline: int | None
    """Another one after each promotion and each recovery from an archive."""
    database_oid: int | None
    server_started_at: datetime

    @property
    def name(self) -> str:
        """Write it as one text, to be compared only."""
        began = self.server_started_at.isoformat()
        return f"{self.system_identifier}/{self.timeline}/{self.database_oid}/{began}"


_IDENTITY = ("system_identifier", "timeline", "database_oid")


class Change(StrEnum):
    """How the database differs from the one that was known."""

    FIRST = "first"
    """None was known yet."""
    NONE = "none"
    RESTARTED = "restarted"
    """The same database, from a server that started since."""
    MOVED = "moved"
    """Another server, another history of the same one, or another database."""


class Memory(StrEnum):
    """What this process remembers of the counter."""

    NONE = "none"
    """Nothing: it has just started."""
    KEPT = "kept"
    """All that it saw committed is there."""
    LOST = "lost"
    """It saw more committed than there is."""


class Verdict(StrEnum):
    """What follows."""

    GO_ON = "go_on"
    WAIT = "wait"
    """Nothing is sent until the others have looked."""
    ACCEPT = "accept"
    """This is the database from now on."""
    HOLD = "hold"
    """Nothing is sent until a person says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a process sees when it looks."""

    held: bool
    """A person has to look already."""
    change: Change
    memory: Memory
    awaited: bool
    """Others that may be alive have not looked yet, and there is time."""
    witnessed: bool
    """Another process that remembers has looked, and found nothing lost."""
    expected: bool
    """A person has announced a move."""


RULES: tuple[tuple[Mapping[str, object], Verdict], ...] = (
    ({"held": True}, Verdict.HOLD),
    ({"memory": Memory.LOST}, Verdict.HOLD),
    ({"change": Change.FIRST}, Verdict.ACCEPT),
    ({"change": Change.NONE}, Verdict.GO_ON),
    ({"awaited": True}, Verdict.WAIT),
    ({"change": Change.RESTARTED}, Verdict.ACCEPT),
    ({"memory": Memory.KEPT}, Verdict.ACCEPT),
    ({"witnessed": True}, Verdict.ACCEPT),
    ({"expected": True}, Verdict.ACCEPT),
    ({}, Verdict.HOLD),
)
"""The first that fits decides."""


def judge(sight: Sight) -> Verdict:
    """Say what follows from what a process sees."""
    return next(
        verdict
        for conditions, verdict in RULES
        if all(getattr(sight, name) == value for name, value in conditions.items())
    )


def change(known: Incarnation | None, found: Incarnation) -> Change:
    """Compare the database with the one that was known; what cannot be read is no difference."""
    if known is None:
        return Change.FIRST
    for name in _IDENTITY:
        before, now = getattr(known, name), getattr(found, name)
        if None not in (before, now) and before != now:
            return Change.MOVED
    same = known.server_started_at == found.server_started_at
    return Change.NONE if same else Change.RESTARTED


def memory(remembered: int, counter: int) -> Memory:
    """Compare the counter with the highest that this process saw committed; 0: it saw none."""
    if remembered == 0:
        return Memory.NONE
    return Memory.KEPT if counter >= remembered else Memory.LOST


STEP = 10**9
"""What a person's word adds to the counter: more than any process can remember from before."""
