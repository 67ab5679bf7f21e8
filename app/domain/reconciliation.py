"""The account's balance against the books: what it lost, and what of that tasks explain.

kie.ai takes credits when it accepts a create and gives them back when the task fails; the books
know a cost at the task's end. What is under way at either end of a span may be on one side only, so
of the two readings of a difference, taken at the create or at the end, the smaller one counts: what
is called unexplained is so in both.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise

from app.domain import days
from app.domain.spend import NOTHING

ONE_TASK = Decimal(500)
"""Credits that a task of unknown cost is believed to cost at most, until it shows what it does."""

MAX_DAYS = 100
"""Days that one look goes over: 288 readings each."""
USUAL_DAYS = 30
KEPT_DAYS = 400
"""Days for which readings are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The balance, and what the books held at that moment, in credits."""

    at: datetime
    balance: Decimal
    booked: Decimal
    """What all tasks so far have cost, since the books began."""
    reserved: Decimal
    """What tasks under way may cost yet."""
    unknown: int
    """Tasks under way of which nobody knows what they may cost."""

    @property
    def under_way(self) -> Decimal:
        """What may have been taken and is not booked."""
        return self.reserved + self.unknown * ONE_TASK


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What happened between two readings, in credits."""

    before: Reading
    after: Reading
    readings: int
    lost: Decimal
    top_ups: Decimal

    @property
    def explained(self) -> Decimal:
        """What tasks cost that was booked meanwhile; a refund that was booked is less."""
        return self.after.booked - self.before.booked

    @property
    def unexplained(self) -> Decimal:
        """What nothing explains that the books know, under way or not."""
        left = self.lost - self.explained
        grown = self.after.under_way - self.before.under_way
        return max(NOTHING, min(left, left - grown))

    @property
    def shown(self) -> dict[str, object]:
        """Return it as answers and commands show it."""
        return {
            "balance_start": self.before.balance,
            "balance_end": self.after.balance,
            "lost": self.lost,
            "explained": self.explained,
            "in_flight_start": self.before.reserved,
            "in_flight_end": self.after.reserved,
            "unknown_in_flight_end": self.after.unknown,
            "unexplained": self.unexplained,
            "top_ups": self.top_ups,
            "readings": self.readings,
        }


def top_up(before: Reading, after: Reading) -> Decimal:
    """Return the credits that were bought between two readings; a rise may be only a refund.

    What was under way may have been given back, and what was booked too: a rise by no more is none.
    What tasks cost meanwhile is added to the rise. A smaller top-up is taken for less loss.
    """
    rise, cost = after.balance - before.balance, after.booked - before.booked
    if rise <= before.under_way + max(NOTHING, -cost):
        return NOTHING
    return rise + max(NOTHING, cost)


def span(readings: Sequence[Reading]) -> Span | None:
    """Sum up what happened between the first reading and the last; None: there are no two."""
    if len(readings) < 2:  # noqa: PLR2004  # two make one span
        return None
    before, after = readings[0], readings[-1]
    top_ups = sum((top_up(*pair) for pair in pairwise(readings)), NOTHING)
    lost = before.balance + top_ups - after.balance
    return Span(before=before, after=after, readings=len(readings), lost=lost, top_ups=top_ups)


def by_day(readings: Sequence[Reading], first: date) -> Mapping[date, Span]:
    """Return a span for each day that has a reading, from the last one before it to its own last.

    The first reading of all begins its day.
    """
    found: dict[date, Span] = {}
    earlier: list[Reading] = []
    for day, group in groupby(readings, lambda one: one.at.astimezone(UTC).date()):
        of_day = list(group)
        found_here = span([*earlier, *of_day])
        if found_here is not None and day >= first:
            found[day] = found_here
        earlier = of_day[-1:]
    return found


def unexplained(readings: Sequence[Reading], within: timedelta = timedelta(days=1)) -> Decimal:
    """Return what the last `within` lost that nothing explains."""
    recent = [one for one in readings if one.at > readings[-1].at - within] if readings else []
    found = span(recent)
    return NOTHING if found is None else found.unexplained


def days_wanted(today: date, first: date | None, last: date | None) -> tuple[date, date]:
    """Return the days to look at; raises `InvalidRequestError`."""
    return days.span(today, first, last, usual=USUAL_DAYS, most=MAX_DAYS)


def total(spans: Iterable[Span]) -> Span | None:
    """Put days that follow each other together."""
    listed = list(spans)
    if not listed:
        return None
    return Span(
        before=listed[0].before,
        after=listed[-1].after,
        readings=sum(one.readings for one in listed),
        lost=sum((one.lost for one in listed), NOTHING),
        top_ups=sum((one.top_ups for one in listed), NOTHING),
    )
