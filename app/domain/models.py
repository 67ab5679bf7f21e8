"""What is learned of each model from the tasks that ended: outcomes, cost and duration.

Of each hour it is kept how many tasks ended how, cost what and took how long, by rounded values:
sums of these give the percentiles of any span of hours.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from uuid import UUID

from app.domain.task import FailClass, State
from app.domain.usage import MAX_TEXT, Entry

EVERYBODY = UUID(int=0)
"""Whose statistics those of all clients together are."""

CREDITS, SECONDS = "credits", "seconds"
DAY, WEEK = timedelta(days=1), timedelta(days=7)
"""The two spans that are looked at; what is older than the longer one is removed."""
MAX_MODELS = 200
"""Models of which a client's hour is kept, and the statistics of a client: the most used."""
MAX_ALL_MODELS = 1000
"""Models of all clients together."""
ENOUGH = 10
"""Successes from which on a model's durations say when to ask about its tasks."""
WITHDRAWN_FROM = 5
"""Failures by no fault of the caller in a day, with no success, that look like a withdrawn
model."""

_NO_FAULT_OF_OURS = (FailClass.PROVIDER, FailClass.UNKNOWN)
_DIGITS = {CREDITS: 3, SECONDS: 2}
"""Digits that are kept of a value: it is at most 0.5 and 5 percent off."""
_LEAST, _MOST = Decimal("0.001"), Decimal(10) ** 7

Learnt = tuple[UUID, str, str, Decimal]
"""Client, model, what (an outcome, `CREDITS` or `SECONDS`), the value (of an outcome 0)."""


def rounded(kind: str, value: Decimal) -> Decimal:
    """Return the value that is kept: bounded in size, and of few digits."""
    value = min(max(value, _LEAST), _MOST)
    exponent = value.adjusted() - _DIGITS[kind] + 1
    found = value.quantize(Decimal(1).scaleb(exponent), rounding=ROUND_HALF_UP)
    return Decimal(f"{found.normalize():f}")


def outcome(state: str, fail_class: str | None) -> str:
    """Name how a task ended; of a failure with its class."""
    return f"{state}.{fail_class}" if fail_class else state


def learnt(entries: Iterable[Entry], today: date) -> Mapping[Learnt, int]:
    """Count what entries say of tasks that ended lately; a correction takes the earlier end back.

    What costs or takes nothing, as far as is known, has no part in the percentiles.
    """
    found: Counter[Learnt] = Counter()
    for entry in entries:
        if today - entry.day > DAY:
            continue  # from before an upgrade: it says nothing of this hour
        for side in entry.sides:
            if side.state is None or side.state == State.CANCELED:
                continue
            whose = (entry.client_id, entry.model[:MAX_TEXT])
            found[(*whose, outcome(side.state, side.fail_class), Decimal(0))] += side.sign
            if side.state == State.SUCCEEDED:
                for kind, value in ((CREDITS, side.credits), (SECONDS, side.seconds)):
                    if value > 0:
                        found[(*whose, kind, rounded(kind, value))] += side.sign
    return {key: count for key, count in found.items() if count}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How often something was seen of a model, in the last day and in the last week."""

    client_id: UUID
    model: str
    kind: str
    value: Decimal
    day: int
    week: int
    last_at: datetime


@dataclass(slots=True, kw_only=True)
class Stats:
    """What is known of a model: in the last 24 hours, and in the last 7 days."""

    client_id: UUID
    model: str
    tasks_24h: int = 0
    succeeded_24h: int = 0
    faults_24h: int = 0
    """Failures by no fault of the caller."""
    tasks_7d: int = 0
    succeeded_7d: int = 0
    credits_p50: Decimal | None = None
    credits_p90: Decimal | None = None
    seconds_p50: Decimal | None = None
    seconds_p95: Decimal | None = None
    measured: int = 0
    """Successes whose duration is known."""
    last_success_at: datetime | None = None

    @property
    def withdrawn(self) -> bool:
        """Whether every task of it fails, by no fault of the caller."""
        return looks_withdrawn(self.succeeded_24h, self.faults_24h)


def looks_withdrawn(succeeded_24h: int, faults_24h: int) -> bool:
    """Tell whether kie.ai may have taken a model away."""
    return succeeded_24h == 0 and faults_24h >= WITHDRAWN_FROM


@dataclass(slots=True)
class _Values:
    """Values by how often they were seen in the last week."""

    counts: dict[Decimal, int] = field(default_factory=dict)

    def add(self, value: Decimal, count: int) -> None:
        self.counts[value] = self.counts.get(value, 0) + count


def percentile(counts: Mapping[Decimal, int], percent: int) -> Decimal | None:
    """Return the least value that so many percent of all do not exceed; None: there is none.

    Counts below nothing, of corrections whose first half is older than the span, count as none.
    """
    total = sum(count for count in counts.values() if count > 0)
    reached = 0
    for value, count in sorted(counts.items()):
        reached += max(count, 0)
        if total and reached * 100 >= total * percent:
            return value
    return None


def statistics(seen: Iterable[Seen]) -> Sequence[Stats]:
    """Return what is known of each client's models, and of all clients' (`EVERYBODY`).

    Of a client at most `MAX_MODELS`, those with the most tasks.
    """
    stats: dict[tuple[UUID, str], Stats] = {}
    values: dict[tuple[UUID, str, str], _Values] = {}
    for one in seen:
        for whose in (one.client_id, EVERYBODY):
            own = stats.setdefault((whose, one.model), Stats(client_id=whose, model=one.model))
            if one.kind in (CREDITS, SECONDS):
                values.setdefault((whose, one.model, one.kind), _Values()).add(one.value, one.week)
            else:
                _count(own, one)
    for (whose, model, kind), found in values.items():
        _measure(stats[whose, model], kind, found.counts)
    return _most_used(stats.values())


def _count(stats: Stats, one: Seen) -> None:
    stats.tasks_24h += one.day
    stats.tasks_7d += one.week
    if one.kind == State.SUCCEEDED:
        stats.succeeded_24h += one.day
        stats.succeeded_7d += one.week
        if one.week > 0:
            known = stats.last_success_at or one.last_at
            stats.last_success_at = max(known, one.last_at)
    elif one.kind in [outcome(State.FAILED, each) for each in _NO_FAULT_OF_OURS]:
        stats.faults_24h += one.day


def _measure(stats: Stats, kind: str, counts: Mapping[Decimal, int]) -> None:
    if kind == CREDITS:
        stats.credits_p50, stats.credits_p90 = (percentile(counts, at) for at in (50, 90))
    else:
        stats.seconds_p50, stats.seconds_p95 = (percentile(counts, at) for at in (50, 95))
        stats.measured = sum(count for count in counts.values() if count > 0)


def _most_used(stats: Iterable[Stats]) -> Sequence[Stats]:
    kept, of_client = list[Stats](), Counter[UUID]()
    for one in sorted(stats, key=lambda one: (-one.tasks_7d, one.model)):
        of_client[one.client_id] += 1
        most = MAX_ALL_MODELS if one.client_id == EVERYBODY else MAX_MODELS
        if of_client[one.client_id] <= most:
            kept.append(one)
    return kept


def share(succeeded: int, tasks: int) -> float | None:
    """Return the part that succeeded, with four decimals; None: there were no tasks."""
    return round(max(0, succeeded) / tasks, 4) if tasks > 0 else None
