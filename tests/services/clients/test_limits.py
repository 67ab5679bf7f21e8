"""What a process remembers of its clients' requests: whose, for how long, and what it says."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import structlog

from app.domain.access import Caller
from app.domain.errors import RateLimitedError, TooManyStreamsError, TooManyWaitsError
from app.domain.limits import Allowance, ClientLimits, Held, Limited
from app.log import EVERY
from app.metrics import Metrics
from app.services.clients.limits import TIDY, Limits
from tests.services.clients.test_refusals import Clock

DIGEST = b"d" * 32


def caller(number: int = 1, **allowance: int) -> Caller:
    return Caller(
        client_id=UUID(int=number),
        key_id=UUID(int=100 + number),
        client=f"client-{number}",
        allowance=Allowance(**allowance),
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> Limits:
    metrics = Metrics("0", lambda: datetime.now(UTC), clock)  # noqa: TID251  # unread
    return Limits(ClientLimits(requests_per_second=2, streams=2, waits=3, max_held=40), metrics)


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as found:
        yield found


def taken(limits: Limits, who: Caller, tries: int = 1, digest: bytes = DIGEST) -> int:
    return sum(limits.count(who, digest).taken for _ in range(tries))


def test_each_client_has_a_bucket_of_its_own_and_a_rate_of_its_own(
    limits: Limits, clock: Clock
) -> None:
    assert [taken(limits, caller(number), 9) for number in (1, 2)] == [4, 4]
    assert taken(limits, caller(3, requests_per_second=5), 20) == 10
    clock.now += 1
    assert [taken(limits, caller(number), 9) for number in (1, 2)] == [2, 2]
    assert taken(limits, caller(1, requests_per_second=5), 20) == 0  # a change gives no full bucket
    clock.now += 1
    assert taken(limits, caller(1, requests_per_second=5), 20) == 5


def test_a_key_over_its_limit_is_refused_unseen_until_there_is_room(
    limits: Limits, clock: Clock
) -> None:
    taken(limits, caller(), 4)
    assert limits.still_over(DIGEST) is None  # nobody knows yet
    assert taken(limits, caller()) == 0
    known = limits.still_over(DIGEST)
    assert known is not None
    assert (known.count.taken, known.caller.client) == (False, "client-1")
    assert limits.still_over(b"another key") is None
    clock.now += known.count.retry_after
    assert limits.still_over(DIGEST) is None
    assert taken(limits, caller()) == 1


def test_quiet_clients_are_forgotten(limits: Limits, clock: Clock, lines: list[Any]) -> None:
    for number in range(500):
        taken(limits, caller(number), 5, digest=bytes([number % 256]) * 2 + bytes([number // 256]))
    assert len(lines) == 500
    kept = (limits._full_at, limits._over)
    assert [len(one) for one in kept] == [500, 500]
    clock.now += TIDY
    taken(limits, caller(7))
    assert [len(one) for one in (limits._full_at, limits._over)] == [1, 0]


def test_streams_and_waits_have_each_their_limit_and_one_together(limits: Limits) -> None:
    limits.take(caller(), Held.STREAM)
    with limits.holding(caller(), Held.STREAM):
        for _ in range(2):
            with pytest.raises(TooManyStreamsError, match=r"open streams as it may \(2\)"):
                limits.take(caller(), Held.STREAM)
        limits.take(caller(), Held.WAIT)
        limits.take(caller(), Held.WAIT)
        with pytest.raises(TooManyWaitsError, match="a tenth"):  # 4 of 40, with a limit of 3
            limits.take(caller(), Held.WAIT)
        limits.take(caller(2), Held.WAIT)
    limits.take(caller(), Held.WAIT)
    with pytest.raises(TooManyWaitsError):
        limits.take(caller(), Held.WAIT)
    shown = limits._metrics.page().decode()
    for line in ('held{kind="stream"} 1.0', 'held{kind="wait"} 4.0'):
        assert f"kie_gateway_{line}" in shown
    for line in ('{kind="streams"} 2.0', '{kind="waits"} 2.0', '{kind="requests"} 0.0'):
        assert f"kie_gateway_limited_total{line}" in shown


def test_the_process_holds_so_many_and_forgets_who_holds_none(limits: Limits) -> None:
    for number in range(20):
        for held in (Held.WAIT, Held.STREAM):
            limits.take(caller(number), held)
    with pytest.raises(TooManyStreamsError, match="This process"):
        limits.take(caller(99), Held.STREAM)
    for number in range(20):
        for held in (Held.WAIT, Held.STREAM):
            limits.give_back(caller(number), held)
    assert (dict(limits._held), limits._open.total()) == ({}, 0)
    limits.take(caller(99), Held.STREAM)


def test_uploads_are_counted_by_the_minute_too(
    limits: Limits, clock: Clock, lines: list[Any]
) -> None:
    """One that is over at once counts as well; another client's do not."""
    for _ in range(10):
        with limits.holding(caller(), Held.UPLOAD):
            pass
    with pytest.raises(RateLimitedError), limits.holding(caller(), Held.UPLOAD):
        pass
    with limits.holding(caller(2), Held.UPLOAD):
        pass
    assert [(line["kind"], line["client"]) for line in lines] == [("uploads", "client-1")]
    clock.now += 1
    with limits.holding(caller(), Held.UPLOAD):
        pass


def test_an_error_gives_back_what_was_held(limits: Limits) -> None:
    for _ in range(5):
        with pytest.raises(KeyError), limits.holding(caller(), Held.WAIT):
            raise KeyError
    assert limits._open.total() == 0


def test_a_client_may_have_limits_of_its_own(limits: Limits) -> None:
    for _ in range(3):
        limits.take(caller(1, streams=3), Held.STREAM)
    with pytest.raises(TooManyStreamsError, match=r"\(3\)"):
        limits.take(caller(1, streams=3), Held.STREAM)
    limits.take(caller(2, waits=1), Held.WAIT)
    with pytest.raises(TooManyWaitsError, match=r"\(1\)"):
        limits.take(caller(2, waits=1), Held.WAIT)


def test_the_log_names_client_and_limit_and_how_much_it_left_out(
    limits: Limits, clock: Clock, lines: list[Any]
) -> None:
    taken(limits, caller(), 10)
    limits.take(caller(), Held.STREAM)
    limits.take(caller(), Held.STREAM)
    with pytest.raises(TooManyStreamsError):
        limits.take(caller(), Held.STREAM)
    taken(limits, caller(2), 5)
    clock.now += EVERY
    taken(limits, caller(), 5)
    told = [(line["event"], line["client"], line["kind"], line["suppressed"]) for line in lines]
    assert told == [
        ("client.limited", "client-1", Limited.REQUESTS, 0),
        ("client.limited", "client-1", Limited.STREAMS, 0),
        ("client.limited", "client-2", Limited.REQUESTS, 0),
        ("client.limited", "client-1", Limited.REQUESTS, 5),
    ]
