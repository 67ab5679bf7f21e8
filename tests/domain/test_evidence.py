"""What is made of kie.ai's word: each rule, their order, and what no statement can do."""

import itertools
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.callback_url import Echo
from app.domain.evidence import (
    Judgement,
    Signature,
    Verdict,
    is_refuted,
    judge_callback,
    judge_create,
    judge_query,
)
from app.domain.report import Facts, Progress, Report, Unreadable
from app.domain.submission import Accepted, Outcome, Unknown
from app.domain.task import FINAL, FailSource, Source, Standing, State, move, yields
from tests.each import each

QUERY, CALLBACK = Source.QUERY, Source.CALLBACK
APPLIED, DUPLICATE, LATE, DISAGREED = (
    Verdict.APPLIED,
    Verdict.DUPLICATE,
    Verdict.LATE,
    Verdict.DISAGREED,
)
RUNNING = Report(progress=Progress.RUNNING, kie_task_ids=("k",))
RESULT = {"resultObject": "done"}
SUCCESS = Report(progress=Progress.SUCCEEDED, kie_task_ids=("k",), result=RESULT)
EMPTY = Report(progress=Progress.SUCCEEDED, kie_task_ids=("k",))
TURNING = Report(progress=Progress.FAILED, kie_task_ids=("k",), fail_code="524")
FAILURE = Report(progress=Progress.FAILED, kie_task_ids=("k",))
NAMELESS = Report(progress=Progress.SUCCEEDED, result=RESULT)
OTHER = Report(progress=Progress.SUCCEEDED, kie_task_ids=("x",), result=RESULT)
TWO = Report(progress=Progress.SUCCEEDED, kie_task_ids=("k", "x"), result=RESULT)
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


KNOWN = Facts(result=RESULT)
ASKED = Judgement(verdict=Verdict.UNVERIFIED, poll=True, holds=True)


def applied(
    target: State | None = None, *, bind: str | None = None, poll: bool = False
) -> Judgement:
    return Judgement(verdict=APPLIED, target=target, kie_task_id=bind, poll=poll)


def unmoved(verdict: Verdict, *, poll: bool = False, second: str | None = None) -> Judgement:
    return Judgement(verdict=verdict, poll=poll, second_id=second)


def moved(verdict: Verdict, target: State, *, poll: bool = False) -> Judgement:
    return Judgement(verdict=verdict, target=target, poll=poll)


def held(*, target: State | None = None, bind: str | None = None, poll: bool) -> Judgement:
    return Judgement(verdict=Verdict.HELD, target=target, kie_task_id=bind, poll=poll, holds=True)


def by_query(
    standing: Standing, report: Report, *, echo: Echo = Echo.OWN, known: Facts = KNOWN
) -> Judgement:
    return judge_query(standing, known, report, echo=echo, alleged=False)


def by_callback(
    standing: Standing | None,
    content: Report | Unreadable,
    signature: Signature = Signature.VALID,
    *,
    echo: Echo = Echo.NONE,
    confirm_first: bool = False,
    known: Facts = KNOWN,
) -> Judgement:
    return judge_callback(
        standing, known, content, signature, echo=echo, confirm_first=confirm_first
    )


@each(
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
        # an end that shows no result, or that may turn around, is asked about first
        (RUNS, EMPTY, held(poll=False)),
        (RUNS, TURNING, held(poll=False)),
        (UNCONFIRMED, TURNING, held(target=State.RUNNING, bind="k", poll=False)),
        (replace(RUNS, held_for=51.0), EMPTY, held(poll=False)),
        (replace(RUNS, held_for=52.0), EMPTY, applied(State.SUCCEEDED)),
        (replace(RUNS, held_for=149.0), TURNING, held(poll=False)),
        (replace(RUNS, held_for=150.0), TURNING, applied(State.FAILED)),
        # what the gateway gave up is not held
        (EXPIRED, EMPTY, applied(State.SUCCEEDED)),
        (EXPIRED, TURNING, applied(State.FAILED)),
        # a record that still runs after half a minute refutes what a callback said
        (replace(RUNS, held_for=29.0), RUNNING, applied()),
        (replace(RUNS, held_for=31.0), RUNNING, replace(applied(), releases=True)),
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
        # an end that only a callback told of is kie.ai's record's to turn
        (SUCCEEDED, RUNNING, unmoved(LATE)),
        (replace(SUCCEEDED, final_for=31.0), RUNNING, unmoved(DISAGREED)),
        (SUCCEEDED, FAILURE, moved(DISAGREED, State.FAILED)),
        (replace(SUCCEEDED, confirmed=True, final_for=31.0), RUNNING, unmoved(LATE)),
        (replace(SUCCEEDED, confirmed=True), FAILURE, unmoved(DISAGREED)),
        # and kie.ai was seen to take failures back
        (FAILED, RUNNING, unmoved(LATE)),
        (FAILED, SUCCESS, unmoved(DISAGREED)),
        (replace(FAILED, may_turn=True), SUCCESS, applied(State.SUCCEEDED)),
        (REFUSED, FAILURE, unmoved(LATE)),
        (REFUSED, SUCCESS, applied(State.SUCCEEDED, bind="k")),
        # it names another task than the one that is known
        (RUNS, OTHER, unmoved(DISAGREED, poll=True)),
        (SUCCEEDED, OTHER, unmoved(DISAGREED, poll=True)),
        (EXPIRED, OTHER, unmoved(DISAGREED, poll=True)),
        # or two at once, which proves nothing
        (QUEUED, TWO, unmoved(DISAGREED, poll=True)),
        (RUNS, TWO, unmoved(DISAGREED, poll=True)),
        (SUCCEEDED, TWO, unmoved(DISAGREED, poll=True)),
    ],
)
def test_what_is_made_of_a_record(standing: Standing, report: Report, expected: Judgement) -> None:
    assert by_query(standing, report) == expected


@each(
    ("standing", "report", "believed", "confirmed_first"),
    [
        # without an id nothing is believed: kie.ai's record proves whose an id is
        (SUBMITTING, RUNNING, *[unmoved(Verdict.UNVERIFIED, poll=True)] * 2),
        (SUBMITTING, SUCCESS, *[unmoved(Verdict.UNVERIFIED, poll=True)] * 2),
        (UNCONFIRMED, FAILURE, *[unmoved(Verdict.UNVERIFIED, poll=True)] * 2),
        (LOST, SUCCESS, *[unmoved(Verdict.UNVERIFIED, poll=True)] * 2),
        (DEADLINE, SUCCESS, *[unmoved(Verdict.UNVERIFIED, poll=True)] * 2),
        (CANCELED, SUCCESS, *[unmoved(Verdict.UNVERIFIED, poll=True)] * 2),
        (REFUSED, SUCCESS, *[unmoved(Verdict.UNVERIFIED, poll=True)] * 2),
        (REFUSED, FAILURE, *[unmoved(LATE)] * 2),
        # and what kie.ai may have is not sent again
        (QUEUED, RUNNING, *[moved(Verdict.UNVERIFIED, State.UNCONFIRMED, poll=True)] * 2),
        (QUEUED, SUCCESS, *[moved(Verdict.UNVERIFIED, State.UNCONFIRMED, poll=True)] * 2),
        # an end moves the task, or is no more than a reason to ask
        (RUNS, SUCCESS, applied(State.SUCCEEDED), ASKED),
        (RUNS, FAILURE, applied(State.FAILED), ASKED),
        (RUNS, EMPTY, held(poll=True), ASKED),
        (RUNS, TURNING, held(poll=True), ASKED),
        (replace(RUNS, held_for=200.0), TURNING, held(poll=True), ASKED),
        (RUNS, RUNNING, *[applied()] * 2),
        (EXPIRED, SUCCESS, applied(State.SUCCEEDED), unmoved(Verdict.UNVERIFIED, poll=True)),
        (EXPIRED, RUNNING, *[applied(poll=True)] * 2),
        # an end that kie.ai vouched for stays, and a contradiction is asked about
        (SUCCEEDED, RUNNING, *[unmoved(LATE)] * 2),
        (SUCCEEDED, SUCCESS, *[unmoved(DUPLICATE)] * 2),
        (SUCCEEDED, FAILURE, *[unmoved(DISAGREED, poll=True)] * 2),
        (FAILED, FAILURE, *[unmoved(LATE)] * 2),
        (FAILED, SUCCESS, *[unmoved(DISAGREED, poll=True)] * 2),
        # it names another task than the one that is known: kie.ai took a second create
        (RUNS, OTHER, *[unmoved(DISAGREED, poll=True, second="x")] * 2),
        (SUCCEEDED, OTHER, *[unmoved(DISAGREED, poll=True, second="x")] * 2),
        (EXPIRED, OTHER, *[unmoved(DISAGREED, poll=True, second="x")] * 2),
        (RUNS, TWO, *[unmoved(DISAGREED, poll=True)] * 2),
    ],
)
def test_what_is_made_of_a_callback(
    standing: Standing, report: Report, believed: Judgement, confirmed_first: Judgement
) -> None:
    assert by_callback(standing, report) == believed
    assert by_callback(standing, report, confirm_first=True) == confirmed_first


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
    judge = by_query if source is QUERY else by_callback
    assert judge(standing, report) == unmoved(verdict)


RIGHT = Facts(result={"resultUrls": ["https://kie/a.png"]}, result_urls=("https://kie/a.png",))
WRONG = Facts(result={"resultUrls": ["https://evil/x.png"]}, result_urls=("https://evil/x.png",))


def saying(facts: Facts, progress: Progress = Progress.SUCCEEDED, **more: Any) -> Report:
    values = {field.name: getattr(facts, field.name) for field in fields(Facts)}
    return Report(progress=progress, kie_task_ids=("k",), **(values | more))


@pytest.mark.parametrize(
    ("source", "confirm_first", "known", "said", "verdict", "asks", "amended"),
    [
        # later evidence fills what is missing
        (QUERY, False, Facts(), RIGHT, APPLIED, False, ("result", "result_urls")),
        (CALLBACK, False, Facts(), RIGHT, APPLIED, True, ("result", "result_urls")),
        # which a callback may not where only the record is believed
        (CALLBACK, True, Facts(), RIGHT, Verdict.UNVERIFIED, True, None),
        # a record's word is put in the place of another; a callback's is asked about
        (QUERY, False, WRONG, RIGHT, DISAGREED, False, ("result", "result_urls")),
        (CALLBACK, False, RIGHT, WRONG, DISAGREED, True, None),
        (CALLBACK, True, RIGHT, WRONG, DISAGREED, True, None),
        (QUERY, False, RIGHT, RIGHT, LATE, False, None),
    ],
)
def test_a_report_of_the_same_end_fills_or_contradicts(
    source: Source,
    confirm_first: bool,  # noqa: FBT001  # columns of the table
    known: Facts,
    said: Facts,
    verdict: Verdict,
    asks: bool,  # noqa: FBT001
    amended: tuple[str, ...] | None,
) -> None:
    if source is QUERY:
        judgement = by_query(SUCCEEDED, saying(said), known=known)
    else:
        judgement = by_callback(SUCCEEDED, saying(said), known=known, confirm_first=confirm_first)
    assert (judgement.verdict, judgement.poll) == (verdict, asks)
    changed = judgement.amendment
    assert (changed and changed.filled + changed.corrected) == amended


@pytest.mark.parametrize(
    ("claim", "record", "refuted"),
    [
        (saying(WRONG), saying(RIGHT), True),
        (saying(RIGHT), saying(RIGHT), False),
        (saying(Facts()), saying(RIGHT), False),
        (saying(WRONG), saying(Facts(), Progress.FAILED), True),
        (saying(WRONG), saying(Facts(), Progress.RUNNING), True),
        (saying(Facts(), Progress.FAILED), saying(RIGHT), True),
        (saying(Facts(fail_code="524"), Progress.FAILED), saying(RIGHT), False),
        (saying(Facts(), Progress.RUNNING), saying(RIGHT), False),
    ],
)
def test_what_a_record_refutes(claim: Report, record: Report, refuted: bool) -> None:  # noqa: FBT001
    assert is_refuted(claim, record) is refuted


@pytest.mark.parametrize(
    ("standing", "echo", "expected"),
    [
        # it would bind an id, and echoes somebody else's URL
        (SUBMITTING, Echo.STRANGE, unmoved(DISAGREED, poll=True)),
        (UNCONFIRMED, Echo.STRANGE, unmoved(DISAGREED, poll=True)),
        (LOST, Echo.STRANGE, unmoved(DISAGREED, poll=True)),
        (REFUSED, Echo.STRANGE, unmoved(DISAGREED, poll=True)),
        # the id is bound already and agrees: an echo that is nobody's decides nothing
        (RUNS, Echo.STRANGE, applied(State.SUCCEEDED)),
        (EXPIRED, Echo.STRANGE, applied(State.SUCCEEDED)),
        # but another task's result is never this one's
        (RUNS, Echo.ANOTHERS, replace(unmoved(DISAGREED, poll=True), foreign=True)),
        (UNCONFIRMED, Echo.ANOTHERS, replace(unmoved(DISAGREED, poll=True), foreign=True)),
    ],
)
def test_whose_url_a_record_echoes(standing: Standing, echo: Echo, expected: Judgement) -> None:
    assert by_query(standing, SUCCESS, echo=echo) == expected


@pytest.mark.parametrize(
    ("echo", "verdict"),
    [(Echo.NONE, Verdict.UNVERIFIED), (Echo.OWN, APPLIED), (Echo.ANOTHERS, DISAGREED)],
)
def test_an_id_that_only_a_callback_named_needs_the_own_url(echo: Echo, verdict: Verdict) -> None:
    judgement = judge_query(UNCONFIRMED, KNOWN, SUCCESS, echo=echo, alleged=True)
    assert judgement.verdict is verdict
    assert (judgement.kie_task_id is not None) is (verdict is APPLIED)


@pytest.mark.parametrize("echo", [Echo.STRANGE, Echo.ANOTHERS])
def test_a_second_id_under_somebody_else_s_url_is_not_this_task_s(echo: Echo) -> None:
    assert by_callback(RUNS, OTHER, echo=echo) == unmoved(DISAGREED, poll=True)


@pytest.mark.parametrize(
    ("standing", "attempt", "outcome", "expected"),
    [
        (SUBMITTING, 1, Accepted(kie_task_id="k"), applied(State.RUNNING, bind="k")),
        # queued again, and taken after all: it must not be sent a second time
        (QUEUED, 0, Accepted(kie_task_id="k"), applied(State.RUNNING, bind="k")),
        (RUNS, 0, Accepted(kie_task_id="x"), unmoved(LATE, second="x")),
        (
            SUBMITTING,
            1,
            Unknown(reason="?", kie_task_id="k"),
            replace(applied(State.UNCONFIRMED), alleged_id="k"),
        ),
        (RUNS, 1, Unknown(reason="?", kie_task_id="x"), unmoved(LATE)),
    ],
)
def test_what_is_made_of_the_answer_to_a_create(
    standing: Standing, attempt: int, outcome: Outcome, expected: Judgement
) -> None:
    assert judge_create(standing, attempt, outcome) == expected


@each(
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
        # then whether it is of one mind with itself and the task
        (TWO, Signature.VALID, RUNS, True, unmoved(DISAGREED, poll=True)),
        (TWO, Signature.VALID, RUNS, False, unmoved(DISAGREED, poll=True)),
        # then whether an end must be confirmed first: only an end
        (SUCCESS, Signature.VALID, RUNS, True, ASKED),
        (FAILURE, Signature.VALID, EXPIRED, True, unmoved(Verdict.UNVERIFIED, poll=True)),
        # then the report itself
        (SUCCESS, Signature.VALID, RUNS, False, applied(State.SUCCEEDED)),
        (SUCCESS, Signature.UNCHECKED, RUNS, False, applied(State.SUCCEEDED)),
    ],
)
def test_the_order_of_the_rules_for_callbacks(
    statement: Report | Unreadable,
    signature: Signature,
    standing: Standing | None,
    confirm_first: bool,  # noqa: FBT001  # a column of the table
    expected: Judgement,
) -> None:
    assert by_callback(standing, statement, signature, confirm_first=confirm_first) == expected


@each(
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
    judged = by_callback(standing, SUCCESS, signature)
    assert (judged.target, judged.kie_task_id, judged.poll) == (None, None, True)


def test_a_foreign_echo_reaches_the_report_s_rules() -> None:
    assert by_callback(UNCONFIRMED, SUCCESS, echo=Echo.STRANGE) == unmoved(DISAGREED, poll=True)


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
        st.builds(by_query, st.just(pair[0]), st.just(pair[1]), echo=st.sampled_from(Echo))
        | st.builds(
            by_callback,
            st.just(pair[0]),
            st.just(pair[1]),
            st.sampled_from(Signature),
            echo=st.sampled_from(Echo),
            confirm_first=st.booleans(),
        ),
    )
)


@given(judged)
def test_a_result_that_kie_s_record_vouched_for_is_never_moved_or_bound(
    case: tuple[Standing, Report, Judgement],
) -> None:
    standing, _, judgement = case
    doubted = standing.settled_by is CALLBACK and not standing.confirmed
    yields_to_success = standing.may_turn or standing.settled_by is None
    if not yields(standing) and not doubted and not yields_to_success:
        assert judgement.target is None
        assert judgement.kie_task_id is None


@given(judged)
def test_a_target_is_always_one_that_the_task_may_move_to(
    case: tuple[Standing, Report, Judgement],
) -> None:
    standing, _, judgement = case
    if judgement.target is not None:
        assert move(standing, judgement.target, QUERY) is judgement.target
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
