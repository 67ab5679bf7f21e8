"""The rules of budgets and usage: periods, thresholds, what is held, what is kept of usage."""

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from app.domain import usage
from app.domain.errors import InvalidRequestError
from app.domain.spend import (
    Budget,
    Mode,
    Period,
    Standing,
    bounded_since,
    checked_budget,
    held,
    least_remaining,
    overdrawn,
    renews_at,
    start_of,
)
from app.domain.task import State
from app.domain.usage import Entry, folded, wanted

DAY = date(2026, 12, 31)
CLIENT = uuid.UUID(int=1)


def standing(
    spent: float,
    reserved: float = 0,
    *,
    credits_: float = 10,
    period: Period = Period.DAY,
    mode: Mode = Mode.HARD,
    announced: tuple[int, ...] = (),
) -> Standing:
    budget = Budget(period=period, credits=Decimal(str(credits_)), mode=mode)
    return Standing(
        budget=budget,
        day=DAY,
        spent=Decimal(str(spent)),
        reserved=Decimal(str(reserved)),
        announced=announced,
    )


@pytest.mark.parametrize(
    ("period", "start", "renews"),
    [
        (Period.DAY, DAY, datetime(2027, 1, 1, tzinfo=UTC)),
        (Period.MONTH, date(2026, 12, 1), datetime(2027, 1, 1, tzinfo=UTC)),
        (Period.TOTAL, None, None),
    ],
)
def test_a_period(period: Period, start: date | None, renews: datetime | None) -> None:
    assert start_of(period, DAY) == start
    assert renews_at(period, DAY) == renews
    assert renews_at(Period.MONTH, date(2027, 1, 31)) == datetime(2027, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize("state", State)
def test_a_reserve_is_held_until_the_cost_is_known_or_is_none(state: State) -> None:
    reserved = Decimal(4)
    free = state in (State.FAILED, State.CANCELED)
    assert held(state, reserved, None) == (0 if free else 4)
    assert held(state, reserved, Decimal(0)) == 0
    assert held(state, None, None) == 0


def test_a_create_that_breaks_several_budgets_waits_for_the_last() -> None:
    day, month = standing(9, 2), standing(9, 2, period=Period.MONTH)
    total = standing(9, 2, period=Period.TOTAL)
    assert overdrawn([day, total, month]) is total
    assert overdrawn([standing(9, 1), standing(20, mode=Mode.WARN)]) is None
    assert overdrawn([exact := standing(9, 1)], unknown=True) is exact
    assert least_remaining([day, standing(3, 2)]) == 0
    assert least_remaining([]) is None
    assert bounded_since([standing(0), standing(0, period=Period.MONTH)]) == date(2026, 12, 1)
    assert bounded_since([standing(0), total]) is None


def test_thresholds_are_of_what_is_spent() -> None:
    assert standing(7.99, 99).crossed == ()
    assert standing(9.5).crossed == (80, 95)
    assert standing(10, announced=(80,)).crossed == (95, 100)


def test_a_budget_is_checked() -> None:
    assert checked_budget(Period.DAY, Decimal("0.5"), Mode.HARD, [9, 1, 9]).thresholds == (1, 9)
    for credits_, thresholds in (
        ("-1", ()),
        ("NaN", ()),
        ("Infinity", ()),
        ("1e16", ()),
        ("0.1234567", ()),
        ("1", (0,)),
        ("1", (1001,)),
        ("1", tuple(range(1, 12))),
    ):
        with pytest.raises(InvalidRequestError):
            checked_budget(Period.DAY, Decimal(credits_), Mode.HARD, thresholds)


def test_days_and_groups_are_bounded() -> None:
    allowed = (usage.Group.DAY, usage.Group.MODEL)
    found = wanted(DAY, first=None, last=None, by=["day", "metadata.a b"], allowed=allowed)
    assert (found.first, found.last) == (date(2026, 12, 2), DAY)
    assert found.dimension == "metadata.a b"
    assert wanted(DAY, first=date(2027, 2, 1), last=None, by=(), allowed=()).last > DAY
    for first, by in ((date(2020, 1, 1), ["day"]), (None, ["client"]), (None, ["metadata."])):
        with pytest.raises(InvalidRequestError):
            wanted(DAY, first=first, last=None, by=by, allowed=allowed)


def entry(number: int = 0, **members: object) -> Entry:
    given: dict[str, object] = {
        "client_id": CLIENT,
        "task_id": uuid.UUID(int=number),
        "day": DAY,
        "created_day": DAY,
        "model": "m",
        "metadata": None,
        **members,
    }
    return Entry(**given)  # type: ignore[arg-type]


def test_an_end_that_turns_is_counted_once() -> None:
    failed = entry(state="failed", fail_class="timeout", reserved=Decimal(-4))
    turned = entry(left_state="failed", left_class="timeout", state="succeeded", credits=Decimal(4))
    sums = folded([failed, turned], [])
    total = sums[CLIENT, DAY, "m", usage.TOTAL, ""]
    assert (total.tasks[State.FAILED], total.tasks[State.SUCCEEDED]) == (0, 1)
    assert total.credits == 4
    assert sums[CLIENT, DAY, "m", "fail_class", "timeout"].tasks[State.FAILED] == 0
    assert [failed.overshoot, turned.overshoot] == [0, 4]


def test_a_reserve_is_no_usage_and_the_first_cost_no_overshoot() -> None:
    assert folded([entry(reserved=Decimal(4))], []) == {}
    assert entry(state="succeeded", credits=Decimal(4)).overshoot == 0
    assert entry(state="succeeded", credits=Decimal(9), reserved=Decimal(-4)).overshoot == 5


def test_invented_names_make_a_bounded_number_of_rows() -> None:
    """Whatever models, keys and values a caller makes up; nothing of the total is lost."""
    entries = [
        entry(
            n,
            model=f"model {n}" + "x" * 500,
            metadata={f"key {n % 50}": f"value {n}", "same": f"{n}"},
            state="succeeded",
            credits=Decimal("0.5"),
        )
        for n in range(1000)
    ]
    first = folded(entries[:500], [])
    rest = folded(entries[500:], list(first))
    rows = {*first, *rest}
    for key in {row[3] for row in rows}:
        assert len({row[4] for row in rows if row[3] == key}) <= usage.MAX_VALUES + 1
    assert len({row[3] for row in rows if row[3].startswith("metadata.")}) <= usage.MAX_KEYS
    assert len({row[2] for row in rows}) <= usage.MAX_VALUES + 1
    assert max(len(part) for row in rows for part in row[2:3] + row[4:]) <= usage.MAX_TEXT
    totals = [sums for found in (first, rest) for row, sums in found.items() if row[3] == ""]
    assert sum(sums.credits for sums in totals) == 500
