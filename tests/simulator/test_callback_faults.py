import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any

import httpx
import pytest

from simulator.callback_faults import CALLBACK_FAULTS
from simulator.faults import FAULTS, Kind
from simulator.server import Options
from tests.simulator.conftest import Simulate
from tests.simulator.stage import Receiver, Simulator
from tests.stage import eventually

KEY = "a key"


@pytest.fixture
async def signing(simulate: Simulate) -> Simulator:
    return await simulate(Options(duration=0, hmac_key=KEY, callback_retry_delay=0.01))


def signature(task_id: str, headers: httpx.Headers) -> bool:
    """Whether the signature is right, whatever its age."""
    signed = f"{task_id}.{headers['x-webhook-timestamp']}".encode()
    digest = hmac.digest(KEY.encode(), signed, hashlib.sha256)
    return headers["x-webhook-signature"] == base64.b64encode(digest).decode()


def age(headers: httpx.Headers) -> float:
    return time.time() - int(headers["x-webhook-timestamp"])


def urls(body: dict[str, Any]) -> list[str]:
    found = json.loads(body["data"]["resultJson"])["resultUrls"]
    assert isinstance(found, list)
    return found


def test_there_are_callbacks_for_each_fault() -> None:
    assert {name for name, fault in FAULTS.items() if fault.kind is Kind.CALLBACK} == set(
        CALLBACK_FAULTS
    )


async def test_dropped(simulator: Simulator, receiver: Receiver) -> None:
    await simulator.expect(fault="callback-dropped")
    dropped = await simulator.create(callBackUrl=receiver.url)
    sent = await simulator.create(callBackUrl=receiver.url)

    await receiver.received()

    assert [body["data"]["taskId"] for _, body in receiver.requests] == [sent]
    assert (await simulator.finished(dropped))["data"]["state"] == "success"


async def test_duplicated(signing: Simulator, receiver: Receiver) -> None:
    await signing.expect(fault={"callback-duplicated": {"times": 3}})
    task_id = await signing.create(callBackUrl=receiver.url)

    requests = await receiver.received(3)

    attempts = await signing.attempts(3)
    assert [attempt["attempt"] for attempt in attempts] == [1, 1, 1]
    assert receiver.bodies == [receiver.bodies[0]] * 3
    assert all(signature(task_id, headers) for headers, _ in requests)


async def test_late(simulator: Simulator, receiver: Receiver) -> None:
    await simulator.expect(fault={"callback-late": {"seconds": 0.3}})
    await simulator.create(callBackUrl=receiver.url)

    await receiver.received()

    (row,) = (await simulator.ledger())["data"]
    assert receiver.at[0] - row["createdAt"] >= 0.3


async def test_early(simulate: Simulate, receiver: Receiver) -> None:
    simulator = await simulate(Options(duration=60, callback_delay=60))
    await simulator.expect(fault="callback-early")

    task_id = await simulator.create(callBackUrl=receiver.url)

    ((_, body),) = receiver.requests  # it was there before the create was answered
    assert (body["data"]["taskId"], body["data"]["state"]) == (task_id, "success")
    (attempt,) = await simulator.attempts(1)
    assert attempt["status"] == 200
    assert (await simulator.query(task_id))["data"]["state"] == "success"


async def test_early_waits_for_one_attempt_only(simulate: Simulate, receiver: Receiver) -> None:
    simulator = await simulate(Options(callback_retry_delay=3600))
    receiver.answers.append(500)
    await simulator.expect(fault="callback-early")

    await simulator.create(callBackUrl=receiver.url)

    assert len(receiver.requests) == 1


async def test_forged(simulate: Simulate, receiver: Receiver) -> None:
    simulator = await simulate(Options(duration=0.4, hmac_key=KEY))
    await simulator.expect(fault="callback-forged")
    task_id = await simulator.create(callBackUrl=receiver.url)

    (forged_headers, forged), (headers, true) = await receiver.received(2)

    record = await simulator.query(task_id)
    assert forged["data"]["taskId"] == true["data"]["taskId"] == task_id
    assert not signature(task_id, forged_headers)
    assert age(forged_headers) < 60
    assert forged.keys() == true.keys()
    assert forged["data"].keys() == true["data"].keys()
    assert urls(forged) != urls(true) == urls(record)
    assert signature(task_id, headers)
    assert receiver.at[0] < record["data"]["completeTime"] / 1000 <= receiver.at[1] + 0.001


async def test_forged_praises_what_fails(simulator: Simulator, receiver: Receiver) -> None:
    await simulator.expect(fault="callback-forged", outcome="fail", duration=0.2)
    await simulator.create(callBackUrl=receiver.url)

    (headers, forged), (_, true) = await receiver.received(2)

    assert (forged["code"], true["code"]) == (200, 501)
    assert "x-webhook-signature" in headers


async def test_forged_with_a_valid_signature(simulate: Simulate, receiver: Receiver) -> None:
    simulator = await simulate(Options(duration=0.4, hmac_key=KEY))
    await simulator.expect(fault="callback-forged-signed")
    task_id = await simulator.create(callBackUrl=receiver.url)

    (forged_headers, forged), (headers, true) = await receiver.received(2)

    record = await simulator.query(task_id)
    assert signature(task_id, forged_headers)
    assert signature(task_id, headers)
    assert urls(forged) != urls(true) == urls(record)
    assert receiver.at[0] < record["data"]["completeTime"] / 1000


@pytest.mark.parametrize("outcome", ["success", "fail"])
async def test_forged_after_the_true_one(
    signing: Simulator, receiver: Receiver, outcome: str
) -> None:
    await signing.expect(fault="callback-forged-after", outcome=outcome)
    task_id = await signing.create(callBackUrl=receiver.url)

    (headers, true), (replayed, forged) = await receiver.received(2)

    assert signature(task_id, headers)
    for name in ("x-webhook-timestamp", "x-webhook-signature"):
        assert replayed[name] == headers[name]
    assert (true["data"]["state"], forged["data"]["state"]) == (outcome, "success")
    assert urls(forged)[0].startswith("https://forged.example/")


@pytest.mark.parametrize("outcome", ["success", "fail"])
async def test_forged_in_its_place(signing: Simulator, receiver: Receiver, outcome: str) -> None:
    await signing.expect(fault="callback-forged-instead", outcome=outcome)
    task_id = await signing.create(callBackUrl=receiver.url)

    await signing.attempts(1)

    ((headers, forged),) = receiver.requests
    assert signature(task_id, headers)
    assert (forged["code"], forged["data"]["state"]) == (200, "success")
    assert urls(forged)[0].startswith("https://forged.example/")
    assert (await signing.query(task_id))["data"]["state"] == outcome


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("callback-without-result", {"resultJson"}),
        ("callback-without-credits", {"consumeCredits"}),
        ("callback-general-reason", {"failCode", "failMsg"}),
    ],
)
async def test_what_only_the_record_tells(
    simulator: Simulator, receiver: Receiver, name: str, lacking: set[str]
) -> None:
    outcome = FAULTS[name].needs or "success"
    await simulator.expect(outcome=outcome)
    await simulator.create(callBackUrl=receiver.url)
    await simulator.expect(fault=name)
    task_id = await simulator.create(callBackUrl=receiver.url)

    bodies = {body["data"]["taskId"]: body for _, body in await receiver.received(2)}

    body = bodies.pop(task_id)
    (usual,) = bodies.values()
    assert (body["code"], body["msg"]) == (usual["code"], usual["msg"])
    assert usual["data"].keys() - body["data"].keys() == lacking
    record = (await simulator.query(task_id))["data"]
    recorded = {"creditsConsumed" if each == "consumeCredits" else each for each in lacking}
    assert all(record[each] for each in recorded)


async def test_a_general_reason(simulator: Simulator, receiver: Receiver) -> None:
    await simulator.expect(fault="callback-general-reason")
    task_id = await simulator.create(callBackUrl=receiver.url)

    ((_, body),) = await receiver.received()

    record = (await simulator.query(task_id))["data"]
    assert (body["code"], body["msg"]) == (501, "Playground task failed.")
    assert (record["failCode"], record["failMsg"]) == (
        "1501",
        "Content review failed, please change the prompt.",
    )


async def test_an_empty_result(simulator: Simulator, receiver: Receiver) -> None:
    await simulator.expect(fault="callback-result-empty")
    task_id = await simulator.create(callBackUrl=receiver.url)

    ((_, body),) = await receiver.received()

    assert (body["data"]["state"], body["data"]["resultJson"]) == ("success", "")
    assert urls(await simulator.query(task_id))


async def test_by_code_alone(signing: Simulator, receiver: Receiver) -> None:
    await signing.expect(fault="callback-code-only-success")
    task_id = await signing.create(callBackUrl=receiver.url)

    ((headers, body),) = await receiver.received()

    assert (body["code"], body["data"]) == (200, {"taskId": task_id})
    assert signature(task_id, headers)


async def test_stale(signing: Simulator, receiver: Receiver) -> None:
    await signing.expect(fault="callback-stale")
    task_id = await signing.create(callBackUrl=receiver.url)

    ((headers, _),) = await receiver.received()

    assert signature(task_id, headers)
    assert 590 < age(headers) < 660


async def test_unsigned(signing: Simulator, receiver: Receiver) -> None:
    await signing.expect(fault="callback-unsigned")
    await signing.create(callBackUrl=receiver.url)

    ((headers, body),) = await receiver.received()

    assert not [name for name in headers if name.startswith("x-webhook")]
    assert body["code"] == 200


@pytest.mark.parametrize("outcome", ["success", "fail"])
async def test_progress_after_the_end(signing: Simulator, receiver: Receiver, outcome: str) -> None:
    await signing.expect(fault="callback-progress-after-end", outcome=outcome)
    task_id = await signing.create(callBackUrl=receiver.url)

    (_, end), (headers, progress) = await receiver.received(2)

    assert end["data"]["state"] == outcome
    assert (progress["code"], progress["data"]["state"]) == (200, "generating")
    assert not {"resultJson", "failCode", "completeTime"} & progress["data"].keys()
    assert signature(task_id, headers)


async def test_overtaken(simulator: Simulator, receiver: Receiver) -> None:
    await simulator.expect(fault={"callback-overtaken": {"seconds": 60}})
    first = await simulator.create(callBackUrl=receiver.url)
    await simulator.expect(duration=0.1)
    second = await simulator.create(callBackUrl=receiver.url)

    await receiver.received(2)

    assert [body["data"]["taskId"] for _, body in receiver.requests] == [second, first]


async def test_overtaken_by_nobody(simulator: Simulator, receiver: Receiver) -> None:
    await simulator.expect(fault={"callback-overtaken": {"seconds": 0.2}})
    await simulator.create(callBackUrl=receiver.url)

    await receiver.received()

    (row,) = (await simulator.ledger())["data"]
    assert receiver.at[0] - row["createdAt"] >= 0.2


async def test_unparsable(signing: Simulator, receiver: Receiver) -> None:
    receiver.answers.extend([400, 200])
    await signing.expect(fault="callback-unparsable")
    await signing.create(callBackUrl=receiver.url)

    attempts = await signing.attempts(2)

    assert [attempt["status"] for attempt in attempts] == [400, 200]
    assert receiver.requests == []
    assert len(receiver.bodies) == 2
    assert receiver.bodies[0]


async def test_ids_disagree(signing: Simulator, receiver: Receiver) -> None:
    await signing.expect(fault="callback-ids-disagree")
    task_id = await signing.create(callBackUrl=receiver.url)

    ((headers, body),) = await receiver.received()

    assert body["data"]["taskId"] == task_id
    assert body["taskId"] not in ("", task_id)
    assert signature(task_id, headers)


async def test_foreign_url(signing: Simulator, receiver: Receiver) -> None:
    await signing.expect(fault="callback-foreign-url")
    task_id = await signing.create(callBackUrl=receiver.url)

    ((headers, body),) = await receiver.received()

    param = json.loads(body["data"]["param"])
    assert param["callBackUrl"] == "https://forged.example/callback"
    assert signature(task_id, headers)
    recorded = json.loads((await signing.query(task_id))["data"]["param"])
    assert recorded == param | {"callBackUrl": receiver.url}


async def test_retried(simulator: Simulator, receiver: Receiver) -> None:
    await simulator.expect(fault={"callback-retried": {"times": 2}})
    await simulator.create(callBackUrl=receiver.url)

    attempts = await simulator.attempts(3)

    assert [attempt["status"] for attempt in attempts] == [None, None, 200]
    assert receiver.bodies == [receiver.bodies[0]] * 3


@pytest.mark.parametrize("name", CALLBACK_FAULTS)
async def test_a_fault_does_not_change_the_task(simulator: Simulator, name: str) -> None:
    await simulator.expect(fault=name)

    task_id = await simulator.create()

    (row,) = (await simulator.ledger())["data"]
    end = FAULTS[name].needs or "success"
    assert (row["faults"], row["credits"]) == ([name], 4 if end == "success" else 0)
    assert (await simulator.finished(task_id))["data"]["state"] == end
    assert (await simulator.http.get("/simulator/callbacks")).json() == []


async def test_what_is_held_goes_with_the_ledger(simulator: Simulator, receiver: Receiver) -> None:
    await simulator.expect(fault="callback-overtaken")
    await simulator.create(callBackUrl=receiver.url)

    await simulator.http.delete("/simulator/ledger")
    other = await simulator.create(callBackUrl=receiver.url)

    await receiver.received()
    assert [body["data"]["taskId"] for _, body in receiver.requests] == [other]


async def test_faults_of_three_kinds_at_once(signing: Simulator, receiver: Receiver) -> None:
    await signing.expect(
        fault=["create-cut-off-after-accept", "callback-unsigned", "record-contradicts"]
    )

    with pytest.raises(httpx.RemoteProtocolError):
        await signing.send(callback_url=receiver.url)

    ((headers, body),) = await receiver.received()
    (row,) = (await signing.ledger())["data"]
    assert "x-webhook-signature" not in headers
    assert body["data"]["state"] == "success"
    assert (await signing.query(row["taskId"]))["data"]["state"] == "fail"
    assert row["faults"] == [
        "create-cut-off-after-accept",
        "callback-unsigned",
        "record-contradicts",
    ]


async def test_early_although_the_create_is_never_answered(
    simulator: Simulator, receiver: Receiver
) -> None:
    await simulator.expect(fault=["create-hang-after-accept", "callback-early"])
    sending = asyncio.create_task(simulator.send(callback_url=receiver.url, patience=60))

    async def look() -> bool | None:
        return bool(receiver.requests) or None

    await eventually(look)
    assert not sending.done()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
