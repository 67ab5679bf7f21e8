"""How each fact about a task is read, whichever way it is spelt."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from app.domain import exact_json
from app.domain.report import Answered, Progress, Report, Unreadable
from app.kie import values, wire
from tests.each import each

ID = {"taskId": "t"}


def envelope(code: object = 200, data: object = None, **more: object) -> bytes:
    return exact_json.render({"code": code, "data": data, **more}).encode()


def told(data: Mapping[str, object], code: int = 200, msg: str = "success") -> Report:
    answer = wire.read_query(200, envelope(code, data, msg=msg))
    assert isinstance(answer, Answered)
    return answer.report


def called(data: object, code: object = 200, **more: object) -> Report:
    report = wire.read_callback(envelope(code, data, **more))
    assert isinstance(report, Report)
    return report


def succeeded(**data: object) -> Report:
    return told({"taskId": "t", "state": "success", **data})


def failed(**data: object) -> Report:
    return told({"taskId": "t", "state": "fail", **data})


STATES: list[tuple[str, object, Progress]] = [
    ("state", "waiting", Progress.RUNNING),
    ("state", "queuing", Progress.RUNNING),
    ("state", "generating", Progress.RUNNING),
    ("state", "success", Progress.SUCCEEDED),
    ("state", "fail", Progress.FAILED),
    ("state", "wait", Progress.RUNNING),
    ("state", "queueing", Progress.RUNNING),
    ("state", "dreaming", Progress.RUNNING),
    ("successFlag", 0, Progress.RUNNING),
    ("successFlag", "1", Progress.SUCCEEDED),
    ("successFlag", 2, Progress.FAILED),
    ("successFlag", "3", Progress.FAILED),
    ("successFlag", 7, Progress.RUNNING),
    ("status", "PENDING", Progress.RUNNING),
    ("status", "TEXT_SUCCESS", Progress.RUNNING),
    ("status", "FIRST_SUCCESS", Progress.RUNNING),
    ("status", "SUCCESS", Progress.SUCCEEDED),
    ("status", "CREATE_TASK_FAILED", Progress.FAILED),
    ("status", "GENERATE_AUDIO_FAILED", Progress.FAILED),
    ("status", "CALLBACK_EXCEPTION", Progress.FAILED),
    ("status", "SENSITIVE_WORD_ERROR", Progress.FAILED),
    ("callbackType", "text", Progress.RUNNING),
    ("callbackType", "first", Progress.RUNNING),
    ("callbackType", "complete", Progress.SUCCEEDED),
    ("callbackType", "error", Progress.FAILED),
]


@each(("name", "word", "progress"), STATES)
def test_each_familys_words(name: str, word: object, progress: Progress) -> None:
    for report in (told({name: word}), called({name: word, **ID}), called({name: word, **ID}, 501)):
        assert (report.progress, report.kie_state) == (progress, str(word))


RESULT: dict[str, object] = {"resultJson": '{"resultUrls":["https://a/1"]}'}
SUCCESSES = ["succeeded", "succeed", "Successful", "completed", "complete", "done", "finished"]
FAILURES = ["failed", "failure", "ERROR"]


@each("name", ["state", "status"])
@each("word", SUCCESSES)
def test_a_tolerated_success_needs_a_result(word: str, name: str) -> None:
    assert called({**ID, name: word, **RESULT}).progress is Progress.SUCCEEDED
    assert told({**ID, name: word, **RESULT}).progress is Progress.SUCCEEDED
    assert told({**ID, name: word, "resultJson": ""}).progress is Progress.RUNNING
    assert called({**ID, name: word}).progress is Progress.RUNNING
    assert called({**ID, name: word, **RESULT}, 501).progress is Progress.RUNNING


@pytest.mark.parametrize("name", ["state", "status"])
@pytest.mark.parametrize("word", FAILURES)
def test_a_tolerated_failure_needs_a_reason_or_a_code(word: str, name: str) -> None:
    for mark in ({"failCode": "422"}, {"failMsg": "blocked"}, {"errorCode": 7}):
        report = told({**ID, name: word, **mark})
        assert (report.progress, report.kie_state) == (Progress.FAILED, word)
    assert called({**ID, name: word}, 501).progress is Progress.FAILED
    assert called({**ID, name: word}, 400).progress is Progress.FAILED
    for nothing in ({}, {"failCode": None, "failMsg": ""}):
        assert told({**ID, name: word, **nothing}).progress is Progress.RUNNING
        assert called({**ID, name: word, **nothing}, None).progress is Progress.RUNNING


def test_a_notice_of_completion_is_a_success_without_a_result() -> None:
    for report in (called({**ID}), called(None, **ID), called({**ID, "resultJson": ""})):
        assert (report.progress, report.result) == (Progress.SUCCEEDED, None)
        assert report.kie_task_ids == ("t",)


def test_code_0_is_a_success_where_a_result_shows_it() -> None:
    assert called({**ID, **RESULT}, 0).progress is Progress.SUCCEEDED
    answer = wire.read_query(200, envelope(0, {**ID, "state": "fail"}))
    assert isinstance(answer, Answered)
    assert (answer.report.progress, answer.report.fail_code) == (Progress.FAILED, None)


@pytest.mark.parametrize("nothing", [None, "", True, {}, []])
def test_an_empty_state_leaves_it_to_the_next(nothing: object) -> None:
    report = told({"state": nothing, "successFlag": 1, "status": "PENDING"})
    assert (report.progress, report.kie_state) == (Progress.SUCCEEDED, "1")


@pytest.mark.parametrize(
    ("code", "progress"),
    [(200, Progress.SUCCEEDED), (501, Progress.FAILED), (400, Progress.FAILED)],
)
def test_a_callback_without_a_state_goes_by_its_code(code: int, progress: Progress) -> None:
    result = {"resultUrls": ["https://a/1"]}
    assert called({**ID, "info": result}, code).progress is progress
    assert called(result, code, **ID).progress is progress


@pytest.mark.parametrize("code", [501, 400])
def test_a_failure_by_code_needs_an_id_alone(code: int) -> None:
    nothings: tuple[object, ...] = (None, {}, [])
    for data in nothings:
        assert called(data, code, **ID).progress is Progress.FAILED


def test_a_callback_needs_no_code_beside_a_state() -> None:
    assert called({"state": "success", **ID}, None).progress is Progress.SUCCEEDED


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Expecting value (line 1, column 1)"),
        (b"[]", "not a JSON object"),
        (b"{}", "neither a state nor a code"),
        (b'{"data":{"taskId":"t"}}', "neither a state nor a code"),
        (b'{"code":200}', "no task id"),
        (b'{"code":0,"data":{"taskId":"t"}}', "code 0 with neither a state nor a result"),
        (b'{"code":501,"data":{}}', "no task id"),
        (b'{"code":200,"data":{"state":"success","resultJson":"{}"}}', "no task id"),
    ],
)
def test_what_says_nothing_is_unreadable(body: bytes, reason: str) -> None:
    assert wire.read_callback(body) == Unreadable(reason=reason)


def test_every_id_counts_once_in_order() -> None:
    data = {"taskId": "a", "task_id": "b", "recordId": "z"}
    report = called({**data, "state": "success"}, taskId="a", task_id=4)
    assert report.kie_task_ids == ("a", "b", "4")


def test_a_record_id_counts_only_alone() -> None:
    assert called({"recordId": "z", "state": "success"}).kie_task_ids == ("z",)


def test_half_an_id_is_none() -> None:
    assert told({"taskId": "x" * 201, "task_id": "", "state": "success"}).kie_task_ids == ()


@each(
    ("said", "result"),
    [
        ('{"resultUrls":["https://a/1"]}', {"resultUrls": ["https://a/1"]}),
        ({"resultUrls": ["https://a/1"]}, {"resultUrls": ["https://a/1"]}),
        ('{"resultObject":{"text":"hi"}}', {"resultObject": {"text": "hi"}}),
        ('["https://a/1"]', {"data": ["https://a/1"]}),
        ('{"resultUrls":["https://a/1"', {"resultJson": '{"resultUrls":["https://a/1"'}),
        ('"https://a/1"', {"resultJson": "https://a/1"}),
        ("https://a/1", {"resultJson": "https://a/1"}),
        ("{}", None),
        (exact_json.render('{"resultUrls":["https://a/1"]}'), {"resultUrls": ["https://a/1"]}),
        (exact_json.render('["https://a/1"]'), {"data": ["https://a/1"]}),
        ('"12"', {"resultJson": "12"}),
        ("null", None),
        ("", None),
        (None, None),
    ],
)
def test_result_json_in_every_dress(said: object, result: object) -> None:
    assert succeeded(resultJson=said).result == result


@pytest.mark.parametrize(
    ("data", "result"),
    [
        ({"resultObject": {"a": 1}}, {"resultObject": {"a": 1}}),
        (
            {"firstFrameUrl": "https://a/1", "resultWaterMarkUrls": ["https://a/2"]},
            {"firstFrameUrl": "https://a/1", "resultWaterMarkUrls": ["https://a/2"]},
        ),
        ({"info": "done", "resultUrls": ["https://a/1"]}, {"resultUrls": ["https://a/1"]}),
        ({"response": '{"sunoData":[1]}'}, {"sunoData": [1]}),
        ({"resultJson": "cut off {", "response": {"a": 1}}, {"a": 1}),
        ({"info": {"fullResultUrls": ["https://a/1"]}}, {"fullResultUrls": ["https://a/1"]}),
        ({"data": [{"audio_url": "https://a/1"}]}, {"data": [{"audio_url": "https://a/1"}]}),
        ({"callBackUrl": "https://g/token", "result": "words"}, {"result": "words"}),
    ],
)
def test_the_best_place_wins(data: dict[str, object], result: object) -> None:
    assert succeeded(**data).result == result


def test_data_may_be_the_result_itself() -> None:
    assert called(["https://a/1"], taskId="t").result == {"data": ["https://a/1"]}


def test_urls_are_whole_ordered_and_unique() -> None:
    said = {
        "firstFrameUrl": "https://a/2",
        "resultUrls": ["https://a/1", {"url": "HTTP://a/3?x=1#y"}, "https://a/2"],
        "prompt": "see https://a/4",
        "others": ["ftp://a/5", "https://", "https://a/6 and more", " https://a/7"],
    }
    report = succeeded(resultJson=said)
    assert report.result_urls == ("https://a/2", "https://a/1", "HTTP://a/3?x=1#y")


def once(*urls: str) -> str:
    return exact_json.render(list(urls))


@each(
    ("said", "urls"),
    [
        ({"resultUrls": "https://a/1"}, ["https://a/1"]),
        ({"resultUrls": once("https://a/1", "https://a/2")}, ["https://a/1", "https://a/2"]),
        ({"resultUrls": exact_json.render(once("https://a/1"))}, ["https://a/1"]),
        ({"resultUrls": [once("https://a/1")]}, ["https://a/1"]),
        ({"resultObject": {"resultUrls": once("https://a/1")}}, ["https://a/1"]),
        ({"resultObject": '{"video":{"url":"https://a/1"}}'}, ["https://a/1"]),
        ({"fullResultUrls": " " + once("https://a/1")}, ["https://a/1"]),
        ({"prompt": once("https://a/1")}, []),  # its caller's URL, and no result
        ({"promptJson": '{"url":"https://a/1"}'}, []),
        ({"resultObject": '{"callBackUrl":"https://g/token"}'}, []),
        ({"resultUrls": "[not JSON"}, []),
        ({"resultUrls": once(once(once(once("https://a/1"))))}, []),
    ],
)
def test_urls_in_texts_that_hold_a_document(said: dict[str, object], urls: list[str]) -> None:
    report = succeeded(resultJson=said)
    assert list(report.result_urls) == urls
    assert report.result == values.without_private(said)


def test_balance_and_callback_url_are_dropped_at_any_depth() -> None:
    private = {"remainedCredits": 1, "creditsRemaining": 2, "callBackUrl": "https://g/token"}
    report = succeeded(resultJson={**private, "a": [{**private, "b": 1}]})
    assert report.result == {"a": [{"b": 1}]}
    assert report.result_urls == ()


@pytest.mark.parametrize(
    ("data", "fail_code", "fail_message"),
    [
        ({"failCode": "422", "failMsg": "bad prompt"}, "422", "bad prompt"),
        ({"failCode": 500, "failMsg": ""}, "500", "Playground task failed."),
        ({"failCode": "GENERATION_FAILED"}, "GENERATION_FAILED", "Playground task failed."),
        ({"failCode": "", "errorCode": 413, "errorMsg": "long"}, "413", "long"),
        ({"failCode": None, "errorMessage": "odd"}, "501", "odd"),
        ({"failCode": "x" * 999, "failMsg": "y" * 9999}, "x" * 200, "y" * 4000),
    ],
)
def test_the_records_words_before_the_envelopes(
    data: dict[str, object], fail_code: str, fail_message: str
) -> None:
    report = called({"state": "fail", **ID, **data}, 501, msg="Playground task failed.")
    assert (report.fail_code, report.fail_message) == (fail_code, fail_message)


def test_code_200_and_success_are_no_failure_words() -> None:
    report = failed()
    assert (report.fail_code, report.fail_message) == (None, None)


@pytest.mark.parametrize("state", ["success", "generating"])
def test_only_failures_carry_failure_words(state: str) -> None:
    report = told({"state": state, "failCode": 400, "failMsg": "Generation failed"})
    assert (report.fail_code, report.fail_message) == (None, None)


@each(
    ("said", "credits_consumed"),
    [
        (4, "4"),
        (Decimal("0.4"), "0.4"),
        ("7.5", "7.5"),
        (0, "0"),
        (Decimal("0E+999999"), "0"),
        (-1, None),
        (True, None),
        ("many", None),
        ("NaN", None),
        (10**15, None),
        (Decimal("1E+999999"), None),
        (Decimal("1E-999999"), None),
        ([], None),
    ],
)
def test_credits(said: object, credits_consumed: str | None) -> None:
    expected = None if credits_consumed is None else Decimal(credits_consumed)
    assert succeeded(creditsConsumed=said).credits_consumed == expected
    assert succeeded(consumeCredits=said).credits_consumed == expected
    assert str(succeeded(creditsConsumed=said).credits_consumed) == str(expected)


@each(
    ("cost", "elapsed_ms", "duration"),
    [
        (12, 13_053, "12"),
        (21, 24_000, "21"),
        (130, 13_000, "130"),
        (12_500, 13_000, "12.5"),
        (13_000_000, 13_000, None),
        (8, 0, "8"),
        (8_000, 0, "8"),
        (8_000, None, "8000"),
        (8_000, -5_000, "8000"),
        ("12", 13_000, "12"),
        (0, 740_000, "0"),
        (-1, 13_000, None),
        (None, 13_000, None),
    ],
)
def test_duration_is_seconds_unless_the_instants_contradict(
    cost: object, elapsed_ms: int | None, duration: str | None
) -> None:
    created = 1_776_323_931_830
    completed = None if elapsed_ms is None else created + elapsed_ms
    report = succeeded(costTime=cost, createTime=created, completeTime=completed)
    assert report.duration_seconds == (None if duration is None else Decimal(duration))


@pytest.mark.parametrize(
    "said",
    [
        1_705_314_600_000,
        "1705314600000",
        1_705_314_600,
        "1705314600",
        Decimal("1705314600000.0"),
        "2024-01-15 10:30:00",
        "2024-01-15T10:30:00Z",
        "2024-01-15T18:30:00.000+08:00",
    ],
    ids=repr,
)
def test_instants(said: object) -> None:
    expected = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)
    assert succeeded(createTime=said).kie_created_at == expected


@pytest.mark.parametrize(
    "said",
    [
        0,
        -1,
        "",
        "soon",
        True,
        10**14,
        "9" * 400,
        Decimal("1E+999"),
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_no_instants(said: object) -> None:
    assert succeeded(createTime=said).kie_created_at is None


@pytest.mark.parametrize("name", ["param", "paramJson", "promptJson", "generateParam"])
def test_the_callback_url_is_found_in_every_echo(name: str) -> None:
    param = {"callBackUrl": "https://g/callbacks/kie/1/t"}
    for said in (param, exact_json.render(param)):
        report = succeeded(**{name: said})
        assert report.callback_url == "https://g/callbacks/kie/1/t"
        assert "callbacks/kie" not in repr(report)


@pytest.mark.parametrize("param", [None, "", "Pop, Mysterious", "[]", {"callBackUrl": None}])
def test_the_callback_url_may_be_missing(param: object) -> None:
    assert succeeded(param=param).callback_url is None
