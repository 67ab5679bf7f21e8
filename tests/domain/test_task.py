"""The life of a task: the whole state x state product, and where each outcome leads."""

import itertools
from dataclasses import replace

import pytest

from app.domain.report import Progress
from app.domain.submission import Accepted, Fault, Outcome, Refused, Unknown, Unsent
from app.domain.task import (
    ARROWS,
    DEADLINES,
    FINAL,
    SETTLED_AS,
    FailCode,
    FailSource,
    NoSuchArrowError,
    Source,
    Standing,
    State,
    move,
    overturns,
    state_after,
    takes_outcome,
    yields,
)
from tests.each import each

MATRIX = """
             queued submitting unconfirmed running expired succeeded failed canceled
queued       -      yes        yes         yes     -       yes       yes    yes
submitting   yes    -          yes         yes     -       yes       yes    -
unconfirmed  yes    -          -           yes     yes     yes       yes    -
running      -      -          -           -       yes     yes       yes    -
expired      -      -          -           -       -       yes       yes    -
succeeded    -      -          -           -       -       -         record -
failed       -      -          -           -       -       ours      ours   -
canceled     -      -          -           -       -       yes       yes    -
"""
"""The design's table of states, row to column; "ours": only an end that the gateway declared;
"record": only by kie.ai's record, see `overturns`."""

HEADER, *ROWS = (line.split() for line in MATRIX.strip().splitlines())
CELLS = [
    (State(row), State(column), cell)
    for row, *cells in ROWS
    for column, cell in zip(HEADER, cells, strict=True)
]
FAIL_SOURCES = (None, *FailSource)
OPEN = {State.QUEUED, State.SUBMITTING, State.UNCONFIRMED, State.RUNNING}


def test_the_matrix_has_every_pair_of_states_once() -> None:
    assert sorted(cell[:2] for cell in CELLS) == sorted(itertools.product(State, State))


@each("fail_source", FAIL_SOURCES)
@each(("left", "target", "cell"), CELLS)
def test_a_move_is_allowed_exactly_where_the_matrix_says(
    left: State, target: State, cell: str, fail_source: FailSource | None
) -> None:
    standing = Standing(state=left, fail_source=fail_source)
    if cell == "yes" or (cell == "ours" and fail_source is FailSource.GATEWAY):
        assert move(standing, target) is target
    else:
        with pytest.raises(NoSuchArrowError, match=f"^{left} -> {target}$"):
            move(standing, target)


@each(("left", "target", "cell"), CELLS)
def test_the_arrows_are_the_matrix(left: State, target: State, cell: str) -> None:
    assert (target in ARROWS[left]) is (cell != "-")


BY_CALLBACK = Standing(state=State.SUCCEEDED, settled_by=Source.CALLBACK)
BY_QUERY = Standing(state=State.SUCCEEDED, settled_by=Source.QUERY, confirmed=True)
FAILED = Standing(
    state=State.FAILED, fail_source=FailSource.KIE, settled_by=Source.QUERY, confirmed=True
)

REFUSED = Standing(state=State.FAILED, fail_source=FailSource.KIE)


@pytest.mark.parametrize(
    ("standing", "target", "source", "allowed"),
    [
        (BY_CALLBACK, State.FAILED, Source.QUERY, True),
        (BY_CALLBACK, State.FAILED, Source.CALLBACK, False),
        (BY_CALLBACK, State.FAILED, None, False),
        (replace(BY_CALLBACK, confirmed=True), State.FAILED, Source.QUERY, False),
        (BY_QUERY, State.FAILED, Source.QUERY, False),
        (FAILED, State.SUCCEEDED, Source.QUERY, False),
        (replace(FAILED, may_turn=True), State.SUCCEEDED, Source.QUERY, True),
        (replace(FAILED, may_turn=True), State.SUCCEEDED, Source.CALLBACK, False),
        (REFUSED, State.SUCCEEDED, Source.QUERY, True),
        (REFUSED, State.SUCCEEDED, Source.CALLBACK, False),
        (FAILED, State.FAILED, Source.QUERY, False),
    ],
)
def test_only_kies_record_turns_an_end_that_kie_vouched_for(
    standing: Standing,
    target: State,
    source: Source | None,
    allowed: bool,  # noqa: FBT001  # a column of the table
) -> None:
    assert overturns(standing, target, source) is allowed
    if allowed:
        assert move(standing, target, source) is target
    else:
        with pytest.raises(NoSuchArrowError):
            move(standing, target, source)


@each("settled_by", [None, *Source])
@each("fail_source", FAIL_SOURCES)
@each("state", State)
def test_only_an_end_that_kie_vouched_for_never_yields(
    state: State, fail_source: FailSource | None, settled_by: Source | None
) -> None:
    standing = Standing(state=state, fail_source=fail_source, settled_by=settled_by)
    expected = {
        State.SUCCEEDED: False,
        State.FAILED: fail_source is FailSource.GATEWAY,
    }
    assert yields(standing) is expected.get(state, True)


def test_at_rest_is_where_waits_end() -> None:
    assert set(State) - OPEN == FINAL


def test_kies_ends_and_ours() -> None:
    assert SETTLED_AS == {
        Progress.SUCCEEDED: State.SUCCEEDED,
        Progress.FAILED: State.FAILED,
    }


@each(
    ("outcome", "state"),
    [
        (Accepted(kie_task_id="k"), State.RUNNING),
        (Refused(fault=Fault.REQUEST, code="422", message="no"), State.FAILED),
        (Refused(fault=Fault.BUSY, code="429", message="no"), State.QUEUED),
        (Refused(fault=Fault.ACCOUNT, code="402", message="no"), State.QUEUED),
        (Unsent(reason="refused"), State.QUEUED),
        (Unknown(reason="reset"), State.UNCONFIRMED),
    ],
)
@each("left", [State.SUBMITTING, State.UNCONFIRMED])
def test_where_an_outcome_leads(outcome: Outcome, state: State, left: State) -> None:
    """From both states in which an attempt may still speak; staying is no move."""
    assert state_after(outcome) is state
    if state is not left:
        assert move(Standing(state=left, attempt=1), state) is state


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_has_a_sequel_and_none_leads_to_a_second_create_of_what_may_run(
    fault: Fault,
) -> None:
    after = state_after(Refused(fault=fault, code="1", message=""))
    ends = fault in {Fault.REQUEST, Fault.FILE}
    assert after is (State.FAILED if ends else State.QUEUED)


@pytest.mark.parametrize(("tries", "state"), [(0, "queued"), (1, "queued"), (2, "failed")])
def test_what_a_proxy_finds_too_large_is_tried_three_times(tries: int, state: str) -> None:
    too_large = Refused(fault=Fault.PROXY, code="413", message="HTTP 413")
    assert state_after(too_large, tries) == state
    assert state_after(Refused(fault=Fault.PROXY, code="404", message=""), 99) is State.QUEUED


@each("attempt", [1, 2, 3])
@each("state", State)
def test_only_the_newest_attempt_records_and_only_while_its_outcome_is_open(
    state: State, attempt: int
) -> None:
    waits = state in {State.SUBMITTING, State.UNCONFIRMED}
    assert takes_outcome(Standing(state=state, attempt=2), attempt) is (waits and attempt == 2)


def test_how_states_lapse() -> None:
    assert {state: (lapse.state, lapse.fail_code) for state, lapse in DEADLINES.items()} == {
        State.QUEUED: (State.FAILED, FailCode.SUBMIT_DEADLINE),
        State.UNCONFIRMED: (State.EXPIRED, FailCode.OUTCOME_UNKNOWN),
        State.RUNNING: (State.EXPIRED, FailCode.NO_ANSWER),
    }


@pytest.mark.parametrize("state", DEADLINES)
def test_a_lapse_follows_an_arrow_into_a_rest_that_yields(state: State) -> None:
    lapse = DEADLINES[state]
    assert move(Standing(state=state), lapse.state) in FINAL
    assert yields(Standing(state=lapse.state, fail_source=FailSource.GATEWAY))
    assert lapse.fail_message.endswith(".")
