import asyncio
from decimal import Decimal
from typing import Any

import pytest

from simulator.account import Account
from simulator.bodies import CreateBody, RefusedError
from simulator.faults import OUT_OF_CREDITS
from simulator.limits import Limits, Window
from simulator.server import Options
from tests.simulator.conftest import Simulate
from tests.simulator.stage import Simulator

BODY = {"model": "nano-banana", "input": {"prompt": "a cat"}}
TOO_OFTEN = {"code": 429, "msg": "Called too often, try again later", "data": None}


def account(**limits: Any) -> Account:
    return Account(
        start_credits=Decimal(1000),
        duration=10.0,
        failure_rate=0.0,
        seed=0,
        limits=Limits(**limits),
    )


def accepts(bank: Account, now: float) -> bool:
    try:
        bank.check_limits(now)
    except RefusedError:
        return False
    body = CreateBody(model="nano-banana", input='{"prompt":"a cat"}', callback_url=None)
    bank.create(body, "http://test", now)
    return True


async def codes(simulator: Simulator, count: int) -> list[int]:
    answers = await asyncio.gather(*(simulator.post(BODY) for _ in range(count)))
    return sorted(answer["code"] for answer in answers)


def test_any_window_holds_so_many_creates() -> None:
    bank = account(creates_per_window=3, window_seconds=10.0)
    tried = [0.0, 4.0, 8.0, 9.0, 9.99, 10.0, 10.1, 13.9, 14.0, 18.0, 19.9, 20.0]

    accepted = [now for now in tried if accepts(bank, 1000.0 + now)]

    assert accepted == [0.0, 4.0, 8.0, 10.0, 14.0, 18.0, 20.0]


def test_a_window_is_half_open() -> None:
    window = Window()
    for now in (1.0, 2.0, 2.5):
        window.add(now)

    assert [window.count(now, 2.0) for now in (2.5, 2.99, 3.0, 4.0, 4.5)] == [3, 3, 2, 1, 0]


def test_tasks_at_once_are_capped() -> None:
    bank = account(running_cap=2)

    accepted = [now for now in (0.0, 1.0, 2.0, 9.9, 10.0, 10.5, 11.0) if accepts(bank, now)]

    assert accepted == [0.0, 1.0, 10.0, 11.0]


async def test_a_create_too_many_is_refused_and_not_queued(simulate: Simulate) -> None:
    simulator = await simulate(Options(creates_per_window=4, window_seconds=3600))

    assert await codes(simulator, 10) == [200] * 4 + [429] * 6
    assert await simulator.post(BODY) == TOO_OFTEN

    rows = await simulator.creates()
    assert [row["outcome"] for row in rows].count("accepted") == 4
    assert len(rows) == 11
    assert len((await simulator.ledger())["data"]) == 4


async def test_what_is_refused_for_its_own_sake_does_not_count(simulate: Simulate) -> None:
    simulator = await simulate(Options(creates_per_window=2, window_seconds=3600))
    await simulator.expect(fault="create-refused-500-unknown", count=3)
    for _ in range(3):
        await simulator.post(BODY)
    await simulator.post({"model": "no-such-model", "input": {}})

    assert await codes(simulator, 3) == [200, 200, 429]


async def test_an_accepted_create_counts_whatever_was_answered(simulate: Simulate) -> None:
    simulator = await simulate(Options(creates_per_window=1, window_seconds=3600))
    await simulator.expect(fault="create-500-after-accept")

    assert [(await simulator.post(BODY))["code"] for _ in range(2)] == [500, 429]


async def test_without_a_limit_there_is_none(simulator: Simulator) -> None:
    assert await codes(simulator, 40) == [200] * 40


async def test_queries_per_second(simulate: Simulate) -> None:
    simulator = await simulate(Options(duration=0, queries_per_second=2))
    task_id = await simulator.create()

    answers = [await simulator.query(task_id) for _ in range(3)]

    assert [answer["code"] for answer in answers] == [200, 200, 429]
    assert answers[2] == TOO_OFTEN


async def test_queries_are_shown_refused_or_not(simulate: Simulate) -> None:
    simulator = await simulate(Options(duration=0, queries_per_second=1))
    task_id = await simulator.create()
    for asked in (task_id, "another"):
        await simulator.query(asked)

    rows = (await simulator.http.get("/simulator/queries")).json()["data"]

    assert [(row["taskId"], row["refused"]) for row in rows] == [(task_id, None), ("another", 429)]
    instants = [row["arrivedAt"] for row in rows]
    assert instants == sorted(instants)
    await simulator.http.delete("/simulator/ledger")
    assert (await simulator.http.get("/simulator/queries")).json() == {"data": []}


def test_queries_come_back_after_a_second() -> None:
    bank = account(queries_per_second=1)
    bank.count_query(5.0)
    with pytest.raises(RefusedError):
        bank.count_query(5.9)
    bank.count_query(6.0)


@pytest.mark.parametrize("code", [402, 500])
async def test_a_balance_that_runs_out(simulate: Simulate, code: Any) -> None:
    simulator = await simulate(Options(start_credits=Decimal(8), out_of_credits_code=code))

    answers = [await simulator.post(BODY) for _ in range(3)]

    assert [answer["code"] for answer in answers] == [200, 200, code]
    assert answers[2]["msg"] == OUT_OF_CREDITS
    assert await simulator.balance() == 0


async def test_the_account_can_be_changed(simulator: Simulator) -> None:
    unlimited = {
        "credits": 5916.25,
        "running": 0,
        "createsPerWindow": None,
        "windowSeconds": 10.0,
        "queriesPerSecond": None,
        "runningCap": None,
        "outOfCreditsCode": 402,
    }
    assert (await simulator.http.get("/simulator/account")).json() == unlimited

    changed = await simulator.put("account", {"credits": 6.5, "outOfCreditsCode": 500})

    assert changed == unlimited | {"credits": 6.5, "outOfCreditsCode": 500}
    assert [(await simulator.post(BODY))["code"] for _ in range(2)] == [200, 500]
    await simulator.put("account", {"credits": 4, "runningCap": 1})
    await simulator.expect(duration=60)
    assert [(await simulator.post(BODY))["code"] for _ in range(2)] == [200, 429]
    assert (await simulator.put("account", {"runningCap": None}))["running"] == 1
    await simulator.http.delete("/simulator/ledger")
    assert (await simulator.http.get("/simulator/account")).json() == unlimited


@pytest.mark.parametrize(
    "body",
    [b"", b"7", b'{"credit":1}', b'{"credits":-1}', b'{"runningCap":1.5}', b'{"windowSeconds":0}'],
)
async def test_the_account_refuses_what_it_does_not_understand(
    simulator: Simulator, body: bytes
) -> None:
    response = await simulator.http.put("/simulator/account", content=body)

    assert response.status_code == 400
    assert response.json()["errors"]
