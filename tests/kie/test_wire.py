"""What each answer means: the tables of the wire, written out a second time."""

from decimal import Decimal

import pytest

from app.domain import exact_json
from app.domain.report import Answered, NoAnswer, NotVisible, Progress, Report
from app.domain.submission import Accepted, Fault, Refused, Unknown
from app.kie import wire
from tests.each import each


def envelope(code: object = 200, data: object = None, **more: object) -> bytes:
    return exact_json.render({"code": code, "data": data, **more}).encode()


def test_the_create_body_is_what_kie_reads() -> None:
    body = wire.create_body("m", {"seed": 2**70, "x": Decimal("0.10")}, "https://g/cb")
    expected = '{"model":"m","callBackUrl":"https://g/cb","input":{"seed":%d,"x":0.10}}'
    assert body == (expected % 2**70).encode()


def test_the_create_body_leaves_an_absent_callback_out() -> None:
    assert wire.create_body("m", {}, None) == b'{"model":"m","input":{}}'


CREATE_CODES: dict[int, Fault | None] = {
    400: Fault.REQUEST,
    401: Fault.ACCOUNT,
    402: Fault.ACCOUNT,
    404: Fault.REQUEST,
    405: Fault.BUSY,
    413: Fault.REQUEST,
    422: Fault.REQUEST,
    429: Fault.BUSY,
    430: Fault.BUSY,
    433: Fault.ACCOUNT,
    451: Fault.REQUEST,
    455: Fault.MAINTENANCE,
    505: Fault.REQUEST,
    0: None,
    201: None,
    403: None,
    408: None,
    500: None,
    501: None,
    502: None,
    999: None,
}
HTTP_STATUSES: dict[int, Fault | None] = {
    **dict.fromkeys((400, 401, 402, 404, 405, 407, 413, 422, 451), Fault.PROXY),
    429: Fault.BUSY,
    200: None,
    204: None,
    302: None,
    403: None,
    408: None,
    430: None,
    433: None,
    455: None,
    500: None,
    502: None,
    503: None,
    504: None,
    505: None,
    520: None,
}
NO_ENVELOPES = [
    b"",
    b"<html><h1>Not today</h1></html>",
    b'{"code":',
    b'"accepted"',
    b"[]",
    b"{}",
    b'{"status":404,"error":"Not Found","path":"/api"}',
    b'{"code":true,"data":{"taskId":"t"}}',
    b'{"code":null,"data":{"taskId":"t"}}',
    b'{"code":"OK","data":{"taskId":"t"}}',
    b'{"code":-200,"data":{"taskId":"t"}}',
    b'{"code":200.0,"data":{"taskId":"t"}}',
    b"\xff\xfe\x00",
]


@each("http_status", [200, 400, 500])
@each(("code", "fault"), CREATE_CODES.items())
@each("as_text", [False, True])
def test_the_envelopes_code_decides(
    code: int, fault: Fault | None, http_status: int, *, as_text: bool
) -> None:
    said = str(code) if as_text else code
    outcome = wire.read_create(http_status, envelope(said, msg="because"))
    if fault is None:
        reason = f"kie.ai answered code {code}: because"
        assert outcome == Unknown(reason=reason, message="because")
    else:
        assert outcome == Refused(fault=fault, code=str(code), message="because")


@each(("status", "fault"), HTTP_STATUSES.items())
@each("body", NO_ENVELOPES)
def test_the_http_status_decides_without_an_envelope(
    status: int, fault: Fault | None, body: bytes
) -> None:
    reason = f"HTTP {status} without a kie.ai envelope"
    expected = (
        Unknown(reason=reason)
        if fault is None
        else Refused(fault=fault, code=str(status), message=reason)
    )
    assert wire.read_create(status, body) == expected


@pytest.mark.parametrize(
    ("data", "kie_task_id"),
    [
        ({"taskId": "a"}, "a"),
        ({"task_id": "a"}, "a"),
        ({"recordId": "a"}, "a"),
        ({"taskId": 12345}, "12345"),
        ({"taskId": "", "recordId": "b"}, "b"),
        ({"taskId": None, "task_id": "b"}, "b"),
        ({"taskId": "a", "recordId": "b"}, "a"),
        ({"taskId": "x" * 200}, "x" * 200),
    ],
)
def test_a_task_id_is_opaque_text(data: object, kie_task_id: str) -> None:
    assert wire.read_create(200, envelope(200, data)) == Accepted(kie_task_id=kie_task_id)


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [],
        "t",
        {"taskId": ""},
        {"taskId": True},
        {"taskId": ["t"]},
        {"taskId": "x" * 201},
    ],
)
def test_accepted_without_a_usable_id_is_unknown(data: object) -> None:
    words = "kie.ai answered code 200: (no message)"
    assert wire.read_create(200, envelope(200, data)) == Unknown(reason=words, message=words)


@each("code", [code for code in CREATE_CODES if code not in (0, 200)])
def test_a_refusal_that_names_a_task_proves_nothing(code: int) -> None:
    outcome = wire.read_create(200, envelope(code, {"taskId": "t"}, msg="no"))
    said = f"kie.ai answered code {code}: no"
    assert outcome == Unknown(reason=said, message="no", kie_task_id="t")


HEX = "738a001e654c7be865970326162fdc65"
UUID = "e32df5d7-d3a8-4661-a2fd-6c96114807f3"


@each("code", [200, 0])
@each(
    ("data", "root", "kie_task_id"),
    [
        ({"taskId": "t"}, {}, "t"),
        (None, {"taskId": "t"}, "t"),
        ({}, {"task_id": 7}, "7"),
        ("success", {"recordId": "t"}, "t"),
        (HEX, {}, HEX),
        (UUID, {}, UUID),
        ("task_12345678", {}, "task_12345678"),
        ("a", {"taskId": "t"}, "t"),
    ],
)
def test_an_id_in_hand_is_never_thrown_away(
    code: int, data: object, root: dict[str, object], kie_task_id: str
) -> None:
    accepted = Accepted(kie_task_id=kie_task_id)
    assert wire.read_create(200, envelope(code, data, **root)) == accepted


@each("code", [200, 0])
@each("data", ["success", "OK", "12345", "https://a.test/12345678", "task 12345678", "x1" * 101])
def test_a_text_that_is_no_id_is_none(code: int, data: str) -> None:
    outcome = wire.read_create(200, envelope(code, data, msg="hm"))
    assert outcome == Unknown(reason=f"kie.ai answered code {code}: hm", message="hm")


@pytest.mark.parametrize(
    ("body", "kie_task_id"),
    [
        (envelope(500, HEX, msg="no"), HEX),
        (envelope(422, UUID, msg="no"), UUID),
        (envelope(500, None, msg="no", taskId="t"), "t"),
        (envelope(500, "task_12345678", msg="no"), None),
        (envelope(500, "NullPointerException at line 47", msg="no"), None),
        (envelope(500, None, msg=f"queue is full, taskId: {HEX}"), HEX),
        (envelope(501, None, msg=f'"task_id":"{UUID}" failed'), UUID),
        (envelope(500, None, msg=f"https://a.test/{HEX}.png broke something"), None),
    ],
)
def test_an_id_beside_a_failure_is_kept_to_be_asked_about(
    body: bytes, kie_task_id: str | None
) -> None:
    outcome = wire.read_create(200, body)
    assert isinstance(outcome, Unknown)
    assert outcome.kie_task_id == kie_task_id
    assert outcome.message is not None


def test_an_error_text_under_a_refusing_code_is_no_id() -> None:
    refused = Refused(fault=Fault.REQUEST, code="422", message="no")
    assert wire.read_create(200, envelope(422, "bad_value_12345678", msg="no")) == refused


def test_messages_are_bounded() -> None:
    refused = wire.read_create(200, envelope(422, msg="x" * 5000))
    assert refused == Refused(fault=Fault.REQUEST, code="422", message="x" * 1000)
    unknown = wire.read_create(200, envelope(999, msg="x" * 5000))
    assert isinstance(unknown, Unknown)
    assert len(unknown.reason) == 1000
    assert unknown.message == "x" * 1000


@pytest.mark.parametrize("body", [b'{"code":422}', b'{"code":422,"msg":null,"message":""}'])
def test_a_refusal_without_words_gets_some(body: bytes) -> None:
    message = "kie.ai answered code 422: (no message)"
    expected = Refused(fault=Fault.REQUEST, code="422", message=message)
    assert wire.read_create(200, body) == expected


@each("code", [200, 0, 404, 422])
@each("data", [None, "", [], {}])
def test_no_record_is_not_visible(code: int, data: object) -> None:
    assert wire.read_query(200, envelope(code, data)) == NotVisible()


@pytest.mark.parametrize("code", [501, 408])
def test_some_codes_say_that_the_task_failed(code: int) -> None:
    body = envelope(code, msg="Generation failed")
    report = Report(
        progress=Progress.FAILED,
        code=code,
        message="Generation failed",
        fail_code=str(code),
        fail_message="Generation failed",
    )
    assert wire.read_query(200, body) == Answered(report=report, body=body)


@pytest.mark.parametrize("code", [400, 405, 429, 430, 451, 455, 500, 503, 505, 999])
def test_other_codes_are_no_answer(code: int) -> None:
    reason = f"kie.ai answered code {code}: no"
    expected = NoAnswer(reason=reason, throttled=code in (405, 429, 430))
    assert wire.read_query(200, envelope(code, msg="no")) == expected


@pytest.mark.parametrize("code", [401, 402, 433])
def test_the_accounts_own_trouble_is_told_apart(code: int) -> None:
    reason = f"kie.ai answered code {code}: no"
    expected = NoAnswer(reason=reason, account=True)
    assert wire.read_query(200, envelope(code, msg="no")) == expected


@each("status", [200, 302, 401, 402, 403, 404, 422, 429, 500, 501, 503])
@each("body", NO_ENVELOPES)
def test_without_an_envelope_there_is_no_answer(status: int, body: bytes) -> None:
    reason = f"HTTP {status} without a kie.ai envelope"
    assert wire.read_query(status, body) == NoAnswer(reason=reason)


def test_a_record_without_a_state_is_no_answer() -> None:
    expected = NoAnswer(reason="the record names no state")
    assert wire.read_query(200, envelope(200, {"taskId": "t"})) == expected


@pytest.mark.parametrize(
    ("data", "balance"), [(5916.25, "5916.25"), (0, "0"), ("12.5", "12.5"), (-3, "-3")]
)
def test_the_balance(data: object, balance: str) -> None:
    assert wire.read_credit(200, envelope(200, data)) == Decimal(balance)


@pytest.mark.parametrize("data", [None, {}, [], True, "plenty", "NaN", 10**40])
def test_a_balance_that_is_no_number(data: object) -> None:
    expected = NoAnswer(reason="the balance is no number")
    assert wire.read_credit(200, envelope(200, data)) == expected


def test_a_balance_that_was_refused() -> None:
    expected = NoAnswer(reason="kie.ai answered code 401: no", account=True)
    assert wire.read_credit(200, envelope(401, msg="no")) == expected
    expected = NoAnswer(reason="HTTP 502 without a kie.ai envelope")
    assert wire.read_credit(502, b"<html>") == expected
