"""What may be sent when, and what each answer teaches: the whole product of what can happen."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.admission import (
    BRAKES,
    FAILURES_IN_A_ROW,
    FREE,
    PAUSES,
    Condition,
    HoldReason,
    Limit,
    Limits,
    Pair,
    Pause,
    Run,
    condition_after,
    is_throttled,
)
from app.domain.submission import Accepted, Fault, Outcome, Refused, Unknown, Unsent
from tests.each import each

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
    "large": Refused(fault=Fault.PROXY, code="413", message="HTTP 413"),
    "maintenance": Refused(fault=Fault.MAINTENANCE, code="455", message="maintenance"),
    "proxy": Refused(fault=Fault.PROXY, code="404", message="HTTP 404"),
    "unknown": Unknown(reason="reset"),
}
LESSONS = """
            accepted wrong busy  account  unsent large maintenance proxy       unknown
none        free     free  busy  account  away   -     none        none        none
none!       free     free  busy  account  away   -     busy        away        unanswered
busy        free     free  busy+ account  away   same  same        same        same
busy!       free     free  busy+ account  away   same  busy+       busy+       busy+
away        free     free  busy  account  away+  same  same        same        same
away!       free     free  busy  account  away+  same  away+       away+       away+
unanswered  free     free  busy  account  away   same  same        same        same
unanswered! free     free  busy  account  away   same  unanswered+ unanswered+ unanswered+
account     free     same  same  account+ same   same  same        same        same
account!    free     same  same  account+ same   same  same        same        same
"""
"""How the account stands (row; `!` where the next trouble is the one that spreads a run), what
comes (column), and how it stands then: `+` for one failed probe more, `same` for another wait of
the same length, `-` where nothing is learned. Only for what was sent since the hold."""

REASONS = {"none": None, "busy": BUSY, "account": ACCOUNT, "away": AWAY, "unanswered": UNANSWERED}
HEADER, *ROWS = (line.split() for line in LESSONS.strip().splitlines())
TABLE = {
    (REASONS[row.rstrip("!")], row.endswith("!"), column): cell
    for row, *cells in ROWS
    for column, cell in zip(HEADER, cells, strict=True)
}
TRIES = 4
SHOP, BLOG = UUID(int=1), UUID(int=2)
PAIR = Pair(client_id=SHOP, model="m")
NEARLY_SPREAD = Run(failures=2, clients=frozenset({BLOG}), models=frozenset({"other"}))
CASES = list(TABLE)


def standing(reason: HoldReason | None, *, spreads: bool) -> Condition:
    return Condition(
        hold_reason=reason,
        hold_tries=0 if reason is None else TRIES,
        run=NEARLY_SPREAD if spreads else Run(),
    )


def learned(before: Condition, name: str, *, probed: bool = True) -> Condition | None:
    return condition_after(before, OUTCOMES[name], PAIR, probed=probed, alone=False)


@each(("reason", "spreads", "name"), CASES)
def test_what_an_attempt_teaches_that_was_sent_since_the_hold(
    reason: HoldReason | None, name: str, *, spreads: bool
) -> None:
    before = standing(reason, spreads=spreads)
    cell = TABLE[reason, spreads, name]
    after = learned(before, name)
    if cell == "-" or (cell == "free" and before == FREE):
        assert after is None  # nothing is written down
        return
    assert after is not None
    if cell == "free":
        assert after == FREE
        return
    grown = {"same": before.hold_tries, "none": 0}.get(cell, TRIES + 1 if "+" in cell else 1)
    held = reason if cell == "same" else REASONS[cell.rstrip("+")]
    assert (after.hold_reason, after.hold_tries) == (held, grown)


@each(("reason", "spreads", "name"), CASES)
def test_what_was_under_way_before_the_hold_proves_nothing_of_it(
    reason: HoldReason | None, name: str, *, spreads: bool
) -> None:
    before = standing(reason, spreads=spreads)
    after = learned(before, name, probed=False)
    assert after == (learned(before, name) if reason is None else None)


def test_the_table_has_every_hold_and_every_outcome() -> None:
    assert set(REASONS.values()) == {None, *PAUSES}
    shapes = {type(outcome) for outcome in OUTCOMES.values()}
    assert shapes == {Accepted, Refused, Unsent, Unknown}
    faults = {outcome.fault for outcome in OUTCOMES.values() if isinstance(outcome, Refused)}
    assert faults == set(Fault) - {Fault.FILE}  # of ours: nothing was sent, and nothing learned


# -- a trouble of several pairs is the account's


SPREAD = """
pairs                alone others
a/m                  -     -
a/m a/m a/m a/m      -     -
a/m a/n              -     -
a/m a/n a/m          a     -
a/m a/n a/o          a     -
a/m b/m a/m          -     -
a/m b/m b/m b/m      -     -
a/m b/n              -     -
a/m b/n a/m          all   all
a/m a/m b/n          all   all
a/m a/n ok a/m a/n   -     -
a/m b/n ok a/m       -     -
a/m a/n wrong a/n    -     -
a/m a/n large b/m    all   all
a/m b/n busy a/m     busy  busy
a/m a/n a/m b/m      all   all
"""
"""Unknown outcomes in a row by client and model, and whose hold follows where no other client is
active and where one is: nobody's (-), that one client's, or everybody's."""
_, *SPREADS = (line.split() for line in SPREAD.strip().splitlines())
BETWEEN = {"ok": "accepted", "wrong": "wrong", "large": "large", "busy": "busy"}


@each("row", SPREADS)
@each("one_client", [True, False])
def test_the_account_is_held_where_a_trouble_is_spread(row: list[str], *, one_client: bool) -> None:
    *steps, if_alone, if_others = row
    clients = {"a": SHOP, "b": BLOG}
    condition = FREE
    for step in steps:
        client, _, model = step.partition("/")
        pair = Pair(client_id=clients.get(client, SHOP), model=model)
        outcome = OUTCOMES[BETWEEN.get(step, "unknown")]
        after = condition_after(condition, outcome, pair, probed=True, alone=one_client)
        condition = after or condition
    whose = if_alone if one_client else if_others
    if whose == "busy":
        assert (condition.hold_reason, condition.hold_client_id) == (BUSY, None)
        return
    assert condition.hold_reason is (None if whose == "-" else UNANSWERED)
    assert condition.hold_client_id == clients.get(whose)


def test_a_hold_for_one_client_becomes_everybodys_with_anothers_trouble() -> None:
    run = Run(failures=3, clients=frozenset({SHOP}), models=frozenset({"m", "n"}))
    held = Condition(hold_reason=UNANSWERED, hold_tries=2, hold_client_id=SHOP, run=run)
    blogs = Pair(client_id=BLOG, model="m")
    after = condition_after(held, OUTCOMES["unknown"], blogs, probed=True, alone=False)
    assert after is not None
    assert (after.hold_tries, after.hold_client_id) == (3, None)


def test_what_is_counted_of_a_run_has_an_end() -> None:
    """So the hundredth trouble of a run writes nothing down."""
    condition = FREE
    for number in range(100):
        pair = Pair(client_id=SHOP, model="m" if number else "n")
        after = condition_after(condition, OUTCOMES["unknown"], pair, probed=True, alone=False)
        assert (after is None) is (number >= FAILURES_IN_A_ROW)
        condition = after or condition


outcomes = st.sampled_from(list(OUTCOMES.values()))
pairs = st.builds(Pair, client_id=st.sampled_from([SHOP, BLOG]), model=st.sampled_from("mno"))


@given(st.lists(st.tuples(outcomes, pairs, st.booleans(), st.booleans())))
def test_whatever_comes_the_account_stands_as_the_rules_can_say(
    history: list[tuple[Outcome, Pair, bool, bool]],
) -> None:
    condition = FREE
    for outcome, pair, probed, alone in history:
        before = condition
        found = condition_after(condition, outcome, pair, probed=probed, alone=alone)
        condition = found or condition
        assert (condition.hold_tries > 0) is (condition.hold_reason is not None)
        assert condition.hold_reason is None or condition.hold_reason in PAUSES
        assert condition.hold_client_id is None or condition.hold_reason is not None
        if before.hold_reason is ACCOUNT and condition.hold_reason is not ACCOUNT:
            assert isinstance(outcome, Accepted)  # nothing else shows that there are credits
    ok = condition_after(condition, OUTCOMES["accepted"], PAIR, probed=True, alone=False)
    assert (ok or condition) == FREE


# -- pauses


STANDS_BY_ITSELF = {
    HoldReason.ADMISSION_PAUSED,  # an operator's, and ended by one
    HoldReason.CLIENT_PAUSED,
    HoldReason.CLIENT_RUNNING_LIMIT,
    HoldReason.RUNNING_LIMIT,  # they end with the tasks and the slots
    HoldReason.CREATE_LIMIT,
}


def test_every_hold_of_the_accounts_own_has_a_pause() -> None:
    assert set(PAUSES) == set(HoldReason) - STANDS_BY_ITSELF - set(BRAKES)


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
