"""Waits: bounded, and never shorter for what is older or tried more often."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.polling import EXPECTING_CALLBACK, POLLING, PollSchedule, next_poll
from app.domain.retry import backoff
from tests.each import each

SCHEDULES = (EXPECTING_CALLBACK, POLLING)
ages = st.floats(0, 1e9)
tries_made = st.integers(0, 10_000)
shares = st.floats(0, 1, exclude_max=True)


@each(
    ("schedule", "age", "seconds"),
    [
        (EXPECTING_CALLBACK, 0, 60),
        (EXPECTING_CALLBACK, 59.9, 60),
        (EXPECTING_CALLBACK, 599, 60),
        (EXPECTING_CALLBACK, 600, 120),
        (EXPECTING_CALLBACK, 1800, 300),
        (EXPECTING_CALLBACK, 10**9, 300),
        (POLLING, 0, 2.5),
        (POLLING, 29.9, 2.5),
        (POLLING, 30, 7.5),
        (POLLING, 119, 7.5),
        (POLLING, 120, 20),
        (POLLING, 10**9, 20),
    ],
)
def test_when_to_ask(schedule: PollSchedule, age: float, seconds: float) -> None:
    assert next_poll(schedule, age) == seconds


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_knows_every_age_and_its_rows_are_in_order(schedule: PollSchedule) -> None:
    assert schedule[-1][0] == math.inf
    assert all(one[0] < other[0] for one, other in pairwise(schedule))


@pytest.mark.parametrize("age", [-1.0, -0.001])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_age_from_before_its_time_is_young(schedule: PollSchedule, age: float) -> None:
    assert next_poll(schedule, age) == schedule[0][1]


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(age=ages, more=ages)
def test_the_older_a_task_the_rarer_it_is_asked_about(
    schedule: PollSchedule, age: float, more: float
) -> None:
    assert next_poll(schedule, age) <= next_poll(schedule, age + more)


@pytest.mark.parametrize(
    ("tries", "share", "seconds"),
    [
        (0, 0.0, 1.0),
        (1, 0.0, 1.0),
        (2, 0.0, 2.0),
        (3, 0.0, 4.0),
        (6, 0.0, 32.0),
        (7, 0.0, 60.0),
        (1_000_000, 0.0, 60.0),
        (1, 0.5, 1.25),
        (7, 0.5, 75.0),
    ],
)
def test_waits_double_up_to_the_ceiling_and_spread(
    tries: int, share: float, seconds: float
) -> None:
    assert backoff(tries, first=1, ceiling=60, share=share) == seconds


@given(tries_made, shares, st.floats(0.01, 60), st.floats(60, 3600))
def test_a_wait_is_between_the_first_and_one_and_a_half_ceilings(
    tries: int, share: float, first: float, ceiling: float
) -> None:
    assert first <= backoff(tries, first=first, ceiling=ceiling, share=share) <= ceiling * 1.5


@given(tries_made, tries_made, shares)
def test_more_tries_never_wait_less(tries: int, more: int, share: float) -> None:
    wait, later = (
        backoff(made, first=0.05, ceiling=300, share=share) for made in (tries, tries + more)
    )
    assert wait <= later
