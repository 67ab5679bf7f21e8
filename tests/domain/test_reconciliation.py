"""The balance against the books: charges at the create or at the end, refunds, top-ups, losses."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from app.domain.errors import InvalidRequestError
from app.domain.reconciliation import (
    MAX_DAYS,
    Reading,
    Span,
    by_day,
    days_wanted,
    span,
    total,
    unexplained,
)
from tests.each import each

BEGAN = datetime(2026, 11, 27, 23, 50, tzinfo=UTC)
Row = tuple[float, float, float] | tuple[float, float, float, int]
"""Balance, booked, reserved, unknown."""


def readings(*rows: Row, every: float = 5) -> list[Reading]:
    return [
        Reading(
            at=BEGAN + timedelta(minutes=number * every),
            balance=Decimal(str(row[0])),
            booked=Decimal(str(row[1])),
            reserved=Decimal(str(row[2])),
            unknown=row[3] if len(row) > 3 else 0,
        )
        for number, row in enumerate(rows)
    ]


def found(rows: Sequence[Row]) -> Span:
    made = span(readings(*rows))
    assert made is not None
    return made


# Each: the readings, what is unexplained, what was bought.
COURSES: dict[str, tuple[list[Row], float, float]] = {
    "nothing happens": ([(100, 7, 0), (100, 7, 0)], 0, 0),
    "charged at the create": ([(100, 0, 0), (96, 0, 4), (96, 4, 0)], 0, 0),
    "still under way": ([(100, 0, 0), (96, 0, 4)], 0, 0),
    "charged at the end": ([(100, 0, 0), (100, 0, 4), (96, 4, 0)], 0, 0),
    "begun before": ([(96, 0, 4), (96, 4, 0)], 0, 0),
    "given back": ([(100, 0, 0), (96, 0, 4), (100, 0, 0)], 0, 0),
    "of unknown cost": ([(100, 0, 0), (60, 0, 0, 1), (60, 40, 0)], 0, 0),
    "of unknown cost, given back": ([(100, 0, 0), (60, 0, 0, 1), (100, 0, 0)], 0, 0),
    "paid twice": ([(100, 0, 0), (92, 0, 4), (92, 4, 0)], 4, 0),
    "paid twice, in a busy day": ([(100, 0, 8), (80, 12, 8)], 8, 0),
    "somebody else": ([(100, 0, 0), (93.5, 0, 0)], 6.5, 0),
    "a top-up": ([(10, 0, 0), (1010, 0, 0)], 0, 1000),
    "a top-up and tasks": ([(10, 0, 0), (1002, 8, 0)], 0, 1000),
    "a top-up, then paid twice": ([(10, 0, 0), (1010, 0, 0), (1002, 4, 0)], 4, 1000),
    "a correction gives back": ([(100, 8, 0), (104, 4, 0)], 0, 0),
}


@each(("rows", "lost", "bought"), COURSES.values())
def test_what_is_unexplained(rows: Sequence[Row], lost: float, bought: float) -> None:
    made = found(rows)
    assert made.unexplained == Decimal(str(lost))
    assert made.top_ups == bought
    assert made.before.balance + made.top_ups - made.lost == made.after.balance


def test_a_day_begins_with_the_last_reading_of_the_one_before() -> None:
    of_days = readings((100, 0, 0), (96, 4, 0), (90, 8, 0), (86, 12, 0))
    days = by_day(of_days, date(2026, 11, 27))
    shown = {
        day.day: (int(one.lost), int(one.explained), one.readings) for day, one in days.items()
    }
    assert shown == {27: (4, 4, 2), 28: (10, 8, 3)}
    assert [one.unexplained for one in days.values()] == [0, 2]
    assert list(by_day(of_days, date(2026, 11, 28))) == [date(2026, 11, 28)]
    whole = total(days.values())
    assert whole is not None
    figures: list[object] = [whole.lost, whole.explained, whole.unexplained]
    assert figures == [14, 12, 2]
    assert total([]) is span(of_days[:1]) is None


def test_only_the_last_day_is_alarmed() -> None:
    rows: list[Row] = [(100, 0, 0), (90, 0, 0), *[(90.0, 0.0, 0.0)] * 25]
    hourly = readings(*rows, every=60)
    assert unexplained(hourly[:3]) == 10
    assert unexplained(hourly) == 0
    assert unexplained([]) == 0


def test_days_that_may_be_asked_for() -> None:
    today = date(2026, 11, 28)
    assert days_wanted(today, None, None) == (date(2026, 10, 30), today)
    for first in (today + timedelta(days=1), today - timedelta(days=MAX_DAYS)):
        with pytest.raises(InvalidRequestError):
            days_wanted(today, first, today)
