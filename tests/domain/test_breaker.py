"""A pair's breaker: what each answer to a create teaches, over all that can happen."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from app.domain.admission import PAUSES, HoldReason
from app.domain.breaker import CLOSED, UNKNOWNS_IN_A_ROW, Breaker, breaker_after
from app.domain.submission import Outcome
from tests.domain.test_admission import AWAY, BUSY, OUTCOMES, UNANSWERED
from tests.each import each

LESSONS = """
            accepted wrong  busy  account unsent large maintenance proxy unknown0    unknown1    unknown2
none        free     free   -     -       -      -     busy+       away+ none        none        unanswered+
busy        free     free   same  same    same   same  busy+       away+ unanswered+ unanswered+ unanswered+
away        free     free   same  same    same   same  busy+       away+ unanswered+ unanswered+ unanswered+
unanswered  free     free   same  same    same   same  busy+       away+ unanswered+ unanswered+ unanswered+
"""  # noqa: E501  # a table
"""How the pair stands (row), what comes (column; an unknown outcome after 0, 1 or 2 others), and
how it stands then: `+` for one failed probe more, `same` for another wait of the same length, `-`
where nothing is learned. Only for what was sent since the hold."""

REASONS = {"none": None, "busy": BUSY, "away": AWAY, "unanswered": UNANSWERED}
HEADER, *ROWS = (line.split() for line in LESSONS.strip().splitlines())
TABLE = {
    (REASONS[row], column): cell
    for row, *cells in ROWS
    for column, cell in zip(HEADER, cells, strict=True)
}
TRIES = 4
CASES = list(itertools.product(REASONS.values(), OUTCOMES, range(UNKNOWNS_IN_A_ROW)))


def standing(reason: HoldReason | None, unknowns: int) -> Breaker:
    return Breaker(hold_reason=reason, hold_tries=0 if reason is None else TRIES, unknowns=unknowns)


@each(("reason", "name", "unknowns"), CASES)
def test_what_an_attempt_teaches_that_was_sent_since_the_hold(
    reason: HoldReason | None, name: str, unknowns: int
) -> None:
    before = standing(reason, unknowns)
    cell = TABLE[reason, f"unknown{unknowns}" if name == "unknown" else name]
    after = breaker_after(before, OUTCOMES[name], probed=True)
    if cell in {"-", "free"} and before == CLOSED:
        assert after is None  # nothing is written down
        return
    held = REASONS.get(cell.rstrip("+"))
    tries = before.hold_tries + 1 if cell.endswith("+") else 0
    counted = unknowns + 1 if name == "unknown" else 0
    other = Breaker(hold_reason=held, hold_tries=tries, unknowns=counted)
    assert after == {"-": None, "free": CLOSED, "same": before}.get(cell, other)


@each(("reason", "name", "unknowns"), CASES)
def test_what_was_under_way_before_the_hold_proves_nothing_of_it(
    reason: HoldReason | None, name: str, unknowns: int
) -> None:
    before = standing(reason, unknowns)
    after = breaker_after(before, OUTCOMES[name], probed=False)
    if reason is None:
        assert after == breaker_after(before, OUTCOMES[name], probed=True)
    else:
        assert after is None


outcomes = st.sampled_from(list(OUTCOMES.values()))


@given(st.lists(st.tuples(outcomes, st.booleans())))
def test_whatever_comes_a_pair_stands_as_the_rules_can_say(
    history: list[tuple[Outcome, bool]],
) -> None:
    breaker = CLOSED
    for outcome, probed in history:
        breaker = breaker_after(breaker, outcome, probed=probed) or breaker
        assert (breaker.hold_tries > 0) is (breaker.hold_reason is not None)
        assert breaker.hold_reason is None or breaker.hold_reason in PAUSES
        assert breaker.hold_reason is not HoldReason.KIE_ACCOUNT  # that is no pair's trouble
        assert breaker.unknowns <= UNKNOWNS_IN_A_ROW
        if breaker.unknowns == UNKNOWNS_IN_A_ROW:
            assert breaker.hold_reason is not None
    assert breaker_after(breaker, OUTCOMES["accepted"], probed=True) in {CLOSED, None}


@given(st.integers(0, 20))
def test_at_most_so_many_unknown_outcomes_in_a_row_before_the_pair_is_held(sent: int) -> None:
    breaker = CLOSED
    for number in range(sent):
        assert (breaker.hold_reason is not None) is (number >= UNKNOWNS_IN_A_ROW)
        breaker = breaker_after(breaker, OUTCOMES["unknown"], probed=True) or breaker


def test_a_refusal_holds_its_pair_at_once() -> None:
    """It costs nothing and is said in so many words."""
    for name in ("maintenance", "proxy"):
        after = breaker_after(CLOSED, OUTCOMES[name], probed=True)
        assert after is not None
        assert after.hold_tries == 1
