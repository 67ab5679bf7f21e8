import pytest

from simulator.server import Options
from tests.each import each
from tests.simulator.conftest import Simulate
from tests.simulator.stage import Receiver, Simulator


async def test_the_ledger_holds_every_create(simulator: Simulator) -> None:
    first = await simulator.create(callBackUrl="http://127.0.0.1:1/a?b=c")
    second = await simulator.create(model="m", input={"n": 1})

    ledger = await simulator.ledger()

    instants = [row.pop("createdAt") for row in ledger["data"]]
    assert instants == sorted(instants)
    assert ledger == {
        "data": [
            {
                "taskId": first,
                "model": "google/nano-banana",
                "callBackUrl": "http://127.0.0.1:1/a?b=c",
                "credits": 4.0,
                "input": {"prompt": "a cat"},
                "faults": [],
            },
            {
                "taskId": second,
                "model": "m",
                "callBackUrl": None,
                "credits": 10.0,
                "input": {"n": 1},
                "faults": [],
            },
        ],
        "balance": 5902.25,
    }


async def test_shows_one_task(simulator: Simulator) -> None:
    await simulator.expect(outcome="fail")
    task_id = await simulator.create()

    shown = (await simulator.http.get(f"/simulator/tasks/{task_id}")).json()

    (row,) = (await simulator.ledger())["data"]
    (truth,) = await simulator.truth()
    assert shown == row | {"state": "fail", "truth": truth}
    assert shown["credits"] == 0


async def test_the_truth_of_a_success(simulator: Simulator) -> None:
    await simulator.expect(fault=["callback-forged-instead", "record-contradicts"], duration=3600)
    task_id = await simulator.create(callBackUrl="http://127.0.0.1:1/a")

    (truth,) = await simulator.truth()

    url = f"{simulator.url}/files/{task_id}.png"
    end = (await simulator.ledger())["data"][0]["createdAt"] + 3600
    assert truth == {
        "taskId": task_id,
        "callBackUrl": "http://127.0.0.1:1/a",
        "model": "google/nano-banana",
        "state": "success",
        "settledAt": end,
        "completeAt": end,
        "credits": 4,
        "failCode": None,
        "failMsg": None,
        "resultUrls": [url],
        "result": {"resultUrls": [url]},
        "costTime": 3600,
        "completeTime": int(end * 1000),
        "faults": ["callback-forged-instead", "record-contradicts"],
    }


async def test_the_truth_of_a_failure(simulator: Simulator) -> None:
    await simulator.expect(outcome="fail", failCode=422, failMsg="Invalid prompt")
    await simulator.create()

    (truth,) = await simulator.truth()

    told = {name: truth[name] for name in ("state", "credits", "failCode", "failMsg")}
    assert told == {"state": "fail", "credits": 0, "failCode": 422, "failMsg": "Invalid prompt"}
    assert (truth["result"], truth["resultUrls"]) == (None, [])


@pytest.mark.parametrize(
    ("fault", "state", "result"),
    [
        ("result-json-null", "success", None),
        ("result-json-empty", "success", None),
        ("result-json-absent", "success", None),
        ("result-without-urls", "success", {"resultUrls": []}),
        ("result-object", "success", {"resultObject": {"text": "a cat", "score": 0.98}}),
        ("result-timeout", "fail", None),
        ("result-word-failed", "fail", None),
    ],
)
async def test_the_truth_of_other_results(
    simulator: Simulator, fault: str, state: str, result: object
) -> None:
    await simulator.expect(fault=fault)
    await simulator.create()

    (truth,) = await simulator.truth()

    assert (truth["state"], truth["result"], truth["resultUrls"]) == (state, result, [])


@pytest.mark.parametrize(
    "fault",
    ["result-urls-text", "result-urls-json-text", "result-json-twice", "result-word-done"],
)
async def test_the_truth_is_the_same_however_it_is_told(simulator: Simulator, fault: str) -> None:
    await simulator.expect(fault=fault)
    task_id = await simulator.create()

    (truth,) = await simulator.truth()

    assert (truth["state"], truth["credits"]) == ("success", 4)
    assert truth["resultUrls"] == [f"{simulator.url}/files/{task_id}.png"]


async def test_the_truth_is_shown_late(simulator: Simulator) -> None:
    await simulator.expect(fault={"record-result-late": {"seconds": 5}})
    await simulator.create()

    (truth,) = await simulator.truth()

    assert truth["completeAt"] == truth["settledAt"] + 5
    assert len(truth["resultUrls"]) == 1


async def test_the_truth_of_what_turns_around(simulator: Simulator) -> None:
    await simulator.expect(fault="result-timeout-then-success")
    await simulator.create()

    (truth,) = await simulator.truth()

    (row,) = (await simulator.ledger())["data"]
    assert truth["settledAt"] - row["createdAt"] == pytest.approx(60)
    assert (truth["state"], truth["credits"], truth["failCode"]) == ("success", 4, None)
    assert (truth["costTime"], len(truth["resultUrls"])) == (60, 1)


async def test_reset_forgets_everything(simulate: Simulate, receiver: Receiver) -> None:
    simulator = await simulate(Options(duration=0, callback_retry_delay=60))
    receiver.answers.append(500)
    task_id = await simulator.create(callBackUrl=receiver.url)
    await simulator.attempts(1)
    await simulator.expect(outcome="fail")

    response = await simulator.http.delete("/simulator/ledger")

    assert response.json() == {"data": [], "balance": 5916.25}
    assert (await simulator.query(task_id))["msg"] == "recordInfo is null"
    assert (await simulator.http.get("/simulator/callbacks")).json() == []
    later = await simulator.create()
    assert (await simulator.finished(later))["data"]["state"] == "success"


async def test_overrides_hold_for_so_many_creates(simulator: Simulator) -> None:
    await simulator.expect(outcome="fail", failCode=433, failMsg=None, count=2)
    await simulator.expect(outcome="success")

    records = [(await simulator.finished(await simulator.create()))["data"] for _ in range(4)]

    states = [record["state"] for record in records]
    assert states == ["fail", "fail", "success", "success"]
    assert [record["failCode"] for record in records] == [433, 433, None, None]
    assert records[0]["failMsg"] is None


async def test_a_refused_create_uses_up_no_override(simulator: Simulator) -> None:
    await simulator.expect(outcome="fail")
    await simulator.post({"model": "no-such-model", "input": {"prompt": "a cat"}})

    record = await simulator.finished(await simulator.create())

    assert record["data"]["state"] == "fail"


async def test_a_duration_can_be_given(simulator: Simulator) -> None:
    await simulator.expect(duration=3600)

    slow = await simulator.create()

    assert (await simulator.query(slow))["data"]["state"] == "waiting"


@pytest.mark.parametrize("task_id", ["task_12345678", "a/b c?d#é*"])
async def test_an_id_can_be_given(simulator: Simulator, task_id: str) -> None:
    await simulator.expect(taskId=task_id, count=2)

    assert await simulator.create() == task_id
    assert await simulator.create() == task_id
    assert (await simulator.finished(task_id))["data"]["taskId"] == task_id
    assert [row["taskId"] for row in (await simulator.ledger())["data"]] == [task_id] * 2


@each(
    "body",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b"\xff",
        b'{"outcom":"fail"}',
        b'{"outcome":"maybe"}',
        b'{"count":0}',
        b'{"count":1000000000}',
        b'{"count":"2"}',
        b'{"duration":-1}',
        b'{"duration":NaN}',
        b'{"duration":Infinity}',
        b'{"taskId":""}',
        rb'{"taskId":"\ud800"}',
    ],
)
async def test_refuses_overrides_it_does_not_understand(simulator: Simulator, body: bytes) -> None:
    response = await simulator.http.post("/simulator/next", content=body)

    assert response.status_code == 400
    assert response.json()["errors"]
