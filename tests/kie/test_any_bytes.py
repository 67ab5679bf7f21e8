"""Nothing that kie.ai or anyone else can send makes a reader raise or breaks a bound."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain import exact_json
from app.domain.report import Answered, NoAnswer, Progress, Report, Unreadable
from app.domain.submission import Accepted, Refused, Unknown, Unsent
from app.kie import values, wire

SAMPLES = [path.read_bytes() for path in sorted((Path(__file__).parent / "samples").glob("*"))]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**301)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["200", "501", "success", "fail", "https://a/1", "{}", '{"a":1}', "1E+9999"])
)
MEMBERS = """
    code msg message data taskId task_id recordId state successFlag status callbackType param
    resultJson response info videoInfo resultInfoJson resultUrls result failCode failMsg errorCode
    costTime creditsConsumed consumeCredits remainedCredits createTime completeTime callBackUrl
"""
names = st.text(max_size=5) | st.sampled_from(MEMBERS.split())
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=8),
    max_leaves=30,
)
statuses = st.integers(100, 599)


@st.composite
def mutated_samples(draw: st.DrawFn) -> bytes:
    """A real body with some members, at any depth, replaced by anything."""
    body = exact_json.read(draw(st.sampled_from(SAMPLES)))["body"]
    for _ in range(draw(st.integers(1, 4))):
        here: Any = body
        while isinstance(here, dict) and here:
            name = draw(st.sampled_from(sorted(here)))
            if not isinstance(here[name], dict) or draw(st.booleans()):
                here[name] = draw(anything)
                break
            here = here[name]
    return exact_json.render(body).encode()


@st.composite
def damaged_samples(draw: st.DrawFn) -> bytes:
    """A real body cut short, with some bytes changed."""
    body = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 5))):
        body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return bytes(body[: draw(st.integers(0, len(body)))])


documents = anything.map(lambda value: exact_json.render(value).encode())
envelopes = st.dictionaries(names, anything, max_size=8).map(
    lambda data: exact_json.render({"code": 200, "data": data}).encode()
)
# A busy machine is no finding.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
bodies = st.binary() | documents | envelopes | mutated_samples() | damaged_samples()


@unhurried
@given(bodies)
def test_no_callback_raises_or_breaks_a_bound(body: bytes) -> None:
    said = wire.read_callback(body)
    if isinstance(said, Report):
        check_bounds(said)
    else:
        assert len(said.reason) <= 1000


@unhurried
@given(statuses, bodies)
def test_no_query_raises_or_breaks_a_bound(status: int, body: bytes) -> None:
    answer = wire.read_query(status, body)
    if isinstance(answer, Answered):
        assert answer.body == body
        check_bounds(answer.report)
    elif isinstance(answer, NoAnswer):
        assert len(answer.reason) <= 1000


@unhurried
@given(statuses, bodies)
def test_no_create_raises_or_breaks_a_bound(status: int, body: bytes) -> None:
    outcome = wire.read_create(status, body)
    assert not isinstance(outcome, Unsent)  # an answer proves that it was sent
    match outcome:
        case Accepted(kie_task_id=kie_task_id):
            assert 0 < len(kie_task_id) <= 200
        case Refused(message=text) | Unknown(reason=text):
            assert 0 < len(text) <= 1000


@unhurried
@given(statuses, bodies)
def test_no_balance_raises(status: int, body: bytes) -> None:
    balance = wire.read_credit(status, body)
    assert isinstance(balance, NoAnswer) or balance.is_finite()


@unhurried
@given(statuses, bodies)
def test_no_link_raises(status: int, body: bytes) -> None:
    said = wire.read_download(status, body)
    assert isinstance(said, NoAnswer) or (said.code in {200, 0}) == (said.url is not None)


@pytest.mark.parametrize("depth", [99, 1_000, 100_000])
def test_deep_documents_do_not_raise(depth: int) -> None:
    inner = "[" * depth + "]" * depth
    text = exact_json.render({"resultJson": inner})
    for body in (f'{{"code":200,"data":{inner}}}', f'{{"code":200,"data":{text}}}'):
        assert isinstance(wire.read_callback(body.encode()), Report | Unreadable)


@pytest.mark.parametrize("name", ["taskId", "failCode", "costTime", "createTime", "code"])
def test_huge_integers_do_not_raise(name: str) -> None:
    for digits in (300, 4_000, 5_000):
        body = f'{{"code":200,"data":{{"{name}":{"9" * digits}}}}}'.encode()
        assert isinstance(wire.read_callback(body), Report | Unreadable)


def check_bounds(report: Report) -> None:
    """What the store relies on, whatever kie.ai said."""
    texts = [
        (report.message, 1000),
        (report.kie_state, 100),
        (report.fail_code, 200),
        (report.fail_message, 4000),
        (report.callback_url, 2000),
        *((kie_task_id, 200) for kie_task_id in report.kie_task_ids),
    ]
    assert all(text is None or 0 < len(text) <= limit for text, limit in texts)
    assert len(set(report.kie_task_ids)) == len(report.kie_task_ids)
    assert report.code is None or 0 <= report.code < 10**9
    for number in (report.credits_consumed, report.duration_seconds):
        assert number is None or (0 <= number < 10**15 and len(str(number)) < 60)
    assert report.result is None or exact_json.read(exact_json.render(report.result)) is not None
    assert not any(values.is_private(name) for name in member_names(report.result))
    assert report.progress is Progress.FAILED or report.fail_code is report.fail_message is None


def member_names(value: object) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(name for member in value.values() for name in member_names(member))]
    if isinstance(value, list):
        return [name for member in value for name in member_names(member)]
    return []
