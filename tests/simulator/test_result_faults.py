import json
from typing import Any

import pytest

from simulator.faults import FAULTS, RECORD_REFUSALS, Kind
from simulator.record_faults import RECORDS
from simulator.result_faults import CHANGES, FAIL_CODES
from simulator.server import Options
from tests.simulator.conftest import Simulate
from tests.simulator.shape import sample, shape
from tests.simulator.stage import Receiver, Simulator
from tests.stage import eventually


def named(kind: Kind) -> set[str]:
    return {name for name, fault in FAULTS.items() if fault.kind is kind}


def test_every_fault_is_made() -> None:
    assert named(Kind.RESULT) == set(CHANGES) | set(FAIL_CODES)
    assert named(Kind.RECORD) == set(RECORDS) | set(RECORD_REFUSALS) | {"record-http-502"}


async def told(simulator: Simulator, receiver: Receiver, name: str) -> list[dict[str, Any]]:
    """What the record and the callback say of a task with this fault."""
    await simulator.expect(fault=name)
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


async def test_a_result_that_is_absent(simulator: Simulator, receiver: Receiver) -> None:
    for data in await told(simulator, receiver, "result-json-absent"):
        assert data["state"] == "success"
        assert "resultJson" not in data


@pytest.mark.parametrize("name", [name for name in CHANGES if "credits" not in name])
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
