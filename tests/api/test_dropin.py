"""`/api/v1`: kie.ai's own API, spoken by the gateway."""

import asyncio
import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.responses import JSONResponse, PlainTextResponse

from app.api.dropin import CODES
from app.api.errors import STATUS
from tests.api.conftest import IssueKey, Scratch
from tests.api.stage import Sql, check_nothing_happened, with_fields
from tests.each import each
from tests.fixtures.gateway import StartGateway
from tests.gateway import Gateway
from tests.services.stage import lost
from tests.stage import eventually
from tests.upstream import BALANCE, LINK, Upstream, failed, refused, running, succeeded

CREATE, RECORD = "/api/v1/jobs/createTask", "/api/v1/jobs/recordInfo"
CREDIT, DOWNLOAD = "/api/v1/chat/credit", "/api/v1/common/download-url"
HOOK = "https://shop.test/kie?order=1"
BODY: Mapping[str, Any] = {
    "model": "google/nano-banana",
    "callBackUrl": HOOK,
    "input": {"prompt": "a cat"},
}
UNKNOWN = {"code": 422, "msg": "recordInfo is null", "data": None}
TASK = "x-kie-gateway-task"


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


def envelope(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    """Take an answer apart; everything that all of them share holds."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert re.fullmatch(r"(total;dur=\d+\.\d)?", response.headers.get("server-timing", ""))
    assert response.headers["x-request-id"]
    content: dict[str, Any] = response.json()
    assert list(content) == ["code", "msg", "data"]
    assert content["msg"]
    return content


def check_refused(response: httpx.Response, code: int, says: str = "", status: int = 200) -> None:
    content = envelope(response, status)
    assert (content["code"], content["data"]) == (code, None), content
    assert says in content["msg"], content


async def post(
    gateway: Gateway, body: object = BODY, *, path: str = CREATE, **headers: str
) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await gateway.http.post(path, content=content, headers=named)


async def create(gateway: Gateway, **members: object) -> str:
    """Create a task; returns its id as it is answered."""
    content = envelope(await post(gateway, {**BODY, **members}))
    assert content["code"] == 200, content
    return str(content["data"]["taskId"])


async def record(gateway: Gateway, task_id: str) -> dict[str, Any]:
    answer = envelope(await gateway.http.get(RECORD, params={"taskId": task_id}))
    assert (answer["code"], answer["msg"]) == (200, "success"), answer
    data: dict[str, Any] = answer["data"]
    return data


async def native(gateway: Gateway, task_id: str) -> dict[str, Any]:
    return await gateway.task(str(uuid.UUID(task_id)))


# -- creates


async def test_a_create_answers_with_our_id(gateway: Gateway, upstream: Upstream) -> None:
    answer = await post(gateway)
    content = envelope(answer)
    assert (content["code"], content["msg"]) == (200, "success")
    assert re.fullmatch(r"[0-9a-f]{32}", content["data"]["taskId"])
    assert content["data"]["recordId"] == content["data"]["taskId"]
    assert uuid.UUID(content["data"]["taskId"]) == uuid.UUID(answer.headers[TASK])
    (sent,) = upstream.creates
    assert (sent["model"], sent["input"]) == (BODY["model"], BODY["input"])
    assert sent["callBackUrl"].startswith("https://gateway.test/base/callbacks/kie/")


async def test_the_native_api_shows_it_like_any_other(gateway: Gateway) -> None:
    answer = await post(gateway)
    task = await gateway.task(answer.headers[TASK])
    assert task["id"] == answer.headers[TASK]
    assert (task["model"], task["input"]) == (BODY["model"], BODY["input"])
    assert (task["webhook_url"], task["metadata"], task["priority"]) == (HOOK, {}, 5)
    assert task["state"] == "running"
    listed = (await gateway.http.get("/v1/tasks")).json()["data"]
    assert [one["id"] for one in listed] == [task["id"]]
    assert set(task) == set(await gateway.create())


async def test_what_kie_ai_does_not_know_is_ignored(gateway: Gateway, upstream: Upstream) -> None:
    await create(gateway, metadata={"a": 1}, webhook_url=5, x=None)
    assert set(upstream.creates[0]) == {"model", "input", "callBackUrl"}


ANY_TEXT = (
    *("playground", "not a URL", "null", "//shop.test/kie", "ftp://shop.test/", "mailto:a@b.test"),
    *("http://", "https://", "http://[", "http://shop.test:port/", "http://user:word@shop.test/"),
    *(
        "http://127.0.0.1/",
        "http://localhost:3000/hook",
        "http://169.254.169.254/",
        "http://[::1]/",
    ),
    *("https://your-domain.com/api/callback", "https://example.com/", "https://shop.test/a b"),
    "https://shop.test/" + "x" * 2000,
)


@pytest.mark.parametrize("url", ANY_TEXT)
async def test_any_text_is_a_url_as_at_kie_ai(
    gateway: Gateway, upstream: Upstream, sql: Sql, url: str
) -> None:
    await sql.execute("UPDATE clients SET webhook_hosts = '{hooks.example.com}'")
    task_id = await create(gateway, callBackUrl=url)
    task = await native(gateway, task_id)
    assert (task["state"], task["webhook_url"]) == ("running", url)
    assert json.loads((await record(gateway, task_id))["param"])["callBackUrl"] == url
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    answer = await gateway.http.get(task["urls"]["deliveries"])
    (delivery,) = answer.json()["data"]
    assert (delivery["url"], delivery["state"]) == (url, "pending")
    assert "word" not in await sql.fetchval("SELECT host FROM deliveries")


@pytest.mark.parametrize("url", [None, "", "  "])
async def test_without_a_url(gateway: Gateway, upstream: Upstream, url: str | None) -> None:
    task_id = await create(gateway, callBackUrl=url)
    assert (await native(gateway, task_id))["webhook_url"] is None
    assert "callBackUrl" not in json.loads((await record(gateway, task_id))["param"])
    assert "/callbacks/kie/" in upstream.creates[0]["callBackUrl"]


async def test_numbers_keep_every_digit(gateway: Gateway, upstream: Upstream) -> None:
    body = b'{"model":"m","input":{"seed":12345678901234567890,"cfg":7.10}}'
    task_id = envelope(await post(gateway, body))["data"]["taskId"]
    assert b'"input":{"seed":12345678901234567890,"cfg":7.10}' in upstream.bodies[0]
    param = (await record(gateway, task_id))["param"]
    assert '{\\"seed\\":12345678901234567890,\\"cfg\\":7.10}' in param


async def test_queued_or_not_the_id_is_there_at_once(gateway: Gateway, upstream: Upstream) -> None:
    upstream.answers(lambda: refused(429, "slow down"))
    task_id = await create(gateway)
    assert (await native(gateway, task_id))["state"] == "queued"
    assert (await record(gateway, task_id))["state"] == "waiting"


REFUSED = [
    (422, "The model name you specified is not supported."),
    (500, "aspect_ratio is required"),
    (451, "Failed to fetch the image"),
    (413, "too much"),
]


@pytest.mark.parametrize(("code", "message"), REFUSED)
async def test_a_create_that_kie_refuses_in_time(
    start_gateway: StartGateway, upstream: Upstream, code: int, message: str
) -> None:
    gateway = await start_gateway(submit_wait=10)
    upstream.answers(lambda: refused(code, message))
    answer = await post(gateway)
    assert envelope(answer) == {"code": code, "msg": message, "data": None}
    task = await gateway.task(answer.headers[TASK])
    assert (task["state"], task["fail_code"], task["fail_message"]) == (
        "failed",
        str(code),
        message,
    )
    data = await record(gateway, uuid.UUID(answer.headers[TASK]).hex)
    assert (data["state"], data["failCode"], data["failMsg"]) == ("fail", str(code), message)


async def test_a_refusal_that_comes_later_is_a_failed_task(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    gateway = await start_gateway(submit_wait=0.05)
    go = asyncio.Event()

    async def late(_: object) -> Any:
        await go.wait()
        return refused(422, "no")

    upstream.on_create = late
    task_id = await create(gateway)
    assert (await record(gateway, task_id))["state"] == "waiting"
    go.set()
    await gateway.reaches(str(uuid.UUID(task_id)), "failed")
    assert (await record(gateway, task_id))["failCode"] == "422"


@pytest.mark.parametrize("code", [401, 402, 433, 405, 429, 430, 455])
async def test_what_is_not_the_requests_fault_is_accepted(
    gateway: Gateway, upstream: Upstream, code: int
) -> None:
    """The account's trouble and kie.ai's own are waited out, and never the caller's to see."""
    upstream.answers(lambda: refused(code, "not now"))
    task_id = await create(gateway)
    assert (await record(gateway, task_id))["state"] == "waiting"


async def test_a_task_that_fails_before_the_create_is_answered_was_taken(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    gateway = await start_gateway(submit_wait=10, worker=True)
    go = upstream.holds()
    creating = asyncio.create_task(post(gateway))

    async def look() -> bool | None:
        return bool(upstream.creates) or None

    await eventually(look)
    upstream.records[upstream.last_id] = failed(upstream.last_id)
    await gateway.call_back(upstream.callback_path, failed(upstream.last_id))
    go.set()
    content = envelope(await creating)
    assert content["code"] == 200

    async def is_over() -> bool | None:
        return (await record(gateway, content["data"]["taskId"]))["state"] == "fail" or None

    await eventually(is_over)


# -- refusals of ours

DEEP = b'{"model":"m","input":' + b'{"a":' * 101 + b"1" + b"}" * 102
BAD_BODIES: Mapping[str, tuple[object, str]] = {
    "no JSON": (b"model=m", "The request body is not readable JSON"),
    "empty": (b"", "The request body is not readable JSON"),
    "not UTF-8": (b'{"model":"\xff"}', "The request body is not readable JSON"),
    "a NUL": (b'{"model":"m","input":{"a":"\\u0000"}}', "The request body is not readable JSON"),
    "too deep": (DEEP, "The request body is not readable JSON"),
    "a list": ([], "The request body must be a JSON object"),
    "null": (None, "The request body must be a JSON object"),
    "no model": ({"input": {}}, "The model name you specified is not supported."),
    "empty model": ({"model": "", "input": {}}, "The model name you specified is not supported."),
    "model of a number": ({"model": 5, "input": {}}, "The model name you specified"),
    "long model": ({"model": "m" * 201, "input": {}}, "The model name you specified"),
    "no input": ({"model": "m"}, "input must be an object"),
    "input of text": ({"model": "m", "input": "{}"}, "input must be an object"),
    "input of a list": ({"model": "m", "input": []}, "input must be an object"),
    "callBackUrl of a number": ({**BODY, "callBackUrl": 5}, "callBackUrl must be a string"),
    "callBackUrl too long": (
        {**BODY, "callBackUrl": "https://h.test/" + "x" * 2048},
        "callBackUrl should have at most 2048",
    ),
}


@each(("body", "says"), BAD_BODIES.values())
async def test_a_bad_create_is_422_and_nothing_happens(
    gateway: Gateway, sql: Sql, upstream: Upstream, body: object, says: str
) -> None:
    answer = await post(gateway, body)
    check_refused(answer, 422, says)
    assert TASK not in answer.headers
    await check_nothing_happened(sql, upstream)


EVERY = [("POST", CREATE), ("GET", RECORD), ("GET", CREDIT), ("POST", DOWNLOAD)]
BAD_KEYS: list[list[tuple[str, str]]] = [
    [],
    [("Authorization", "Bearer kgw_wrong")],
    [("Authorization", "Basic a2d3")],
    [("Authorization", f"Bearer kgw_{'a' * 43}")],
]


@each("fields", BAD_KEYS)
@each(("method", "path"), EVERY)
async def test_without_a_valid_key_nothing_else_is_told(
    gateway: Gateway, method: str, path: str, fields: list[tuple[str, str]]
) -> None:
    answer = await with_fields(gateway, fields, method, path)
    check_refused(answer, 401, "You do not have access permissions: ")


@pytest.mark.parametrize("path", [CREATE, DOWNLOAD])
async def test_a_body_that_is_too_large(gateway: Gateway, path: str) -> None:
    check_refused(await post(gateway, b" " * 1_048_577, path=path), 413, "1048576 bytes")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/veo/record-info", 404),
        ("POST", "/api/v1/", 404),
        ("GET", CREATE, 405),
        ("POST", RECORD, 405),
        ("DELETE", CREDIT, 405),
    ],
)
async def test_what_is_not_there_is_404_in_the_envelope(
    gateway: Gateway, method: str, path: str, status: int
) -> None:
    """kie.ai's 405 says "called too often", and clients would try again."""
    answer = await gateway.http.request(method, path)
    check_refused(answer, 404, status=status)
    assert ("allow" in answer.headers) == (status == 405)


async def test_a_queue_that_is_too_long(
    start_gateway: StartGateway, upstream: Upstream, sql: Sql
) -> None:
    gateway = await start_gateway(kie_creates_per_10s=1, submit_within=5)
    await create(gateway)
    answer = await post(gateway)
    check_refused(answer, 429, "repeat the request later")
    assert int(answer.headers["retry-after"]) > 0
    assert await sql.fetchval("SELECT count(*) FROM tasks") == len(upstream.creates) == 1


async def test_without_the_database_it_is_maintenance(
    start_gateway: StartGateway, scratch: Scratch
) -> None:
    gateway = await start_gateway(database_url=SecretStr(scratch.dsn))
    await scratch.goes_away()
    answers = await asyncio.gather(
        post(gateway),
        gateway.http.get(RECORD),
        gateway.http.get(CREDIT),
        post(gateway, {"url": "https://r.test"}, path=DOWNLOAD),
    )
    for answer in answers:
        check_refused(answer, 455, "PostgreSQL does not answer")
        assert answer.headers["retry-after"] == "2"


def test_every_error_has_a_code_of_kie_ais() -> None:
    assert set(CODES) == set(STATUS)
    page = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text()
    told = {
        int(code)
        for line in re.findall(r"^\| ([\d, ]+) \|", page, re.MULTILINE)
        for code in line.split(",")
    }
    assert set(CODES.values()) <= told


# -- records


async def test_a_record_in_every_state(gateway: Gateway, upstream: Upstream, sql: Any) -> None:
    task_id = await create(gateway)
    waiting = await record(gateway, task_id)
    assert waiting["state"] == "waiting"
    assert (waiting["resultJson"], waiting["failCode"], waiting["failMsg"]) == ("", None, None)
    assert (waiting["costTime"], waiting["completeTime"]) == (None, None)
    assert "creditsConsumed" not in waiting
    task = await native(gateway, task_id)
    await gateway.call_back(upstream.callback_path, running(task["kie_task_id"]))
    # what kie.ai says of a running task is kept when it is asked
    await sql.execute("UPDATE tasks SET kie_state = 'generating'")
    assert (await record(gateway, task_id))["state"] == "generating"
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    done = await record(gateway, task_id)
    assert done["state"] == "success"
    assert json.loads(done["resultJson"]) == {
        "resultUrls": ["https://example.com/generated-image.jpg"]
    }
    assert (done["costTime"], done["creditsConsumed"]) == (8, 100)
    assert done["createTime"] == waiting["createTime"] <= done["completeTime"]
    assert (done["param"], done["model"]) == (waiting["param"], BODY["model"])
    assert json.loads(done["param"])["callBackUrl"] == HOOK


async def test_a_failure_has_kie_ais_words(gateway: Gateway, upstream: Upstream) -> None:
    task_id = await create(gateway)
    kie_task_id = (await native(gateway, task_id))["kie_task_id"]
    await gateway.call_back(upstream.callback_path, failed(kie_task_id))
    data = await record(gateway, task_id)
    assert (data["state"], data["resultJson"]) == ("fail", "")
    assert (data["failCode"], data["failMsg"]) == ("500", "Internal server error")
    assert data["updateTime"] == data["completeTime"]


async def test_a_lost_answer_waits(gateway: Gateway, upstream: Upstream) -> None:
    upstream.answers(lost)
    task_id = await create(gateway)
    assert (await native(gateway, task_id))["state"] == "unconfirmed"
    assert (await record(gateway, task_id))["state"] == "waiting"


async def test_a_canceled_task_failed(gateway: Gateway, upstream: Upstream) -> None:
    upstream.answers(lambda: refused(429, "slow down"))
    task_id = await create(gateway)
    await gateway.http.post(f"/v1/tasks/{uuid.UUID(task_id)}/cancel")
    data = await record(gateway, task_id)
    assert (data["state"], data["failCode"]) == ("fail", "canceled")


async def test_a_query_takes_every_spelling_of_the_id(gateway: Gateway) -> None:
    task_id = await create(gateway)
    task = await native(gateway, task_id)
    for named in (task_id, task["id"], task["kie_task_id"], task_id.upper()):
        assert (await record(gateway, named))["taskId"] == task_id


async def test_a_native_task_is_found_too(gateway: Gateway) -> None:
    task = await gateway.create(webhook_url=HOOK)
    data = await record(gateway, uuid.UUID(task["id"]).hex)
    assert json.loads(data["param"])["callBackUrl"] == HOOK


@each(
    "query",
    [
        "",
        "?taskId=",
        "?taskId=" + "0" * 32,
        "?taskId=" + "x" * 300,
        "?taskId=%00",
        "?taskId=%ff%fe",
        "?task=1",
        "?taskId=a&taskId=b",
    ],
)
async def test_an_unknown_id_is_answered_as_kie_ai_does(gateway: Gateway, query: str) -> None:
    await create(gateway)
    assert envelope(await gateway.http.get(RECORD + query)) == UNKNOWN


async def test_another_clients_task_is_not_there(gateway: Gateway, new_key: IssueKey) -> None:
    task_id = await create(gateway)
    kie_task_id = (await native(gateway, task_id))["kie_task_id"]
    headers = {"Authorization": f"Bearer {await new_key('other')}"}
    for named in (task_id, kie_task_id):
        answer = await gateway.http.get(RECORD, params={"taskId": named}, headers=headers)
        assert envelope(answer) == UNKNOWN


async def test_kie_ai_is_not_asked(gateway: Gateway, upstream: Upstream) -> None:
    task_id = await create(gateway)
    await record(gateway, task_id)
    assert upstream.queries == []


# -- the same create twice


async def test_one_key_is_one_task(gateway: Gateway, upstream: Upstream) -> None:
    first = await post(gateway, Idempotency_Key="order-1")
    again = await post(gateway, {**BODY, "ignored": 1}, Idempotency_Key="order-1")
    assert envelope(again) == envelope(first)
    assert again.headers[TASK] == first.headers[TASK]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len(upstream.creates) == 1


async def test_a_refusal_is_repeated(start_gateway: StartGateway, upstream: Upstream) -> None:
    gateway = await start_gateway(submit_wait=10)
    upstream.answers(lambda: refused(422, "no"))
    answers = [await post(gateway, Idempotency_Key="order-1") for _ in range(2)]
    assert [envelope(answer)["code"] for answer in answers] == [422, 422]
    assert len(upstream.creates) == 1


async def test_one_key_for_another_body(gateway: Gateway) -> None:
    await post(gateway, Idempotency_Key="order-1")
    answer = await post(gateway, {**BODY, "input": {}}, Idempotency_Key="order-1")
    check_refused(answer, 422, "Use a new key")


async def test_one_key_for_both_apis_is_two_bodies(gateway: Gateway) -> None:
    """They would be told in different ways, so they are not the same create."""
    await post(gateway, Idempotency_Key="order-1")
    body = {"model": BODY["model"], "input": BODY["input"], "webhook_url": HOOK}
    assert (await gateway.post(body, key="order-1")).status_code == 422


async def test_a_key_that_is_none(gateway: Gateway) -> None:
    check_refused(await post(gateway, Idempotency_Key="x" * 256), 422, "Idempotency-Key")


# -- the balance


async def sees_balance(sql: Sql, client: str = "tests") -> None:
    await sql.execute("UPDATE clients SET sees_balance = true WHERE name = $1", client)


async def test_the_balance_is_for_those_who_may_see_it(
    gateway: Gateway, upstream: Upstream, sql: Sql, new_key: IssueKey
) -> None:
    other = {"Authorization": f"Bearer {await new_key('other')}"}
    await sees_balance(sql)
    answer = envelope(await gateway.http.get(CREDIT))
    assert answer == {"code": 200, "msg": "success", "data": BALANCE}
    answered = await gateway.http.get(CREDIT, headers=other)
    check_refused(answered, 422, "this client may not see the account's credits, and has no budget")
    assert str(BALANCE) not in answered.text
    assert upstream.credit_calls == 1


async def test_many_who_ask_are_one_question(
    gateway: Gateway, upstream: Upstream, sql: Sql
) -> None:
    await sees_balance(sql)
    answers = await asyncio.gather(*(gateway.http.get(CREDIT) for _ in range(8)))
    assert {envelope(answer)["data"] for answer in answers} == {BALANCE}
    assert upstream.credit_calls == 1
    await sql.execute("UPDATE kie_account SET balance_at = balance_at - interval '6 s'")
    await gateway.http.get(CREDIT)
    assert upstream.credit_calls == 2


NO_ANSWERS = {
    "our key": lambda: refused(401, "You do not have access permissions"),
    "our credits": lambda: refused(402, "Credits insufficient"),
    "too many": lambda: refused(429, "too many"),
    "no envelope": lambda: PlainTextResponse("<html>", 502),
    "not what was asked for": lambda: JSONResponse(
        {"code": 200, "msg": "success", "data": {"remainedCredits": BALANCE}}
    ),
}


@pytest.mark.parametrize("response", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
async def test_a_balance_that_kie_ai_does_not_tell(
    gateway: Gateway, upstream: Upstream, sql: Sql, response: Any
) -> None:
    """The gateway's own key may be at fault: that is not the caller's to hear."""
    await sees_balance(sql)
    upstream.answers_credit(response)
    check_refused(await gateway.http.get(CREDIT), 455, "kie.ai does not answer this now")


# -- links to results

RESULT = "https://example.com/generated-image.jpg"
FOREIGN = {"code": 422, "msg": "url is wrong", "data": None}


async def _succeeded(gateway: Gateway, upstream: Upstream, **members: Any) -> None:
    task_id = await create(gateway)
    kie_task_id = (await native(gateway, task_id))["kie_task_id"]
    await gateway.call_back(upstream.callback_path, succeeded(kie_task_id, **members))


async def test_a_link_to_a_result_of_ones_own(gateway: Gateway, upstream: Upstream) -> None:
    await _succeeded(gateway, upstream)
    answer = envelope(await post(gateway, {"url": RESULT, "x": 1}, path=DOWNLOAD))
    assert answer == {"code": 200, "msg": "success", "data": LINK}
    assert upstream.downloads == [{"url": RESULT}]


async def test_every_result_counts_however_long_its_url(
    gateway: Gateway, upstream: Upstream
) -> None:
    """The index holds the beginning of a URL; all of it is compared."""
    long = "https://example.com/" + "x" * 6000
    urls = ["https://example.com/1.jpg", long]
    await _succeeded(gateway, upstream, resultJson=json.dumps({"resultUrls": urls}))
    for url in urls:
        assert envelope(await post(gateway, {"url": url}, path=DOWNLOAD))["code"] == 200
    assert envelope(await post(gateway, {"url": long + "x"}, path=DOWNLOAD)) == FOREIGN


@pytest.mark.parametrize(
    "body",
    [
        {"url": "https://example.com/another.jpg"},
        {"url": ""},
        {"url": 5},
        {},
        {"url": "no URL"},
        {"url": "https://example.com/%00"},
    ],
)
async def test_any_other_url_is_wrong(gateway: Gateway, upstream: Upstream, body: object) -> None:
    await _succeeded(gateway, upstream)
    assert envelope(await post(gateway, body, path=DOWNLOAD)) == FOREIGN
    assert upstream.downloads == []


async def test_another_clients_result_is_foreign(
    gateway: Gateway, upstream: Upstream, new_key: IssueKey
) -> None:
    await _succeeded(gateway, upstream)
    key = await new_key("other")
    answer = await post(gateway, {"url": RESULT}, path=DOWNLOAD, Authorization=f"Bearer {key}")
    assert envelope(answer) == FOREIGN
    assert upstream.downloads == []


async def test_kie_ais_own_refusal_of_a_url_is_passed_on(
    gateway: Gateway, upstream: Upstream
) -> None:
    await _succeeded(gateway, upstream)
    upstream.on_download = lambda: refused(422, "url is expired")
    check_refused(await post(gateway, {"url": RESULT}, path=DOWNLOAD), 422, "url is expired")


@pytest.mark.parametrize("response", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
async def test_a_link_that_kie_ai_does_not_make(
    gateway: Gateway, upstream: Upstream, response: Any
) -> None:
    await _succeeded(gateway, upstream)
    upstream.on_download = response
    check_refused(await post(gateway, {"url": RESULT}, path=DOWNLOAD), 455, "kie.ai does not")
