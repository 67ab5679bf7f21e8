"""The budget of repetitions: never more than a minute's in a minute, and all of them in the end."""

from hypothesis import given
from hypothesis import strategies as st

from app.domain.redeliveries import WINDOW, grant

RATES = st.integers(min_value=1, max_value=100_000)


def test_a_hundred_at_once_and_ten_per_second() -> None:
    first = grant(0, 50, 600, 1000)
    assert (first.count, first.full_in) == (100, 10)
    none = grant(60, 50, 600, 1000)
    assert (none.count, round(none.retry_after, 3)) == (0, 0.1)
    assert grant(60, 51, 600, 1000).count == 10
    assert grant(60, 60, 600, 3).count == 3


def test_of_very_few_one_is_there() -> None:
    assert grant(0, 50, 1, 5).count == 1
    assert round(grant(110, 50, 1, 5).retry_after) == 60


@given(RATES, st.lists(st.tuples(st.floats(0, 30), st.integers(1, 1000)), max_size=30))
def test_no_more_than_the_rate(rate: int, asked: list[tuple[float, int]]) -> None:
    full_at = now = 0.0
    total = 0
    for passed, wanted in asked:
        now += passed
        found = grant(full_at, now, rate, wanted)
        assert 0 <= found.count <= wanted
        assert found.count or found.retry_after > 0
        full_at, total = now + found.full_in, total + found.count
    assert total <= max(1, rate * WINDOW / 60) + rate * now / 60 + 1e-3


@given(RATES, st.floats(0, 20))
def test_after_the_wait_there_is_one(rate: int, missing: float) -> None:
    found = grant(missing, 0, rate, 1)
    if not found.count:
        assert grant(missing, found.retry_after + 1e-6, rate, 1).count == 1
