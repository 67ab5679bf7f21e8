"""What may be sent when, and what each answer teaches: the whole product of what can happen."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.admission import (
    FREE,
    PAUSES,
    UNKNOWNS_IN_A_ROW,
    Condition,
    HoldReason,
    Limit,
    Limits,
    Pause,
    condition_after,
    is_throttled,
)
from app.domain.submission import Accepted, Fault, Outcome, Refused, Unknown, Unsent

BUSY, ACCOUNT, AWAY, UNANSWERED = (
    HoldReason.KIE_BUSY,
    HoldReason.KIE_ACCOUNT,
    HoldReason.KIE_UNREACHABLE,
    HoldReason.KIE_UNANSWERED,
)
OUTCOMES: dict[str, Outcome] = {
    "accepted": Accepted(kie_task_id="k"),
    "wrong": Refused(fault=Fault.REQUEST, code="422", message="no such model"),
    "busy": Refused(fault=Fault.BUSY, code="429", message="too many"),
    "account": Refused(fault=Fault.ACCOUNT, code="402", message="no credits"),
    "unsent": Unsent(reason="refused"),
    "unknown": Unknown(reason="reset"),
}
LESSONS = """
                accepted wrong busy  account unsent unknown0   unknown1   unknown2
none            free     free  busy  account away   none       none       unanswered
busy            free     free  busy+ account away   busy+      busy+      unanswered
account         free     free  busy  account+ away  account+   account+   unanswered
away            free     free  busy  account away+  away+      away+      unanswered
unanswered      free     free  busy  account away   unanswered+ unanswered+ unanswered+
"""
"""How the account stands (row), what comes (column; a lost answer after 0, 1 or 2 others), and how
it stands then; `+` for one probe more of the same hold. Only for what was sent since the hold."""

REASONS = {"none": None, "busy": BUSY, "account": ACCOUNT, "away": AWAY, "unanswered": UNANSWERED}
HEADER, *ROWS = (line.split() for line in LESSONS.strip().splitlines())
TABLE = {
    (REASONS[row], column): cell
    for row, *cells in ROWS
    for column, cell in zip(HEADER, cells, strict=True)
}
TRIES = 4
CASES = list(itertools.product(REASONS.values(), OUTCOMES, range(UNKNOWNS_IN_A_ROW)))


def standing(reason: HoldReason | None, unknowns: int) -> Condition:
    return Condition(
        hold_reason=reason, hold_tries=0 if reason is None else TRIES, unknowns=unknowns
    )


@pytest.mark.parametrize(("reason", "name", "unknowns"), CASES)
def test_what_an_attempt_teaches_that_was_sent_since_the_hold(
    reason: HoldReason | None, name: str, unknowns: int
) -> None:
    cell = TABLE[reason, f"unknown{unknowns}" if name == "unknown" else name]
    after = condition_after(standing(reason, unknowns), OUTCOMES[name], probed=True)
    if cell == "free":
        assert after == FREE
        return
    held = REASONS[cell.rstrip("+")]
    tries = 0 if held is None else TRIES + 1 if cell.endswith("+") else 1
    in_a_row = {"busy": 0, "account": 0, "unsent": unknowns, "unknown": unknowns + 1}[name]
    assert after == Condition(hold_reason=held, hold_tries=tries, unknowns=in_a_row)


@pytest.mark.parametrize(("reason", "name", "unknowns"), CASES)
def test_what_was_under_way_before_the_hold_proves_nothing_of_it(
    reason: HoldReason | None, name: str, unknowns: int
) -> None:
    before = standing(reason, unknowns)
    after = condition_after(before, OUTCOMES[name], probed=False)
    if reason is None:
        assert after == condition_after(before, OUTCOMES[name], probed=True)
    else:
        assert after == before


def test_the_table_has_every_hold_and_every_outcome() -> None:
    assert set(REASONS.values()) == {None, *PAUSES}
    shapes = {type(outcome) for outcome in OUTCOMES.values()}
    assert shapes == {Accepted, Refused, Unsent, Unknown}
    faults = {outcome.fault for outcome in OUTCOMES.values() if isinstance(outcome, Refused)}
    assert faults == set(Fault)


outcomes = st.sampled_from(list(OUTCOMES.values()))


@given(st.lists(st.tuples(outcomes, st.booleans())))
def test_whatever_comes_the_account_stands_as_the_rules_can_say(
    history: list[tuple[Outcome, bool]],
) -> None:
    condition = FREE
    for outcome, probed in history:
        condition = condition_after(condition, outcome, probed=probed)
        assert (condition.hold_tries > 0) is (condition.hold_reason is not None)
        assert condition.hold_reason is None or condition.hold_reason in PAUSES
        if condition.unknowns >= UNKNOWNS_IN_A_ROW:
            assert condition.hold_reason is not None  # the queue does not go on into the dark
    assert condition_after(condition, OUTCOMES["accepted"], probed=True) == FREE


@given(st.integers(0, 20))
def test_at_most_so_many_answers_in_a_row_are_lost_before_the_account_is_held(sent: int) -> None:
    condition = FREE
    for number in range(sent):
        held = condition.hold_reason is not None
        assert held is (number >= UNKNOWNS_IN_A_ROW)
        condition = condition_after(condition, OUTCOMES["unknown"], probed=True)


# -- pauses


STANDS_BY_ITSELF = {
    HoldReason.ADMISSION_PAUSED,  # an operator's, and ended by one
    HoldReason.CLIENT_PAUSED,
    HoldReason.RUNNING_LIMIT,  # they end with the tasks and the slots
    HoldReason.CREATE_LIMIT,
}


def test_every_hold_of_the_accounts_own_has_a_pause() -> None:
    assert set(PAUSES) == set(HoldReason) - STANDS_BY_ITSELF


@pytest.mark.parametrize("pause", PAUSES.values())
def test_a_pause_grows_from_its_first_to_its_ceiling(pause: Pause) -> None:
    assert 0 < pause.first < pause.ceiling <= 300


def test_only_a_refusal_for_the_number_of_calls_tells_of_others() -> None:
    busy = {code: Refused(fault=Fault.BUSY, code=code, message="") for code in ("429", "430")}
    assert all(map(is_throttled, busy.values()))
    assert not is_throttled(Refused(fault=Fault.MAINTENANCE, code="455", message=""))
    assert not any(is_throttled(OUTCOMES[name]) for name in OUTCOMES if name != "busy")


# -- limits


@pytest.mark.parametrize(
    ("rate", "calls", "window"),
    [
        (10, 10, 1.0),
        (1, 1, 1.0),
        (2.5, 2, 0.8),
        (0.5, 1, 2.0),
        (0.01, 1, 100.0),
        (1.999, 1, 1 / 1.999),
        (1000, 1000, 1.0),
    ],
)
def test_a_rate_that_need_not_be_whole_is_spread(rate: float, calls: int, window: float) -> None:
    assert Limit.per_second(rate) == Limit(calls=calls, window=window)


@given(st.floats(0.001, 1000))
def test_a_spread_rate_is_the_rate(rate: float) -> None:
    limit = Limit.per_second(rate)
    assert limit.calls >= 1
    assert limit.calls / limit.window == pytest.approx(rate)
    assert limit.window < 2 or limit.calls == 1


def test_the_limits_of_the_vendors_documentation() -> None:
    limits = Limits()
    assert (limits.creates, limits.queries) == (Limit(calls=20, window=10), Limit.per_second(10))
    assert limits.running == 100
