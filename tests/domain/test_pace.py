"""When tasks are asked about by their model's pace: simulated over durations, without a clock."""

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import median

import pytest

from app.domain.pace import MOST_GAP, Pace, Paces
from app.domain.polling import POLLING, next_poll, next_wait

TASKS = 400
LATENCY = 0.3
"""Seconds that an answer takes, and the loop until it asks."""
Draw = Callable[[random.Random], float]


def around(middle: float, spread: float) -> Draw:
    """Draw durations whose logarithm is normal."""
    return lambda chance: middle * math.exp(chance.gauss(0, spread))


def evenly(least: float, most: float) -> Draw:
    return lambda chance: chance.uniform(least, most)


def learned(draw: Draw) -> Pace:
    seen = sorted(draw(random.Random(number)) for number in range(200))  # noqa: S311  # repeatable
    return Pace(seen[100], seen[190])


def known_after(pace: Pace | None, lasts: float) -> tuple[int, float]:
    """Return the queries about one task, and how late its end was known."""
    age, queries = 0.0, 0
    while True:
        age += next_wait(age, callbacks_expected=False, pace=pace) + LATENCY
        queries += 1
        if age >= lasts:
            return queries, age - lasts


def simulated(draw: Draw) -> tuple[list[int], list[float]]:
    pace, chance = learned(draw), random.Random(7)  # noqa: S311  # as above
    found = [known_after(pace, draw(chance)) for _ in range(TASKS)]
    return sorted(queries for queries, _ in found), [late for _, late in found]


IMAGES = {
    "12 s, all alike": around(12, 0.01),
    "12 s, near": around(12, 0.15),
    "12 s, spread": around(12, 0.35),
    "8 to 16 s": evenly(8, 16),
}


@pytest.mark.parametrize("draw", IMAGES.values(), ids=IMAGES)
def test_an_image_is_known_at_once_and_asked_about_seldom(draw: Draw) -> None:
    queries, late = simulated(draw)
    assert median(late) <= 2
    assert queries[TASKS // 2] <= 4
    assert queries[TASKS * 95 // 100] <= 6


VIDEOS = {
    "600 s, all alike": around(600, 0.01),
    "600 s, near": around(600, 0.2),
    "600 s, spread": around(600, 0.5),
    "300 to 900 s": evenly(300, 900),
}


@pytest.mark.parametrize("draw", VIDEOS.values(), ids=VIDEOS)
def test_a_video_costs_few_questions(draw: Draw) -> None:
    queries, late = simulated(draw)
    assert queries[TASKS // 2] <= 10
    assert queries[TASKS * 95 // 100] <= 15
    assert median(late) <= 80
    unknown, _ = known_after(None, 600)
    assert unknown > 30
    exact, _ = known_after(learned(draw), 600)
    assert exact <= 15


def test_what_fails_at_once_is_known_long_before_its_model_s_time() -> None:
    _, late = known_after(Pace(600, 900), 4)
    assert late < 10
    _, late = known_after(Pace(600, 900), 40)
    assert late < 25


@pytest.mark.parametrize("pace", [Pace(0.01, 0.01), Pace(12, 18), Pace(600, 601), Pace(1e4, 1e5)])
def test_waits_are_bounded_and_a_task_that_never_ends_is_asked_about_ever_more_slowly(
    pace: Pace,
) -> None:
    age, waits = 0.0, list[float]()
    while age < pace.last * 10:
        waits.append(pace.wait(age))
        age += waits[-1]
    assert all(wait >= 1 for wait in waits)
    beyond = waits[-3:]
    assert beyond == sorted(beyond)
    assert beyond[-1] <= MOST_GAP
    assert pace.wait(pace.last * 10) >= pace.gap


def test_with_callbacks_and_of_unknown_models_the_clock_is_the_usual_one() -> None:
    for age in (0.0, 15.0, 700.0):
        assert next_wait(age, callbacks_expected=True, pace=Pace(12, 18)) >= 60
        unknown = next_wait(age, callbacks_expected=False, pace=None)
        assert unknown == next_poll(POLLING, age)


NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
SENT = {
    "young": (5, 12),
    "as old as the middle": (12, 18),
    "older than most": (18, None),
}


@pytest.mark.parametrize(("age", "ends"), SENT.values(), ids=SENT)
def test_when_a_task_may_end(age: float, ends: float | None) -> None:
    paces, sent = Paces(), NOW - timedelta(seconds=age)
    assert paces.ends_at("m", sent, NOW) is None
    paces.learn({"m": Pace(12, 18)})
    assert paces.ends_at("m", sent, NOW) == (ends and sent + timedelta(seconds=ends))
    assert paces.ends_at("m", None, NOW) is paces.ends_at("other", sent, NOW) is None
    assert paces.of(None) is None
