"""A claim is in time by the clock that went further."""

import pytest

from app.domain.fence import SEND_MARGIN, Instant, is_in_time

LEASE = 30.0
LAST = LEASE - SEND_MARGIN


@pytest.mark.parametrize(
    ("boot", "wall", "in_time"),
    [
        (0.0, 0.0, True),
        (LAST - 0.1, LAST - 0.1, True),
        (LAST, 0.0, False),  # stopped, or asleep, with the wall's clock set back
        (0.0, LAST, False),  # a guest that was paused, and was told the time afterwards
        (1.0, -600.0, True),  # set back: the other clock decides
        (1.0, 600.0, False),  # set ahead: it cannot be told from a pause
    ],
)
def test_a_claim_in_time(boot: float, wall: float, *, in_time: bool) -> None:
    began = Instant(boot=100.0, wall=1.7e9)
    now = Instant(boot=100.0 + boot, wall=1.7e9 + wall)
    assert is_in_time(began, now, lease=LEASE) is in_time
