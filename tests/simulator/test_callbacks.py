import base64
import hashlib
import hmac
import itertools
import time
from decimal import Decimal
from typing import Any

import pytest

from simulator.server import Options
from tests.simulator.conftest import Simulate
from tests.simulator.shape import sample, shape
from tests.simulator.stage import Receiver, Simulator


def without_param(body: dict[str, Any]) -> object:
    """The vendor's page has the input as an object in `param`; live it is a text."""
    return shape(body | {"data": body["data"] | {"param": ""}})


async def test_reports_a_success_as_documented(simulator: Simulator, receiver: Receiver) -> None:
    task_id = await simulator.create(callBackUrl=receiver.url)

    ((headers, body),) = await receiver.received()

    assert without_param(body) == without_param(sample("15"))
    assert shape(body["data"]["param"]) == shape(sample("23")["data"]["param"])
    assert body["code"] == 200
    assert body["msg"] == sample("15")["msg"]
    assert body["data"]["taskId"] == task_id
    assert body["data"]["consumeCredits"] == 4
    assert body["data"]["remainedCredits"] == await simulator.balance()
    assert headers["content-type"] == "application/json"
    assert "x-webhook-signature" not in headers


async def test_reports_a_failure_as_documented(simulator: Simulator, receiver: Receiver) -> None:
    await simulator.expect(outcome="fail")
    await simulator.create(callBackUrl=receiver.url)

    ((_, body),) = await receiver.received()

    assert without_param(body) == without_param(sample("16"))
    wanted = {"code": 501, "msg": sample("20")["msg"]}
    assert {name: body[name] for name in wanted} == wanted
    assert body["data"]["consumeCredits"] == 0
    assert body["data"]["remainedCredits"] == 5916.25


async def test_callback_and_query_agree(simulate: Simulate, receiver: Receiver) -> None:
    simulator = await simulate(Options(duration=0.05))
    task_id = await simulator.create(callBackUrl=receiver.url)

    ((_, body),) = await receiver.received()
    record = (await simulator.query(task_id))["data"]

    told = body["data"]
    assert record["creditsConsumed"] == told["consumeCredits"]
    assert {name: record[name] for name in told if name in record} == {
        name: told[name] for name in told if name in record
    }


async def test_signs_id_and_time(simulate: Simulate, receiver: Receiver) -> None:
    simulator = await simulate(Options(duration=0, hmac_key="a key"))
    task_id = await simulator.create(callBackUrl=receiver.url)

    ((headers, _),) = await receiver.received()

    timestamp = headers["x-webhook-timestamp"]
    assert abs(int(timestamp) - time.time()) < 5
    digest = hmac.new(b"a key", f"{task_id}.{timestamp}".encode(), hashlib.sha256).digest()
    assert headers["x-webhook-signature"] == base64.b64encode(digest).decode()


async def test_tries_again_until_the_answer_is_200(
    simulator: Simulator, receiver: Receiver
) -> None:
    receiver.answers.extend([500, 302, 204])
    task_id = await simulator.create(callBackUrl=receiver.url)

    attempts = await simulator.attempts(4)

    assert [attempt["status"] for attempt in attempts] == [500, 302, 204, 200]
    assert [attempt["attempt"] for attempt in attempts] == [1, 2, 3, 4]
    assert {(attempt["taskId"], attempt["url"]) for attempt in attempts} == {
        (task_id, receiver.url)
    }
    bodies = [body for _, body in receiver.requests]
    assert bodies == [bodies[0]] * 4


async def test_waits_longer_each_time(simulate: Simulate, receiver: Receiver) -> None:
    simulator = await simulate(Options(duration=0, callback_retry_delay=0.1))
    receiver.answers.extend([500] * 4)
    await simulator.create(callBackUrl=receiver.url)

    at = [attempt["at"] for attempt in await simulator.attempts(4)]

    waited = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert all(actual >= least for actual, least in zip(waited, (0.1, 0.2, 0.4), strict=True))


async def test_gives_up_after_three_retries(simulate: Simulate, receiver: Receiver) -> None:
    simulator = await simulate(Options(duration=0, callback_retry_delay=0))
    receiver.answers.extend([503] * 4)
    first = await simulator.create(callBackUrl=receiver.url)
    await simulator.attempts(4)

    second = await simulator.create(callBackUrl=receiver.url)

    told = [attempt["taskId"] for attempt in await simulator.attempts(5)]
    assert told == [first] * 4 + [second]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "no url at all",
        "ftp://127.0.0.1/",
        "http://[",
        "http://127.0.0.1:99999999/",
        "http://\ud800/",
        "http://127.0.0.1:1/" + "x" * 100_000,
    ],
    ids=lambda url: repr(url[:24]),
)
async def test_no_answer_is_an_attempt_as_well(simulator: Simulator, url: str) -> None:
    await simulator.create(callBackUrl=url)

    attempts = await simulator.attempts(4)

    assert [attempt["status"] for attempt in attempts] == [None] * 4


async def test_comes_after_the_end_and_its_delay(simulate: Simulate, receiver: Receiver) -> None:
    simulator = await simulate(Options(duration=0.1, callback_delay=0.2))
    await simulator.create(callBackUrl=receiver.url)

    (attempt,) = await simulator.attempts(1)

    (row,) = (await simulator.ledger())["data"]
    assert attempt["at"] - row["createdAt"] >= 0.3


async def test_a_callback_can_be_withheld(simulator: Simulator, receiver: Receiver) -> None:
    await simulator.expect(callback=False)
    withheld = await simulator.create(callBackUrl=receiver.url)
    sent = await simulator.create(callBackUrl=receiver.url)

    await receiver.received()

    assert [body["data"]["taskId"] for _, body in receiver.requests] == [sent]
    assert (await simulator.finished(withheld))["data"]["state"] == "success"


async def test_holds_the_balance_of_that_moment(simulate: Simulate, receiver: Receiver) -> None:
    simulator = await simulate(Options(duration=0, start_credits=Decimal(100)))
    await simulator.expect(duration=0.3)
    await simulator.create(callBackUrl=receiver.url)
    await simulator.create(model="m")

    ((_, body),) = await receiver.received()

    assert body["data"]["remainedCredits"] == 86
