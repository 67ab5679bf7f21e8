"""What tasks may cost: what was spent of a budget, what is reserved, and what it allows yet.

Days and months are those of UTC. Credits are decimal numbers, exact to the last digit.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum

from app.domain.errors import NotFoundError, bad_member
from app.domain.task import State

NOTHING = Decimal(0)


class Period(StrEnum):
    """For how long a budget is to last; the order is that of its locks."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class Mode(StrEnum):
    """What happens to a create that a budget does not allow."""

    HARD = "hard"
    """It is refused."""
    WARN = "warn"
    """It is taken, and thresholds are announced."""


_CREDITS, _THRESHOLDS = "/credits", "/thresholds"

USUAL_THRESHOLDS = (80, 95, 100)
MAX_THRESHOLDS = 10
MAX_THRESHOLD = 1000
"""Percent: a budget that only warns may be exceeded several times."""
MAX_CREDITS = Decimal(10) ** 15
FRACTION = 6
"""Digits of a budget's credits after the point."""

RELEASED = frozenset({State.CANCELED, State.FAILED})
"""A task in one of these costs what kie.ai has stated, and nothing where it stated nothing."""


def held(state: State, reserved: Decimal | None, credits_: Decimal | None) -> Decimal:
    """Return what a task may cost yet: its reserve, until its cost is known or it has none."""
    if state in RELEASED or credits_ is not None or reserved is None:
        return NOTHING
    return reserved


def start_of(period: Period, day: date) -> date | None:
    """Return the first day of the period that `day` is in; None: it is all of time."""
    match period:
        case Period.DAY:
            return day
        case Period.MONTH:
            return day.replace(day=1)
        case Period.TOTAL:
            return None


def renews_at(period: Period, day: date) -> datetime | None:
    """Return when the period that `day` is in is over; None: never."""
    if period is Period.TOTAL:
        return None
    following = day + timedelta(days=1)
    if period is Period.MONTH:
        following = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return datetime.combine(following, time(), UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a client may spend in a period."""

    period: Period
    credits: Decimal
    mode: Mode = Mode.HARD
    thresholds: tuple[int, ...] = USUAL_THRESHOLDS
    """Percent of the credits whose being spent is announced, once in a period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """What a task that was just stored may cost."""

    at: datetime
    """When it was created: it counts for the periods of that day."""
    model: str
    credits: Decimal | None
    """None: nobody knows what the model costs."""

    @property
    def day(self) -> date:
        return self.at.astimezone(UTC).date()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A budget, and how much of it is gone in the period that `day` is in."""

    budget: Budget
    day: date
    spent: Decimal
    reserved: Decimal
    announced: tuple[int, ...] = ()
    """Thresholds of which this period has heard."""

    @property
    def remaining(self) -> Decimal:
        """What may be reserved yet; never less than nothing."""
        return max(NOTHING, self.budget.credits - self.spent - self.reserved)

    def is_over(self, *, unknown: bool = False) -> bool:
        """Tell whether more is reserved than there is; `unknown`: or as much, and more to come."""
        gone = self.spent + self.reserved
        return gone > self.budget.credits or (unknown and gone == self.budget.credits)

    @property
    def renews_at(self) -> datetime | None:
        return renews_at(self.budget.period, self.day)

    @property
    def period_start(self) -> date | None:
        """The period's first day; None: it is all of time."""
        return start_of(self.budget.period, self.day)

    @property
    def crossed(self) -> tuple[int, ...]:
        """Thresholds that are reached and were not announced."""
        budget = self.budget
        return tuple(
            percent
            for percent in budget.thresholds
            if percent not in self.announced and self.spent * 100 >= budget.credits * percent
        )

    @property
    def shown(self) -> dict[str, object]:
        """Return it as answers, webhooks and commands show it."""
        budget = self.budget
        return {
            "period": budget.period,
            "credits": budget.credits,
            "mode": budget.mode,
            "thresholds": list(budget.thresholds),
            "spent": self.spent,
            "reserved": self.reserved,
            "remaining": self.remaining,
            "period_start": self.period_start and self.period_start.isoformat(),
            "renews_at": self.renews_at,
        }


def overdrawn(standings: Iterable[Standing], *, unknown: bool = False) -> Standing | None:
    """Return the hard budget that a create breaks which is in the sums already; None: it may be.

    Of several the one that renews last: until then no such create is allowed. `unknown`: nobody
    knows what it costs.
    """
    hard = (one for one in standings if one.budget.mode is Mode.HARD)
    over = [one for one in hard if one.is_over(unknown=unknown)]
    never = datetime.max.replace(tzinfo=UTC)
    return max(over, key=lambda one: one.renews_at or never, default=None)


def bounded_since(standings: Iterable[Standing]) -> date | None:
    """Return the first day of the longest hard budget's period; None: it is all of time."""
    starts = [one.period_start for one in standings if one.budget.mode is Mode.HARD]
    return None if None in starts else min(start for start in starts if start is not None)


def least_remaining(standings: Iterable[Standing]) -> Decimal | None:
    """Return what may be reserved of all budgets together; None: there are none."""
    return min((one.remaining for one in standings), default=None)


def checked_budget(
    period: Period,
    credits_: Decimal,
    mode: Mode,
    thresholds: Collection[int] = USUAL_THRESHOLDS,
) -> Budget:
    """Return the budget as it is kept; raises `InvalidRequestError`."""
    is_amount = credits_.is_finite() and NOTHING <= credits_ <= MAX_CREDITS
    if not is_amount or credits_ != round(credits_, FRACTION):
        trouble = f"should be 0 to {MAX_CREDITS:f}, with at most {FRACTION} decimals"
        raise bad_member(_CREDITS, trouble)
    if len(thresholds) > MAX_THRESHOLDS or not all(1 <= one <= MAX_THRESHOLD for one in thresholds):
        trouble = f"should be at most {MAX_THRESHOLDS} whole numbers from 1 to {MAX_THRESHOLD}"
        raise bad_member(_THRESHOLDS, trouble)
    chosen = tuple(sorted(set(thresholds)))
    return Budget(period=period, credits=credits_, mode=mode, thresholds=chosen)


def no_such_budget(period: Period) -> NotFoundError:
    """Say that a client has no budget of this kind."""
    detail = f"The client has no budget for this period ({period})."
    return NotFoundError(detail)
