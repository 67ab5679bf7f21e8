"""The table of what differs: no row without a scenario, none that the page does not tell of."""

from pathlib import Path

import pytest

from tests.dropin.compare import NOTHING, Diff
from tests.dropin.differences import DIFFERENCES, Difference, unlisted, unseen
from tests.dropin.scenarios import SCENARIOS

PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"
BALANCE = Diff("callbacks.0.body.data.remainedCredits", 5912.25, NOTHING)


@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: row.what)
def test_each_row_shows_in_a_scenario_that_there_is(row: Difference) -> None:
    assert row.seen in {scenario.name for scenario in SCENARIOS}


def test_what_no_row_covers_is_told() -> None:
    state = Diff("record.body.data.state", "waiting", "queuing")
    assert list(unlisted("success, told", [BALANCE, state])) == [state]


def test_a_row_covers_what_the_gateway_may_say_and_nothing_else() -> None:
    leak = Diff(BALANCE.path, 5912.25, 17)
    assert list(unlisted("success, told", [leak])) == [leak]


def test_a_row_that_shows_no_more_is_told() -> None:
    gone = {row.what for row in unseen("success, told", [BALANCE])}
    assert gone == {row.what for row in DIFFERENCES if row.seen == "success, told"} - {
        "`remainedCredits` is absent."
    }


@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: row.what)
def test_the_page_tells_of_each(row: Difference) -> None:
    assert row.page in " ".join(PAGE.read_text(encoding="utf-8").split())
