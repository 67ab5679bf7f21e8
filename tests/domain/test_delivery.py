"""What follows an attempt: the status alone decides, the schedule says when, jitter only adds."""

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.delivery import (
    EVENTS,
    JITTER,
    MAX_RETRY_AFTER,
    USUAL_EVENTS,
    After,
    DeliveryState,
    DisableReason,
    EventType,
    Obstacle,
    after_attempt,
    is_hopeless,
    is_placeholder,
    webhook_id,
)
from app.domain.dialect import Dialect
from app.domain.task import FINAL, State
from tests.each import each

SCHEDULE = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)

SHARES = st.floats(0, 1, exclude_max=True)
FAILURES = st.none() | st.integers(100, 999).filter(
    lambda status: status // 100 != 2 and status != 410
)


def after(
    status: int | None, tries: int, *, retry_after: float | None = None, share: float = 0.0
) -> After:
    return after_attempt(status, tries, SCHEDULE, retry_after=retry_after, share=share)


@given(
    status=st.integers(200, 299),
    tries=st.integers(1, 12),
    retry_after=st.none() | st.floats(0, 1e9),
    share=SHARES,
)
def test_2xx_is_heard(status: int, tries: int, retry_after: float | None, share: float) -> None:
    found = after(status, tries, retry_after=retry_after, share=share)
    assert found == After(state=DeliveryState.DELIVERED)


@given(tries=st.integers(1, 12), retry_after=st.none() | st.floats(0, 1e9))
def test_410_ends_it_and_its_url(tries: int, retry_after: float | None) -> None:
    found = after(410, tries, retry_after=retry_after)
    assert found == After(state=DeliveryState.DISABLED, disables=DisableReason.GONE)


@given(status=FAILURES, tries=st.integers(1, 9), share=SHARES)
def test_all_else_is_tried_again(status: int | None, tries: int, share: float) -> None:
    found = after(status, tries, share=share)
    assert (found.state, found.disables) == (DeliveryState.PENDING, None)
    assert found.wait is not None
    assert SCHEDULE[tries] <= found.wait <= SCHEDULE[tries] * (1 + JITTER)


@each("status", [None, *(one for one in HTTPStatus if one // 100 != 2)])
def test_the_known_statuses(status: int | None) -> None:
    expected = DeliveryState.DISABLED if status == 410 else DeliveryState.PENDING
    assert after(status, 1).state is expected


@given(status=FAILURES, tries=st.integers(10, 100), retry_after=st.none() | st.floats(0, 1e9))
def test_after_the_last_it_is_given_up(
    status: int | None, tries: int, retry_after: float | None
) -> None:
    found = after(status, tries, retry_after=retry_after)
    assert found == After(state=DeliveryState.EXHAUSTED)


def test_ten_tries_over_75_hours() -> None:
    waits = [after(500, tries).wait for tries in range(1, 10)]
    assert waits == list(SCHEDULE[1:])
    assert sum(SCHEDULE) / 3600 > 75
    assert after(500, 10).wait is None


@given(
    tries=st.integers(1, 9),
    retry_after=st.floats(0, 1e12),
    share=SHARES,
)
def test_patience_is_granted_within_reason(tries: int, retry_after: float, share: float) -> None:
    """The receiver may ask for more time than the schedule gives, never for less."""
    wait = after(503, tries, retry_after=retry_after, share=share).wait
    assert wait is not None
    usual = SCHEDULE[tries] * (1 + JITTER * share)
    assert wait == max(usual, min(retry_after, MAX_RETRY_AFTER))
    assert SCHEDULE[tries] <= wait <= max(usual, MAX_RETRY_AFTER)


def test_a_schedule_of_one_try() -> None:
    assert after_attempt(500, 1, [0.0], retry_after=5, share=0).state is DeliveryState.EXHAUSTED


HOPELESS = """
native url     -   -
native address -   -
native name    -   -
kie    url     yes yes
kie    address yes yes
kie    name    yes -
"""
"""By dialect and obstacle: whether the first attempt ends it, and whether a later one does."""


@pytest.mark.parametrize("line", HOPELESS.strip().splitlines())
def test_what_ends_a_delivery_that_cannot_be_made(line: str) -> None:
    dialect, obstacle, *expected = line.split()
    found = [is_hopeless(Obstacle(obstacle), Dialect(dialect), tries) for tries in (1, 2)]
    assert found == [cell == "yes" for cell in expected]
    assert not is_hopeless(None, Dialect(dialect), 1)


def test_what_can_never_be_made_is_not_tried_again() -> None:
    found = after_attempt(None, 1, SCHEDULE, retry_after=5, share=0.5, hopeless=True)
    assert found == After(state=DeliveryState.UNDELIVERABLE)


# -- what is told


def test_every_rest_is_told_of_unless_somebody_chose() -> None:
    assert {state for state, event in EVENTS.items() if event in USUAL_EVENTS} == FINAL
    assert EventType.RUNNING not in USUAL_EVENTS


@pytest.mark.parametrize("event", [one for one in EventType if one in EVENTS.values()])
def test_an_event_is_named_after_its_state(event: EventType) -> None:
    """The store makes one from the other in SQL."""
    (state,) = (state for state, told in EVENTS.items() if told is event)
    assert event == f"task.{state}"
    assert state in State


def test_the_id_has_no_dot() -> None:
    """What is signed is `id.timestamp.body`."""
    assert webhook_id("0" * 32) == "msg_" + "0" * 32
    assert "." not in webhook_id("0" * 32)


@each(
    ("host", "placeholder"),
    [
        ("example.com", True),
        ("hooks.example.org:8443", True),
        ("shop.example", True),
        ("callback.invalid", True),
        ("your-domain.com", True),
        ("api.YourDomain.com", True),
        ("your_app.io", True),
        ("your-callback-url.com", True),
        ("myexample.com", False),
        ("example.com.shop.de", False),
        ("yourgene.com", False),
        ("hooks.shop.test", False),
        ("10.0.0.5:8080", False),
        ("", False),
    ],
)
def test_hosts_that_examples_are_written_with(host: str, placeholder: bool) -> None:  # noqa: FBT001
    assert is_placeholder(host) is placeholder
