"""How long an end is asked about before it counts, and when."""

import pytest

from app.domain.holding import TURNAROUND, may_turn, next_question, wait_of
from app.domain.report import Progress, Report

URLS = {"resultUrls": ["https://kie/a.png"]}


def end(progress: Progress, **facts: object) -> Report:
    return Report(progress=progress, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("report", "wait"),
    [
        (end(Progress.SUCCEEDED, result=URLS), 0),
        (end(Progress.SUCCEEDED), 52),
        (end(Progress.SUCCEEDED, result={"resultUrls": []}), 52),
        (end(Progress.FAILED, fail_code="422", fail_message="blocked"), 0),
        (end(Progress.FAILED), 0),
        (end(Progress.FAILED, fail_code="524"), 150),
        (end(Progress.FAILED, fail_code="500", fail_message="Generate task timeout."), 150),
    ],
)
def test_how_long(report: Report, wait: float) -> None:
    assert wait_of(report) == wait
    assert may_turn(report) is (wait == TURNAROUND)


def test_a_success_that_speaks_of_a_timeout_does_not_turn() -> None:
    report = end(Progress.SUCCEEDED, fail_code="524", fail_message="generate task timeout")
    assert not may_turn(report)


def test_questions_come_at_2_5_15_and_30_seconds_and_the_last_one_at_the_bound() -> None:
    held_for, asked = 0.0, []
    while held_for < TURNAROUND:
        held_for += next_question(held_for, TURNAROUND)
        asked.append(held_for)
    assert asked == [2, 7, 22, 52, 82, 112, 142, 150]


@pytest.mark.parametrize("held_for", [52.0, 60.0, 151.0, 1e6])
def test_beyond_the_bound_they_go_on(held_for: float) -> None:
    assert next_question(held_for, 52.0) == 30
