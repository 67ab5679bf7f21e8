"""What is made of kie.ai's word: each rule, their order, and what no statement can do."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.evidence import Judgement, Signature, Verdict, judge, judge_callback
from app.domain.report import Progress, Report, Unreadable
from app.domain.task import FINAL, FailSource, Source, Standing, State, move, yields

QUERY, CALLBACK = Source.QUERY, Source.CALLBACK
APPLIED, DUPLICATE, LATE, DISAGREED = (
    Verdict.APPLIED,
    Verdict.DUPLICATE,
    Verdict.LATE,
    Verdict.DISAGREED,
)
RUNNING = Report(progress=Progress.RUNNING, kie_task_ids=("k",))
SUCCESS = Report(progress=Progress.SUCCEEDED, kie_task_ids=("k",))
FAILURE = Report(progress=Progress.FAILED, kie_task_ids=("k",))
NAMELESS = Report(progress=Progress.SUCCEEDED)
OTHER = Report(progress=Progress.SUCCEEDED, kie_task_ids=("x",))
TWO = Report(progress=Progress.SUCCEEDED, kie_task_ids=("k", "x"))
GARBAGE = Unreadable(reason="not JSON")

QUEUED = Standing(state=State.QUEUED)
SUBMITTING = Standing(state=State.SUBMITTING, attempt=1)
UNCONFIRMED = Standing(state=State.UNCONFIRMED, attempt=1)
RUNS = Standing(state=State.RUNNING, attempt=1, kie_task_id="k")
EXPIRED = Standing(state=State.EXPIRED, attempt=1, kie_task_id="k", fail_source=FailSource.GATEWAY)
LOST = Standing(state=State.EXPIRED, attempt=1, fail_source=FailSource.GATEWAY)
DEADLINE = Standing(state=State.FAILED, fail_source=FailSource.GATEWAY)
CANCELED = Standing(state=State.CANCELED)
SUCCEEDED = Standing(state=State.SUCCEEDED, attempt=1, kie_task_id="k", settled_by=CALLBACK)
FAILED = Standing(
    state=State.FAILED,
    attempt=1,
    kie_task_id="k",
    fail_source=FailSource.KIE,
    settled_by=QUERY,
)
REFUSED = Standing(state=State.FAILED, attempt=1, fail_source=FailSource.KIE)


def applied(
    target: State | None = None, *, bind: str | None = None, poll: bool = False
) -> Judgement:
    return Judgement(verdict=APPLIED, target=target, kie_task_id=bind, poll=poll)


def unmoved(verdict: Verdict, *, poll: bool = False, second: str | None = None) -> Judgement:
    return Judgement(verdict=verdict, poll=poll, second_id=second)


@pytest.mark.parametrize("source", Source)
@pytest.mark.parametrize(
    ("standing", "report", "expected"),
    [
        # an open task is moved, and bound where it has no id yet
        (QUEUED, RUNNING, applied(State.RUNNING, bind="k")),
        (QUEUED, SUCCESS, applied(State.SUCCEEDED, bind="k")),
        (QUEUED, FAILURE, applied(State.FAILED, bind="k")),
        (SUBMITTING, RUNNING, applied(State.RUNNING, bind="k")),
        (SUBMITTING, SUCCESS, applied(State.SUCCEEDED, bind="k")),
        (SUBMITTING, NAMELESS, applied(State.SUCCEEDED)),
        (UNCONFIRMED, RUNNING, applied(State.RUNNING, bind="k")),
        (UNCONFIRMED, FAILURE, applied(State.FAILED, bind="k")),
        (RUNS, RUNNING, applied()),
        (RUNS, SUCCESS, applied(State.SUCCEEDED)),
        (RUNS, FAILURE, applied(State.FAILED)),
        (RUNS, NAMELESS, applied(State.SUCCEEDED)),
        # an end of the gateway's own yields, and is followed up when kie.ai says that it runs
        (EXPIRED, SUCCESS, applied(State.SUCCEEDED)),
        (EXPIRED, FAILURE, applied(State.FAILED)),
        (EXPIRED, RUNNING, applied(poll=True)),
        (LOST, SUCCESS, applied(State.SUCCEEDED, bind="k")),
        (LOST, RUNNING, applied(bind="k", poll=True)),
        (DEADLINE, SUCCESS, applied(State.SUCCEEDED, bind="k")),
        (DEADLINE, FAILURE, applied(State.FAILED, bind="k")),
        (DEADLINE, RUNNING, applied(bind="k", poll=True)),
        (CANCELED, SUCCESS, applied(State.SUCCEEDED, bind="k")),
        (CANCELED, RUNNING, applied(bind="k", poll=True)),
        # an end that kie.ai vouched for stays
        (SUCCEEDED, RUNNING, unmoved(LATE)),
        (SUCCEEDED, FAILURE, unmoved(DISAGREED)),
        (FAILED, RUNNING, unmoved(LATE)),
        (FAILED, SUCCESS, unmoved(DISAGREED)),
        (REFUSED, FAILURE, unmoved(LATE)),
        (REFUSED, SUCCESS, unmoved(DISAGREED)),
        # it names another task than the one that is known: kie.ai took a second create
        (RUNS, OTHER, unmoved(DISAGREED, poll=True, second="x")),
        (SUCCEEDED, OTHER, unmoved(DISAGREED, poll=True, second="x")),
        (EXPIRED, OTHER, unmoved(DISAGREED, poll=True, second="x")),
        # or two at once, which proves nothing
        (QUEUED, TWO, unmoved(DISAGREED, poll=True)),
        (RUNS, TWO, unmoved(DISAGREED, poll=True)),
        (SUCCEEDED, TWO, unmoved(DISAGREED, poll=True)),
    ],
)
def test_what_is_made_of_a_report(
    standing: Standing, report: Report, source: Source, expected: Judgement
) -> None:
    if source is QUERY:  # it was sent under the id that is known: its answer is no second create
        expected = replace(expected, second_id=None)
    assert judge(standing, report, source, foreign=False) == expected


@pytest.mark.parametrize(
    ("standing", "report", "source", "verdict"),
    [
        (SUCCEEDED, SUCCESS, CALLBACK, DUPLICATE),
        (SUCCEEDED, SUCCESS, QUERY, LATE),
        (FAILED, FAILURE, QUERY, DUPLICATE),
        (FAILED, FAILURE, CALLBACK, LATE),
    ],
)
def test_the_same_end_again_is_a_duplicate_from_the_same_source_and_late_from_the_other(
    standing: Standing, report: Report, source: Source, verdict: Verdict
) -> None:
    assert judge(standing, report, source, foreign=False) == unmoved(verdict)


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        # it would bind an id, and echoes somebody else's URL
        (SUBMITTING, unmoved(DISAGREED, poll=True)),
        (UNCONFIRMED, unmoved(DISAGREED, poll=True)),
        (LOST, unmoved(DISAGREED, poll=True)),
        (REFUSED, unmoved(DISAGREED, poll=True)),
        # the id is bound already and agrees: the echo decides nothing
        (RUNS, applied(State.SUCCEEDED)),
        (EXPIRED, applied(State.SUCCEEDED)),
    ],
)
def test_a_foreign_echo_counts_while_no_id_is_bound(
    standing: Standing, expected: Judgement
) -> None:
    assert judge(standing, SUCCESS, CALLBACK, foreign=True) == expected


def test_a_second_id_under_somebody_else_s_url_is_not_this_task_s() -> None:
    assert judge(RUNS, OTHER, CALLBACK, foreign=True) == unmoved(DISAGREED, poll=True)


@pytest.mark.parametrize(
    ("statement", "signature", "standing", "confirm_first", "expected"),
    [
        # unreadable comes first, whoever signed it and whatever it is about
        (GARBAGE, Signature.WRONG, None, True, unmoved(Verdict.UNREADABLE, poll=True)),
        (GARBAGE, Signature.VALID, SUCCEEDED, False, unmoved(Verdict.UNREADABLE, poll=True)),
        # then the signature, also where no task is kept or the report contradicts
        (SUCCESS, Signature.MISSING, None, False, unmoved(Verdict.UNVERIFIED, poll=True)),
        (SUCCESS, Signature.WRONG, RUNS, False, unmoved(Verdict.UNVERIFIED, poll=True)),
        (SUCCESS, Signature.STALE, RUNS, True, unmoved(Verdict.STALE, poll=True)),
        (TWO, Signature.STALE, RUNS, False, unmoved(Verdict.STALE, poll=True)),
        (SUCCESS, Signature.WRONG, SUCCEEDED, False, unmoved(Verdict.UNVERIFIED, poll=True)),
        # then whether there is a task at all
        (SUCCESS, Signature.VALID, None, True, unmoved(Verdict.UNMATCHED)),
        (TWO, Signature.UNCHECKED, None, False, unmoved(Verdict.UNMATCHED)),
        # then whether an end must be confirmed first: only an end, only where it would move
        (SUCCESS, Signature.VALID, RUNS, True, unmoved(Verdict.UNVERIFIED, poll=True)),
        (FAILURE, Signature.VALID, EXPIRED, True, unmoved(Verdict.UNVERIFIED, poll=True)),
        (TWO, Signature.VALID, RUNS, True, unmoved(Verdict.UNVERIFIED, poll=True)),
        (RUNNING, Signature.VALID, UNCONFIRMED, True, applied(State.RUNNING, bind="k")),
        (SUCCESS, Signature.VALID, SUCCEEDED, True, unmoved(DUPLICATE)),
        # then the report itself
        (SUCCESS, Signature.VALID, RUNS, False, applied(State.SUCCEEDED)),
        (SUCCESS, Signature.UNCHECKED, RUNS, False, applied(State.SUCCEEDED)),
        (TWO, Signature.VALID, RUNS, False, unmoved(DISAGREED, poll=True)),
    ],
)
def test_the_order_of_the_rules_for_callbacks(
    statement: Report | Unreadable,
    signature: Signature,
    standing: Standing | None,
    confirm_first: bool,  # noqa: FBT001  # a column of the table
    expected: Judgement,
) -> None:
    judged = judge_callback(
        standing, statement, signature, foreign=False, confirm_first=confirm_first
    )
    assert judged == expected


@pytest.mark.parametrize(
    ("signature", "standing"),
    list(
        itertools.product(
            [Signature.MISSING, Signature.WRONG, Signature.STALE],
            [None, QUEUED, SUBMITTING, UNCONFIRMED, RUNS, EXPIRED, DEADLINE, CANCELED, SUCCEEDED],
        )
    ),
)
def test_what_is_not_genuine_moves_and_binds_nothing_and_has_kie_asked(
    signature: Signature, standing: Standing | None
) -> None:
    judged = judge_callback(standing, SUCCESS, signature, foreign=False, confirm_first=False)
    assert (judged.target, judged.kie_task_id, judged.poll) == (None, None, True)


def test_a_callback_is_judged_as_one() -> None:
    """It is a duplicate of a callback's end, and late after a query's."""
    after_callback, after_query = (
        judge_callback(standing, report, Signature.VALID, foreign=False, confirm_first=False)
        for standing, report in ((SUCCEEDED, SUCCESS), (FAILED, FAILURE))
    )
    assert (after_callback.verdict, after_query.verdict) == (DUPLICATE, LATE)


def test_a_foreign_echo_reaches_the_report_s_rules() -> None:
    judged = judge_callback(
        UNCONFIRMED, SUCCESS, Signature.VALID, foreign=True, confirm_first=False
    )
    assert judged == unmoved(DISAGREED, poll=True)


IDS = ("k", "x", "y")
standings = st.builds(
    Standing,
    state=st.sampled_from(State),
    attempt=st.integers(0, 3),
    kie_task_id=st.none() | st.sampled_from(IDS),
    fail_source=st.none() | st.sampled_from(FailSource),
    settled_by=st.none() | st.sampled_from(Source),
)
reports = st.builds(
    Report,
    progress=st.sampled_from(Progress),
    kie_task_ids=st.lists(st.sampled_from(IDS), unique=True).map(tuple),
)
judged = st.tuples(standings, reports).flatmap(
    lambda pair: st.tuples(
        st.just(pair[0]),
        st.just(pair[1]),
        st.builds(
            judge,
            st.just(pair[0]),
            st.just(pair[1]),
            st.sampled_from(Source),
            foreign=st.booleans(),
        )
        | st.builds(
            judge_callback,
            st.just(pair[0]),
            st.just(pair[1]),
            st.sampled_from(Signature),
            foreign=st.booleans(),
            confirm_first=st.booleans(),
        ),
    )
)


@given(judged)
def test_an_end_that_kie_vouched_for_is_never_moved_or_bound(
    case: tuple[Standing, Report, Judgement],
) -> None:
    standing, _, judgement = case
    if not yields(standing):
        assert judgement.target is None
        assert judgement.kie_task_id is None


@given(judged)
def test_a_target_is_always_one_that_the_task_may_move_to(
    case: tuple[Standing, Report, Judgement],
) -> None:
    standing, _, judgement = case
    if judgement.target is not None:
        assert judgement.verdict is APPLIED
        assert move(standing, judgement.target) is judgement.target
        assert standing.state not in FINAL or judgement.target in FINAL


@given(judged)
def test_contradictory_ids_never_move_or_bind_anything(
    case: tuple[Standing, Report, Judgement],
) -> None:
    standing, report, judgement = case
    named = {*report.kie_task_ids, *filter(None, [standing.kie_task_id])}
    if len(named) > 1:
        assert judgement.target is None
        assert judgement.kie_task_id is None
        assert judgement.verdict in {DISAGREED, Verdict.UNVERIFIED, Verdict.STALE}


@given(judged)
def test_what_is_bound_is_what_the_report_names_and_only_where_nothing_was_bound(
    case: tuple[Standing, Report, Judgement],
) -> None:
    standing, report, judgement = case
    if judgement.kie_task_id is not None:
        assert standing.kie_task_id is None
        assert report.kie_task_ids == (judgement.kie_task_id,)


@given(judged)
def test_a_second_id_is_never_the_one_that_is_known(
    case: tuple[Standing, Report, Judgement],
) -> None:
    standing, report, judgement = case
    if judgement.second_id is not None:
        assert judgement.verdict is DISAGREED
        assert standing.kie_task_id not in (None, judgement.second_id)
        assert report.kie_task_ids == (judgement.second_id,)
