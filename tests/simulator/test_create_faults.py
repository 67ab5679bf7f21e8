import asyncio
import json
from typing import Any

import httpx
import pytest

from simulator.create_faults import CREATE_FAULTS
from simulator.faults import CREATE_REFUSALS, FAULTS, OUT_OF_CREDITS, Kind
from simulator.server import Options
from tests.simulator.conftest import Simulate
from tests.simulator.stage import Simulator

URL = "http://127.0.0.1:1/callbacks/kie/1?token=t"
LET_GO = (httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.ReadError)


def expected(name: str, **row: Any) -> dict[str, Any]:
    """The row that one create with a fault leaves behind."""
    return {"callBackUrl": URL, "taskId": None, "faults": [name]} | row


async def only_create(simulator: Simulator) -> dict[str, Any]:
    (row,) = await simulator.creates()
    assert row.pop("arrivedAt") > 1_700_000_000
    return row


async def only_billed(simulator: Simulator) -> dict[str, Any]:
    (row,) = (await simulator.ledger())["data"]
    assert row["credits"] == 4
    assert isinstance(row, dict)
    return row


def test_there_is_a_treatment_for_each_fault() -> None:
    assert {name for name, fault in FAULTS.items() if fault.kind is Kind.CREATE} == set(
        CREATE_FAULTS
    )


@pytest.mark.parametrize("name", CREATE_REFUSALS)
async def test_refuses_by_envelope(simulator: Simulator, name: str) -> None:
    await simulator.expect(fault=name)

    response = await simulator.send(callback_url=URL)

    said = CREATE_REFUSALS[name]
    assert response.status_code == 200
    assert response.json() == {"code": said.code, "msg": said.message, "data": None}
    assert said.code == int(name.split("-")[2])
    assert (await simulator.ledger())["data"] == []
    assert await only_create(simulator) == expected(name, outcome="refused", code=said.code)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("create-refused-500-parameter", "aspect_ratio is required"),
        ("create-refused-500-option", "output_format is not within the range of allowed options"),
        ("create-refused-500-length", "The text length cannot exceed the maximum limit"),
        ("create-refused-500-operation", "Operation not found: google/nano-banana-edit"),
        ("create-refused-500-file-type", "File type not supported"),
        ("create-refused-500-file-size", "File size exceeds the maximum limit"),
        ("create-refused-500-credits", OUT_OF_CREDITS),
        (
            "create-refused-500-maintenance",
            "The model is being maintained, please try again later",
        ),
        ("create-refused-500-unknown", "Server exception, please try again later"),
    ],
)
async def test_500_has_known_texts_and_an_unknown_one(
    simulator: Simulator, name: str, message: str
) -> None:
    await simulator.expect(fault=name)

    assert (await simulator.send()).json()["msg"] == message


@pytest.mark.parametrize(
    ("name", "status"),
    [(f"create-http-{status}", status) for status in (400, 404, 413, 422, 429, 502)],
)
async def test_refuses_without_an_envelope(simulator: Simulator, name: str, status: int) -> None:
    await simulator.expect(fault=name)

    response = await simulator.send(callback_url=URL)

    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/html")
    assert f"<title>{status} " in response.text
    assert (await simulator.ledger())["data"] == []
    assert await only_create(simulator) == expected(name, outcome="refused", code=status)


@pytest.mark.parametrize(
    ("name", "error", "url"),
    [
        ("create-closed-unread", httpx.ReadError, None),
        ("create-closed-after-reading", httpx.RemoteProtocolError, URL),
    ],
)
async def test_drops_a_create(
    simulator: Simulator,
    name: str,
    error: type[Exception],
    url: str | None,
) -> None:
    await simulator.expect(fault=name)

    with pytest.raises(error):
        await simulator.send(callback_url=URL)

    assert (await simulator.ledger())["data"] == []
    assert await only_create(simulator) == expected(
        name, outcome="dropped", code=None, callBackUrl=url
    )
    assert await simulator.create()


async def test_bills_a_create_whose_answer_is_cut_off(simulator: Simulator) -> None:
    name = "create-cut-off-after-accept"
    await simulator.expect(fault=name)

    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        await simulator.send(callback_url=URL)

    row = await only_billed(simulator)
    assert (row["faults"], row["callBackUrl"]) == ([name], URL)
    assert await only_create(simulator) == expected(
        name, outcome="accepted", code=None, taskId=row["taskId"]
    )
    assert (await simulator.finished(row["taskId"]))["data"]["state"] == "success"


async def test_bills_a_create_whose_answer_breaks_off(simulator: Simulator) -> None:
    await simulator.expect(fault="create-half-answer")
    body = {"model": "nano-banana", "input": {"a": 1}}
    halves = []

    async with simulator.http.stream("POST", "/api/v1/jobs/createTask", json=body) as response:
        parts = response.aiter_bytes()
        halves.append(await anext(parts))
        with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
            await anext(parts)

    task_id = (await only_billed(simulator))["taskId"]
    assert response.status_code == 200
    assert halves[0].startswith(b'{"code":200')
    assert int(response.headers["content-length"]) // 2 == len(halves[0])
    assert (await only_create(simulator))["taskId"] == task_id


@pytest.mark.parametrize(
    ("name", "status", "code", "start"),
    [
        ("create-garbage-answer", 200, None, b'{"code":200'),
        ("create-empty-answer", 200, None, b""),
        ("create-http-502-after-accept", 502, 502, b"<html>"),
        ("create-500-after-accept", 200, 500, b'{"code":500,"msg":"Server exception'),
    ],
)
async def test_bills_a_create_and_answers_nonsense(
    simulator: Simulator, name: str, status: int, code: int | None, start: bytes
) -> None:
    await simulator.expect(fault=name)

    response = await simulator.send(callback_url=URL)

    assert response.status_code == status
    assert response.content.startswith(start)
    assert bool(response.content) is bool(start)
    task_id = (await only_billed(simulator))["taskId"]
    assert task_id not in response.text
    assert await only_create(simulator) == expected(
        name, outcome="accepted", code=code, taskId=task_id
    )


@pytest.mark.parametrize(
    ("name", "code", "message", "members"),
    [
        ("create-code-zero", 0, "success", {"data": {"taskId": "an-id"}}),
        ("create-id-at-root", 200, "success", {"taskId": "an-id", "data": None}),
        ("create-data-is-id", 200, "success", {"data": "an-id"}),
        (
            "create-500-with-id-after-accept",
            500,
            "Server exception, please try again later",
            {"data": {"taskId": "an-id"}},
        ),
    ],
)
async def test_bills_a_create_and_tells_its_id_oddly(
    simulator: Simulator, name: str, code: int, message: str, members: dict[str, Any]
) -> None:
    await simulator.expect(fault=name, taskId="an-id")

    response = await simulator.send(callback_url=URL)

    assert response.json() == {"code": code, "msg": message} | members
    assert (await only_billed(simulator))["taskId"] == "an-id"
    assert await only_create(simulator) == expected(
        name, outcome="accepted", code=code, taskId="an-id"
    )
    assert (await simulator.finished("an-id"))["data"]["state"] == "success"


async def test_answers_with_the_id_of_another_task(simulator: Simulator) -> None:
    name = "create-same-id"
    await simulator.create()
    earlier = await simulator.create(callBackUrl=URL)
    balance = await simulator.balance()
    await simulator.expect(fault=name)

    response = await simulator.send(callback_url="http://127.0.0.1:1/another")

    assert response.json()["data"] == {"taskId": earlier, "recordId": earlier}
    assert await simulator.balance() == balance
    assert len((await simulator.ledger())["data"]) == 2
    row = (await simulator.creates())[-1]
    assert (row["outcome"], row["code"], row["taskId"]) == ("repeated", 200, earlier)
    assert (row["callBackUrl"], row["faults"]) == ("http://127.0.0.1:1/another", [name])
    param = json.loads((await simulator.query(earlier))["data"]["param"])
    assert param["callBackUrl"] == URL


async def test_a_first_create_repeats_nothing(simulator: Simulator) -> None:
    await simulator.expect(fault="create-same-id", count=2)

    ids = [await simulator.create() for _ in range(2)]

    assert ids[0] == ids[1] == (await only_billed(simulator))["taskId"]
    assert [row["outcome"] for row in await simulator.creates()] == ["accepted", "repeated"]


async def test_garbage_cannot_be_read(simulator: Simulator) -> None:
    await simulator.expect(fault="create-garbage-answer")
    response = await simulator.send()
    with pytest.raises(ValueError, match="invalid"):
        response.json()


@pytest.mark.parametrize(
    ("name", "outcome"), [("create-hang", "dropped"), ("create-hang-after-accept", "accepted")]
)
async def test_never_answers(simulator: Simulator, name: str, outcome: str) -> None:
    await simulator.expect(fault=name)

    with pytest.raises(LET_GO):
        await simulator.send(callback_url=URL, patience=0.2)

    row = await only_create(simulator)
    assert (row["outcome"], row["code"]) == (outcome, None)
    billed = [row["taskId"] for row in (await simulator.ledger())["data"]]
    assert billed == ([row["taskId"]] if outcome == "accepted" else [])


async def test_answers_late(simulator: Simulator) -> None:
    await simulator.expect(fault={"create-slow": {"seconds": 0.3}})

    response = await simulator.send()

    row = await only_billed(simulator)
    assert response.json()["data"]["taskId"] == row["taskId"]
    assert response.elapsed.total_seconds() >= 0.3


async def test_a_late_answer_does_not_wait_for_who_has_left(simulator: Simulator) -> None:
    await simulator.expect(fault={"create-slow": {"seconds": 3600}})

    with pytest.raises(LET_GO):
        await simulator.send(patience=0.1)

    assert await only_billed(simulator)


async def test_closing_one_connection_leaves_the_others(simulator: Simulator) -> None:
    await simulator.expect(fault="create-cut-off-after-accept", count=5)

    sent = [simulator.send() for _ in range(10)]
    answers = await asyncio.gather(*sent, return_exceptions=True)

    assert sum(isinstance(answer, httpx.RemoteProtocolError) for answer in answers) == 5
    billed = {row["taskId"] for row in (await simulator.ledger())["data"]}
    told = {
        answer.json()["data"]["taskId"] for answer in answers if isinstance(answer, httpx.Response)
    }
    assert len(billed) == 10
    assert len(told) == 5
    assert told < billed


async def test_a_create_fault_is_used_up_by_any_create(simulate: Simulate) -> None:
    simulator = await simulate(Options(api_key="the-right-key"))
    await simulator.expect(fault="create-cut-off-after-accept", count=2)

    assert (await simulator.post({"model": "m", "input": {"a": 1}}))["code"] == 401
    simulator.http.headers["Authorization"] = "Bearer the-right-key"
    assert (await simulator.post({"model": "no-such-model", "input": {}}))["code"] == 422
    assert (await simulator.post({"model": "m", "input": {"a": 1}}))["code"] == 200

    rows = [(row["code"], row["faults"]) for row in await simulator.creates()]
    assert rows == [(401, []), (422, []), (200, [])]


async def test_the_creates_show_each_attempt(simulator: Simulator) -> None:
    task_id = await simulator.create(callBackUrl=URL)
    await simulator.post({"model": "no-such-model", "input": {}, "callBackUrl": URL})
    await simulator.post(b"\xff")
    await simulator.post({"model": "m", "input": {"a": 1}, "callBackUrl": 7})

    rows = await simulator.creates()

    instants = [row.pop("arrivedAt") for row in rows]
    refused = {"outcome": "refused", "code": 422, "taskId": None, "faults": []}
    assert instants == sorted(instants)
    assert instants[0] == (await simulator.ledger())["data"][0]["createdAt"]
    assert rows == [
        refused | {"outcome": "accepted", "code": 200, "callBackUrl": URL, "taskId": task_id},
        refused | {"callBackUrl": URL},
        refused | {"callBackUrl": None},
        refused | {"callBackUrl": None},
    ]
    await simulator.http.delete("/simulator/ledger")
    assert await simulator.creates() == []
