"""The bucket of requests, by a clock of our own, and the bounds of what is held open."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidRequestError, RateLimitedError
from app.domain.limits import (
    HELD_RETRY,
    MOST,
    WINDOW,
    ClientLimits,
    Count,
    Held,
    Holding,
    begin_upload,
    checked_limit,
    count,
    require_room,
)


def take(instants: list[float], rate: int, full_at: float = float("-inf")) -> list[Count]:
    """Take a request at each of the instants, as the service does."""
    taken: list[Count] = []
    for now in instants:
        taken.append(count(full_at, now, rate))
        if taken[-1].taken:
            full_at = now + taken[-1].full_in
    return taken


def test_an_untouched_bucket_gives_twice_its_rate_at_once_and_then_its_rate() -> None:
    at_once = take([5.0] * 101, 50)
    assert [one.taken for one in at_once] == [True] * 100 + [False]
    assert [one.left for one in at_once] == [*range(99, -1, -1), 0]
    later = [5.0] * 100 + [6.0] * 51
    assert sum(one.taken for one in take(later, 50)) == 150
    assert sum(one.taken for one in take([5.0] * 100 + [5.0 + WINDOW] * 101, 50)) == 200


def test_its_fields_are_those_of_the_draft() -> None:
    first, *_, last = take([0.0] * 101, 50)
    assert (first.policy, first.field) == ('"requests";q=100;w=2', '"requests";r=99;t=1')
    assert last.field == '"requests";r=0;t=2'
    assert last.retry_after == pytest.approx(1 / 50)
    (slow,) = take([0.0], 1)
    assert (slow.policy, slow.field) == ('"requests";q=2;w=2', '"requests";r=1;t=1')


def test_one_too_many_is_refused_and_costs_nothing() -> None:
    flood = take([0.0] * 1000, 50)
    assert flood[-1] == flood[100]
    with pytest.raises(RateLimitedError) as refused:
        flood[-1].require()
    assert refused.value.retry_after == pytest.approx(1 / 50)
    flood[0].require()
    after = take([0.0] * 1000 + [refused.value.retry_after], 50)
    assert after[-1].taken


@given(
    rate=st.integers(1, MOST),
    pauses=st.lists(st.floats(0, 3, allow_subnormal=False), max_size=60),
)
def test_no_span_of_time_gives_more_than_its_rate_and_the_burst(
    rate: int, pauses: list[float]
) -> None:
    now, instants = 1e6, []
    for pause in pauses:
        now += pause / rate
        instants.append(now)
    counts = take(instants, rate)
    for begin, start in enumerate(instants):
        taken = [one.taken for one in counts[begin:]]
        for end, stop in enumerate(instants[begin:], 1):
            assert sum(taken[:end]) <= (stop - start + WINDOW) * rate + 1e-3
    for one in counts:
        assert 0 <= one.left < WINDOW * rate
        assert one.full_in <= WINDOW + 1e-6
        assert one.taken or (one.left == 0 and 0 <= one.retry_after <= 1 / rate + 1e-6)


LIMITS = ClientLimits(streams=3, waits=5, max_held=60)
ROOM = Holding(of_kind=2, of_client=5, of_all=59)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"of_kind": 3}, "open streams as it may"),
        ({"of_client": 6}, "a tenth"),
        ({"of_all": 60}, "This process"),
    ],
)
def test_each_bound_of_what_is_held_is_met_by_the_last_one_only(
    change: dict[str, int], says: str
) -> None:
    require_room(Held.STREAM, ROOM, 3, LIMITS)
    with pytest.raises(RateLimitedError, match=says) as refused:
        require_room(Held.STREAM, replace(ROOM, **change), 3, LIMITS)
    assert refused.value.code == "too_many_streams"
    assert refused.value.retry_after == HELD_RETRY


UPLOADS = ClientLimits(max_uploads=10, max_held=1000)


@pytest.mark.parametrize(
    ("mine", "everybodys", "goes"),
    [(3, 9, True), (1, 10, False), (0, 10, True), (0, 19, True), (0, 20, False)],
)
def test_of_too_many_uploads_each_client_has_one(mine: int, everybodys: int, *, goes: bool) -> None:
    before = Holding(of_kind=mine, of_client=mine, of_all=everybodys, all_of_kind=everybodys)
    if goes:
        require_room(Held.UPLOAD, before, 4, UPLOADS)
    else:
        with pytest.raises(RateLimitedError, match="as many uploads as it may") as refused:
            require_room(Held.UPLOAD, before, 4, UPLOADS)
        assert refused.value.code == "too_many_uploads"
    require_room(Held.STREAM, before, 4, UPLOADS)


def test_uploads_begin_so_often_in_a_minute() -> None:
    full_at = now = 1e6
    for _ in range(10):
        full_at = begin_upload(full_at, now, 60)
    with pytest.raises(RateLimitedError, match="60 uploads per minute") as refused:
        begin_upload(full_at, now, 60)
    assert refused.value.code == "too_many_uploads"
    assert refused.value.retry_after == pytest.approx(1, abs=1e-3)
    assert begin_upload(full_at, now + 1, 60) == pytest.approx(full_at + 1)


def test_a_tenth_of_little_is_one() -> None:
    assert [ClientLimits(max_held=most).max_held_of_one for most in (10, 19, 10_000)] == [
        1,
        1,
        1000,
    ]


@pytest.mark.parametrize("limit", [0, -1, MOST + 1])
def test_a_limit_has_bounds(limit: int) -> None:
    assert [checked_limit("streams", good) for good in (None, 1, MOST)] == [None, 1, MOST]
    with pytest.raises(InvalidRequestError, match="/streams"):
        checked_limit("streams", limit)
