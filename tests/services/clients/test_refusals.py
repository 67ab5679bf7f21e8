"""What is remembered of refused keys: for how long, of how many, and who has to wait."""

from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from app.domain.access import Reason, Surface
from app.domain.errors import RateLimitedError
from app.log import EVERY
from app.metrics import Metrics
from app.services.clients import refusals
from app.services.clients.refusals import (
    LONGEST_WAIT,
    REMEMBERED,
    TRIES,
    WINDOW,
    Backoff,
    Refusals,
    RefusedDigests,
)


class Clock:
    """Stands still until it is moved on."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_refused_key_is_forgotten_after_a_while(clock: Clock) -> None:
    digests = RefusedDigests(clock)
    digests.add(b"a", Reason.REVOKED)
    clock.now += REMEMBERED - 1
    assert (digests.reason(b"a"), digests.reason(b"b")) == (Reason.REVOKED, None)
    clock.now += 1
    assert digests.reason(b"a") is None


def test_only_so_many_are_remembered(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MOST", 3)
    digests, backoff = RefusedDigests(clock), Backoff(clock)
    for number in range(5):
        digests.add(bytes([number]), Reason.UNKNOWN)
        backoff.refused(str(number))
    assert [digests.reason(bytes([n])) is not None for n in range(5)] == [False] * 2 + [True] * 3
    assert (len(digests._until), len(backoff._tries)) == (3, 3)


def waits(backoff: Backoff, address: str = "a") -> float:
    try:
        backoff.check(address)
    except RateLimitedError as error:
        return error.retry_after
    return 0.0


def test_many_wrong_keys_make_their_address_wait_longer_and_longer(clock: Clock) -> None:
    backoff = Backoff(clock)
    for _ in range(TRIES - 1):
        backoff.refused("a")
    assert waits(backoff) == 0
    seen = []
    for _ in range(8):
        backoff.refused("a")
        seen.append(waits(backoff))
        assert waits(backoff, "b") == 0
        clock.now += seen[-1]
        assert waits(backoff) == 0
    assert seen == [1, 2, 4, 8, 16, 32, LONGEST_WAIT, LONGEST_WAIT]


@pytest.mark.parametrize("ended", ["right key", "time"])
def test_a_right_key_or_a_quiet_minute_ends_it(clock: Clock, ended: str) -> None:
    backoff = Backoff(clock)
    for _ in range(TRIES):
        backoff.refused("a")
    assert waits(backoff) == 1
    if ended == "time":
        clock.now += 1 + WINDOW + 1
    else:
        backoff.accepted("a")
    backoff.refused("a")
    assert waits(backoff) == 0


def test_the_log_has_the_first_of_each_reason_and_how_many_it_left_out(clock: Clock) -> None:
    noted = Refusals(Metrics("0", lambda: datetime.now(UTC), clock))  # noqa: TID251  # unread
    key = "kgw_" + "x" * 43
    with structlog.testing.capture_logs() as lines:
        for reason, count in ((Reason.UNKNOWN, 4), (Reason.MALFORMED, 2)):
            for _ in range(count):
                noted.note(Surface.API, reason, address="10.0.0.1", key=key)
        noted.note(Surface.ADMIN, Reason.UNKNOWN, address=None, key="an-admin-key")
        clock.now += EVERY
        noted.note(Surface.API, Reason.UNKNOWN, address="10.0.0.2", key=key)
    assert [_told(line) for line in lines] == [
        ("api", "unknown", "10.0.0.1", "kgw_xxxxxx", 0),
        ("api", "malformed", "10.0.0.1", "kgw_xxxxxx", 0),
        ("admin", "unknown", None, None, 0),
        ("api", "unknown", "10.0.0.2", "kgw_xxxxxx", 3),
    ]
    page = noted._metrics.page().decode()
    assert 'kie_gateway_auth_refused_total{reason="unknown",surface="api"} 5.0' in page


def _told(line: Any) -> tuple[Any, ...]:
    assert (line["event"], line["log_level"]) == ("auth.refused", "warning")
    return tuple(line[name] for name in ("surface", "reason", "address", "hint", "suppressed"))
