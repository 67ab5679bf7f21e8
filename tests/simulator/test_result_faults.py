import json
from decimal import Decimal
from typing import Any

import pytest

from simulator.account import MANY_FILES, Account
from simulator.bodies import CreateBody
from simulator.chance import Plan
from simulator.choices import read_choice
from simulator.failures import FAILURES
from simulator.faults import END_WORDS, FAULTS, RECORD_REFUSALS, Kind
from simulator.record_faults import RECORDS
from simulator.result_faults import CHANGES, FAIL_CODES, RESULTS
from simulator.result_files import SERVED
from simulator.server import Options
from tests.simulator.conftest import Simulate
from tests.simulator.shape import sample, shape
from tests.simulator.stage import Receiver, Simulator
from tests.stage import eventually


def named(kind: Kind) -> set[str]:
    return {name for name, fault in FAULTS.items() if fault.kind is kind}


def test_every_fault_is_made() -> None:
    failing = {name for name in FAILURES if FAULTS[name].kind is Kind.RESULT}
    results = {MANY_FILES} | set(CHANGES) | set(RESULTS) | set(FAIL_CODES) | failing
    assert named(Kind.RESULT) == results
    assert named(Kind.FILE) == set(SERVED)
    assert named(Kind.RECORD) == set(RECORDS) | set(RECORD_REFUSALS) | {"record-http-502"}


async def told(simulator: Simulator, receiver: Receiver, fault: object) -> list[dict[str, Any]]:
    """What the record and the callback say of a task with this fault."""
    await simulator.expect(fault=fault)
    task_id = await simulator.create(callBackUrl=receiver.url)
    ((_, callback),) = await receiver.received()
    return [(await simulator.query(task_id))["data"], callback["data"]]


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("result-without-urls", '{"resultUrls":[]}'),
        ("result-object", '{"resultObject":{"text":"a cat","score":0.98}}'),
        ("result-json-null", None),
        ("result-json-empty", ""),
    ],
)
async def test_results(simulator: Simulator, receiver: Receiver, name: str, result: object) -> None:
    for data in await told(simulator, receiver, name):
        assert (data["state"], data["resultJson"]) == ("success", result)


async def test_a_result_that_is_an_object(simulator: Simulator, receiver: Receiver) -> None:
    for data in await told(simulator, receiver, "result-json-object"):
        ((name, (url,)),) = data["resultJson"].items()
        assert name == "resultUrls"
        assert (await simulator.http.get(url)).status_code == 200


async def test_a_result_that_is_encoded_twice(simulator: Simulator, receiver: Receiver) -> None:
    for data in await told(simulator, receiver, "result-json-twice"):
        ((name, (url,)),) = json.loads(json.loads(data["resultJson"])).items()
        assert name == "resultUrls"
        assert (await simulator.http.get(url)).status_code == 200


async def test_urls_that_are_one_text(simulator: Simulator, receiver: Receiver) -> None:
    for data in await told(simulator, receiver, "result-urls-text"):
        url = json.loads(data["resultJson"])["resultUrls"]
        assert (await simulator.http.get(url)).status_code == 200


async def test_urls_that_are_json_text(simulator: Simulator, receiver: Receiver) -> None:
    for data in await told(simulator, receiver, "result-urls-json-text"):
        (url,) = json.loads(json.loads(data["resultJson"])["resultUrls"])
        assert (await simulator.http.get(url)).status_code == 200


@pytest.mark.parametrize("size", [None, 1000])
async def test_a_large_result(simulator: Simulator, receiver: Receiver, size: int | None) -> None:
    fault = {"result-large": {"bytes": size} if size else {}}
    for data in await told(simulator, receiver, fault):
        assert len(data["resultJson"]) == (size or 1_600_000)
        assert json.loads(data["resultJson"])["resultObject"]["transcript"]


@pytest.mark.parametrize(
    ("end", "word"), [(end, word) for end, words in END_WORDS.items() for word in words]
)
async def test_ends_in_other_words(
    simulator: Simulator, receiver: Receiver, end: str, word: str
) -> None:
    for data in await told(simulator, receiver, f"result-word-{word}"):
        assert data["state"] == word
        assert data["resultJson"] if end == "success" else data["failCode"]
    ((_, callback),) = receiver.requests
    assert callback["code"] == (200 if end == "success" else 501)


async def test_a_result_that_is_absent(simulator: Simulator, receiver: Receiver) -> None:
    for data in await told(simulator, receiver, "result-json-absent"):
        assert data["state"] == "success"
        assert "resultJson" not in data


@pytest.mark.parametrize("name", [name for name in CHANGES if FAULTS[name].needs == "success"])
async def test_what_has_no_result_is_as_usual(simulator: Simulator, name: str) -> None:
    await simulator.expect(fault=name, outcome="fail")
    failed = await simulator.create()
    await simulator.expect(fault=name, duration=60)
    running = await simulator.create()

    assert (await simulator.finished(failed))["data"]["resultJson"] == ""
    assert shape(await simulator.query(running)) == shape(sample("08"))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("result-fail-code-number", 422),
        ("result-fail-code-word", "GENERATION_FAILED"),
        ("result-fail-code-null", None),
    ],
)
async def test_fail_codes(
    simulator: Simulator, receiver: Receiver, name: str, code: object
) -> None:
    for data in await told(simulator, receiver, name):
        assert (data["state"], data["failCode"]) == ("fail", code)
    (row,) = (await simulator.ledger())["data"]
    assert row["credits"] == 0


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("result-timeout", "524", "generate task timeout."),
        ("result-withdrawn", "500", "Internal server error"),
    ],
)
async def test_reasons(
    simulator: Simulator, receiver: Receiver, name: str, code: str, message: str
) -> None:
    for data in await told(simulator, receiver, name):
        assert (data["state"], data["failCode"], data["failMsg"]) == ("fail", code, message)
    assert await simulator.balance() == 5916.25


async def test_a_failure_that_turns_around(simulator: Simulator, receiver: Receiver) -> None:
    await simulator.expect(fault={"result-timeout-then-success": {"seconds": 0.5}})
    task_id = await simulator.create(callBackUrl=receiver.url)

    await receiver.received()
    early = (await simulator.query(task_id))["data"]
    (_, first), (_, second) = await receiver.received(2)
    late = (await simulator.query(task_id))["data"]

    for data in (early, first["data"]):
        assert (data["state"], data["failCode"]) == ("fail", "524")
        assert data["failMsg"] == "generate task timeout."
    assert (first["code"], first["data"]["consumeCredits"], early["creditsConsumed"]) == (501, 0, 0)
    for data in (late, second["data"]):
        assert data["state"] == "success"
        assert json.loads(data["resultJson"])["resultUrls"]
        assert not data.get("failCode")
        assert data["completeTime"] - data["createTime"] in (499, 500, 501)
    assert (second["code"], second["data"]["consumeCredits"]) == (200, 4)
    assert late["creditsConsumed"] == 4
    assert await simulator.balance() == 5912.25


def test_a_failure_that_turns_around_is_billed_in_the_end() -> None:
    bank = Account(start_credits=Decimal(10), duration=10.0, failure_rate=0.0, seed=0)
    body = CreateBody(model="nano-banana", input="{}", callback_url=None)
    plan = Plan(faults=read_choice("result-timeout-then-success"))

    task = bank.create(body, "http://test", 0.0, plan)

    instants = (5.0, 10.0, 69.9, 70.0)
    assert [task.state(now) for now in instants] == ["generating", "fail", "fail", "success"]
    assert [bank.balance(now) for now in instants] == [6, 10, 10, 6]
    assert [task.billed(now) for now in instants] == [4, 0, 0, 4]


async def test_an_early_failure_that_turns_around(simulator: Simulator, receiver: Receiver) -> None:
    await simulator.expect(fault=["result-timeout-then-success", "callback-early"])

    await simulator.create(callBackUrl=receiver.url)

    ((_, body),) = receiver.requests  # the second end is not waited for
    assert body["data"]["state"] == "fail"


async def test_what_is_to_succeed_does_not_turn_around(simulator: Simulator) -> None:
    await simulator.expect(fault="result-timeout-then-success", outcome="success")

    task_id = await simulator.create()

    assert (await simulator.query(task_id))["data"]["state"] == "success"


@pytest.mark.parametrize(
    ("name", "present", "absent"),
    [
        ("result-credits-2025", "consumeCredits", "creditsConsumed"),
        ("result-credits-2026", "creditsConsumed", "consumeCredits"),
    ],
)
async def test_credits_by_either_name(
    simulator: Simulator, receiver: Receiver, name: str, present: str, absent: str
) -> None:
    for data in await told(simulator, receiver, name):
        assert data[present] == 4
        assert absent not in data


@pytest.mark.parametrize("name", RECORD_REFUSALS)
async def test_records_that_are_never_shown(simulator: Simulator, name: str) -> None:
    await simulator.expect(fault=name)
    task_id = await simulator.create()

    said = RECORD_REFUSALS[name]
    for _ in range(2):
        assert await simulator.query(task_id) == {
            "code": said.code,
            "msg": said.message,
            "data": None,
        }
    assert (await simulator.http.get(f"/simulator/tasks/{task_id}")).json()["state"] == "success"


async def test_a_record_behind_a_page(simulator: Simulator) -> None:
    await simulator.expect(fault="record-http-502")

    response = await simulator.look_up(await simulator.create())

    assert response.status_code == 502
    assert response.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("name", [*RECORD_REFUSALS, "record-http-502"])
async def test_records_that_are_shown_later(simulator: Simulator, name: str) -> None:
    await simulator.expect(fault={name: {"seconds": 0.5}})
    task_id = await simulator.create()
    answers = []

    async def look() -> bool | None:
        answers.append(await simulator.look_up(task_id))
        return True if b'"state":"success"' in answers[-1].content else None

    await eventually(look)
    assert len(answers) > 1


async def test_a_state_that_nobody_knows(simulate: Simulate) -> None:
    simulator = await simulate(Options(duration=0.3))
    await simulator.expect(fault="record-unknown-state")
    task_id = await simulator.create()

    running = await simulator.query(task_id)

    assert running["data"]["state"] == "post_processing"
    assert shape(running) == shape(sample("08"))
    assert (await simulator.finished(task_id))["data"]["state"] == "success"


@pytest.mark.parametrize(("outcome", "opposite"), [("success", "fail"), ("fail", "success")])
async def test_a_record_that_contradicts(
    simulator: Simulator, receiver: Receiver, outcome: str, opposite: str
) -> None:
    await simulator.expect(fault="record-contradicts", outcome=outcome)
    task_id = await simulator.create(callBackUrl=receiver.url)

    ((_, callback),) = await receiver.received()
    record = await simulator.query(task_id)

    assert callback["data"]["state"] == outcome
    assert record["data"]["state"] == opposite
    assert bool(record["data"]["resultJson"]) is (opposite == "success")
    assert bool(record["data"]["failCode"]) is (opposite == "fail")
    assert (await simulator.ledger())["data"][0]["credits"] == callback["data"]["consumeCredits"]


async def test_an_input_that_is_an_object(simulator: Simulator) -> None:
    given = '{"z":1.50,"a":123456789012345678901234567890}'
    await simulator.expect(fault="record-input-object")
    body = f'{{"input":{given},"model":"m"}}'.encode()
    task_id = (await simulator.post(body))["data"]["taskId"]

    param = (await simulator.query(task_id))["data"]["param"]

    assert f'"input":{given}' in param
    assert json.loads(param)["model"] == "m"


async def test_an_input_that_is_escaped_once_more(simulator: Simulator) -> None:
    quotes = {"prompt": '"' * 100}
    usual = await simulator.create(input=quotes)
    await simulator.expect(fault="record-param-escaped")
    escaped = await simulator.create(input=quotes)

    params = [(await simulator.query(each))["data"]["param"] for each in (usual, escaped)]

    assert json.loads(json.loads(params[0])["input"]) == quotes
    assert json.loads(json.loads(json.loads(params[1])["input"])) == quotes
    assert len((await simulator.look_up(usual)).content) > 7 * 100
    assert len((await simulator.look_up(escaped)).content) > 15 * 100


async def test_another_tasks_url(simulator: Simulator, receiver: Receiver) -> None:
    url = f"{receiver.url.partition('/callbacks')[0]}/callbacks/kie/0190-af/t0k3n"
    await simulator.expect(fault="record-foreign-url")
    task_id = await simulator.create(callBackUrl=url)

    ((_, body),) = await receiver.received()
    param = json.loads((await simulator.query(task_id))["data"]["param"])

    own = json.loads(body["data"]["param"])
    assert own["callBackUrl"] == url
    assert param == own | {"callBackUrl": url.replace("0190-af/t0k3n", "1201-af/t1k4n")}


async def test_no_echo(simulator: Simulator) -> None:
    await simulator.expect(fault="record-without-param")
    data = (await simulator.query(await simulator.create()))["data"]

    assert "param" not in data
    assert data["state"] == "success"


@pytest.mark.parametrize(
    ("name", "member", "told", "until", "then"),
    [
        ("record-result-late", "resultJson", "resultJson", "", str),
        ("record-credits-late", "creditsConsumed", "consumeCredits", None, float),
    ],
)
async def test_what_the_record_shows_late(
    simulator: Simulator,
    receiver: Receiver,
    name: str,
    member: str,
    told: str,
    until: object,
    then: type,
) -> None:
    await simulator.expect(fault={name: {"seconds": 0.5}})
    task_id = await simulator.create(callBackUrl=receiver.url)

    ((_, body),) = await receiver.received()
    early = (await simulator.query(task_id))["data"]

    assert body["data"]["state"] == early["state"] == "success"
    assert told not in body["data"]
    assert early[member] == until

    async def look() -> object:
        return (await simulator.query(task_id))["data"][member] or None

    assert isinstance(await eventually(look), then)
