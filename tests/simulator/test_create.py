import json
import re
from decimal import Decimal

import pytest

from simulator.faults import OUT_OF_CREDITS
from simulator.server import Options
from tests.simulator.conftest import Simulate
from tests.simulator.shape import sample, shape
from tests.simulator.stage import Simulator

INPUT = {"prompt": "a cat"}


async def test_answers_an_accepted_create_as_live(simulator: Simulator) -> None:
    answer = await simulator.post({"model": "google/nano-banana", "input": INPUT})

    assert shape(answer) == shape(sample("01"))
    assert (answer["code"], answer["msg"]) == (200, "success")
    assert re.fullmatch("[0-9a-f]{32}", answer["data"]["taskId"])
    assert answer["data"]["recordId"] == answer["data"]["taskId"]


@pytest.mark.parametrize("model", [None, "", 7, "two words", "no-such-model"])
async def test_refuses_an_unsupported_model(simulator: Simulator, model: object) -> None:
    assert await simulator.post({"model": model, "input": INPUT}) == sample("25")


async def test_refuses_an_empty_input_with_500(simulator: Simulator) -> None:
    answer = await simulator.post({"model": "m", "input": {}})

    assert shape(answer) == shape(sample("26"))
    assert (answer["code"], answer["msg"]) == (500, "prompt is required")


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m"},
        {"model": "m", "input": None},
        {"model": "m", "input": "text"},
        {"model": "m", "input": [INPUT]},
        {"model": "m", "input": INPUT, "callBackUrl": 7},
        [],
        None,
    ],
)
async def test_refuses_what_is_not_a_create(simulator: Simulator, body: object) -> None:
    answer = await simulator.post(body)

    assert shape(answer) == shape(sample("25"))
    assert answer["code"] == 422
    assert (await simulator.ledger())["data"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"model":"m","input":{"a":' + b"[" * 100_000,
        b'{"model":"m","input":{"a":NaN}}',
        b'{"model":"m","input":{"a":1e99999999999999999999}}',
        b'{"model":"m","input":{"a":' + b"1" * 5000 + b"}}",
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_refuses_unreadable_bodies(simulator: Simulator, body: bytes) -> None:
    assert (await simulator.post(body))["code"] == 422


async def test_survives_what_is_nearly_too_deep(simulator: Simulator) -> None:
    for depth in range(100, 1200, 7):
        answer = await simulator.post(
            b'{"model":"m","input":{"a":' + b"[" * depth + b"]" * depth + b"}}"
        )
        assert answer["code"] in (200, 422)

    assert await simulator.ledger()


@pytest.mark.parametrize("host", ["[", "a b", "ex\\ample:99999999"])
async def test_survives_a_hostile_host(simulator: Simulator, host: str) -> None:
    response = await simulator.http.post(
        "/api/v1/jobs/createTask", json={"model": "m", "input": INPUT}, headers={"Host": host}
    )

    assert response.json()["code"] == 200


async def test_survives_texts_that_no_encoding_has(simulator: Simulator) -> None:
    answer = await simulator.post(rb'{"model":"m\ud800","input":{"a\u0000":"\udfff"}}')

    record = await simulator.query(answer["data"]["taskId"])
    assert record["data"]["model"] == "m?"
    assert (await simulator.ledger())["data"][0]["input"] == {"a\x00": "?"}


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic any-key"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/jobs/createTask"),
        ("GET", "/api/v1/jobs/recordInfo"),
        ("GET", "/api/v1/chat/credit"),
        ("POST", "/api/v1/common/download-url"),
    ],
)
async def test_refuses_a_missing_key(
    simulator: Simulator, method: str, path: str, header: str | None
) -> None:
    del simulator.http.headers["Authorization"]
    headers = {} if header is None else {"Authorization": header}

    response = await simulator.http.request(method, path, headers=headers)

    assert response.status_code == 200
    assert shape(response.json()) == shape(sample("25"))
    assert response.json()["code"] == 401


async def test_refuses_a_wrong_key(simulate: Simulate) -> None:
    simulator = await simulate(Options(api_key="the-right-key"))
    assert (await simulator.query("x"))["code"] == 401

    simulator.http.headers["Authorization"] = "Bearer the-right-key"
    assert (await simulator.query("x"))["code"] == 422


async def test_refuses_what_cannot_be_paid(simulate: Simulate) -> None:
    simulator = await simulate(Options(start_credits=Decimal("7.5")))
    await simulator.create(model="nano-banana-pro")

    answer = await simulator.post({"model": "nano-banana-pro", "input": INPUT})

    assert answer == {"code": 402, "msg": OUT_OF_CREDITS, "data": None}
    assert len((await simulator.ledger())["data"]) == 1
    assert await simulator.balance() == 3.5


@pytest.mark.parametrize(
    ("model", "credits"),
    [
        ("nano-banana-pro", 4),
        ("google/nano-banana-edit", 4),
        ("wan/2-7-image", 10),
        ("kling-3.0/video", 100),
        ("bytedance/seedance-2-fast", 100),
        ("bytedance/seedream-v4-text-to-image", 10),
    ],
)
async def test_bills_by_model(simulator: Simulator, model: str, credits: int) -> None:  # noqa: A002
    before = (await simulator.ledger())["balance"]

    task_id = await simulator.create(model=model)

    assert (await simulator.query(task_id))["data"]["creditsConsumed"] == credits
    assert await simulator.balance() == before - credits


async def test_echoes_the_input_digit_for_digit(simulator: Simulator) -> None:
    given = '{"z":1.50,"a":123456789012345678901234567890,"e":1E+2,"t":"é"}'
    body = f'{{"input":{given},"model":"m","callBackUrl":""}}'

    task_id = (await simulator.post(body.encode()))["data"]["taskId"]

    param = json.loads((await simulator.query(task_id))["data"]["param"])
    assert param == {"input": given, "model": "m"}
    assert given in (await simulator.http.get("/simulator/ledger")).text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/api/v1/jobs/createTask"),
        ("POST", "/api/v1/jobs/createTask/"),
        ("POST", "/api/v1/veo/generate"),
        ("GET", "/files/unknown.png"),
        ("GET", "/simulator/tasks/unknown"),
    ],
)
async def test_knows_nothing_else(simulator: Simulator, method: str, path: str) -> None:
    response = await simulator.http.request(method, path)

    assert response.status_code == 404
    assert response.json() == {"code": 404, "msg": "Not Found", "data": None}
