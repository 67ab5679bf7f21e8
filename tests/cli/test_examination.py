"""What the doctor makes of what it saw."""

import pytest

from app.cli.operators.examination import _work


@pytest.mark.parametrize(
    ("overdue", "said"),
    [
        ({"poll": 119.0, "number": 29.0}, "none is overdue"),
        ({"poll": 121.0, "number": 29.0}, "due and not done: poll for 121 s"),
        ({"poll": 119.0, "number": 31.0}, "due and not done: number for 31 s"),
    ],
)
def test_the_feed_may_wait_less_long_than_other_work(overdue: dict[str, float], said: str) -> None:
    found = _work(overdue)
    assert found.said == said
    assert (found.remedy is None) == (said == "none is overdue")
