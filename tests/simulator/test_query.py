import json

import pytest

from simulator.account import Account, Task
from simulator.bodies import CreateBody
from simulator.server import Options
from tests.simulator.conftest import Simulate
from tests.simulator.shape import sample, shape
from tests.simulator.stage import Simulator
from tests.stage import eventually

STATES = ["waiting", "queuing", "generating", "success"]


def born(account: Account, now: float = 1000.0) -> Task:
    body = CreateBody(model="nano-banana", input='{"prompt":"a cat"}', callback_url=None)
    return account.create(body, "http://test", now)


def account(duration: float = 10.0, failure_rate: float = 0.0, seed: int = 0) -> Account:
    options = Options()
    return Account(
        start_credits=options.start_credits,
        duration=duration,
        failure_rate=failure_rate,
        seed=seed,
    )


@pytest.mark.parametrize(
    ("elapsed", "state"),
    [
        (-5.0, "waiting"),
        (0.0, "waiting"),
        (1.99, "waiting"),
        (2.0, "queuing"),
        (3.99, "queuing"),
        (4.0, "generating"),
        (9.99, "generating"),
        (10.0, "success"),
        (1e9, "success"),
    ],
)
def test_states_follow_the_clock(elapsed: float, state: str) -> None:
    assert born(account()).state(1000.0 + elapsed) == state


def test_a_failure_is_refunded_when_it_shows() -> None:
    bank = account(failure_rate=1)
    before = bank.balance(1000.0)
    task = born(bank)

    assert (task.state(1009.9), bank.balance(1009.9)) == ("generating", before - 4)
    assert (task.state(1010.0), bank.balance(1010.0)) == ("fail", before)
    assert [task.billed(1009.9), task.billed(1010.0)] == [4, 0]
    assert bank.balance(1011.0) == before


def test_the_seed_settles_which_tasks_fail() -> None:
    def failures(bank: Account) -> list[bool]:
        return [born(bank).failure is not None for _ in range(50)]

    bank = account(failure_rate=0.5, seed=1)
    drawn = failures(bank)

    assert 10 < sum(drawn) < 40
    assert failures(account(failure_rate=0.5, seed=1)) == drawn
    assert failures(account(failure_rate=0.5, seed=2)) != drawn
    bank.reset()
    assert failures(bank) == drawn


async def test_states_move_forward_over_http(simulate: Simulate) -> None:
    simulator = await simulate(Options(duration=0.4))
    task_id = await simulator.create()
    seen = []

    async def look() -> bool | None:
        seen.append((await simulator.query(task_id))["data"]["state"])
        return True if seen[-1] == "success" else None

    await eventually(look)
    assert seen == sorted(seen, key=STATES.index)


@pytest.mark.parametrize("number", ["02", "03", "08"])
async def test_answers_while_running_as_live(simulate: Simulate, number: str) -> None:
    simulator = await simulate(Options(duration=60))
    task_id = await simulator.create()

    answer = await simulator.query(task_id)

    wanted = sample(number)
    wanted["data"]["creditsConsumed"] = 4.0  # the older recordings lack it
    assert shape(answer) == shape(wanted)
    assert answer["data"]["state"] == "waiting"
    assert answer["data"]["creditsConsumed"] == 4.0


async def test_answers_a_success_as_live(simulator: Simulator) -> None:
    answer = await simulator.finished(await simulator.create())

    assert shape(answer) == shape(sample("09"))


async def test_answers_a_failure_as_documented(simulator: Simulator) -> None:
    await simulator.expect(outcome="fail", failCode="422", failMsg="Invalid prompt")

    data = (await simulator.finished(await simulator.create()))["data"]

    assert (data["state"], data["failCode"], data["failMsg"]) == ("fail", "422", "Invalid prompt")
    assert (data["resultJson"], data["creditsConsumed"]) == ("", 0)
    documented = sample("13")["data"]
    documented["param"] = data["param"]  # its input is an object there, and a text live
    assert shape({name: data[name] for name in documented}) == shape(documented)
    assert set(data) - set(documented) == {"costTime", "creditsConsumed"}


async def test_times_are_milliseconds_and_the_cost_whole_seconds(simulate: Simulate) -> None:
    simulator = await simulate(Options(duration=1.2))
    task_id = await simulator.create()

    data = (await simulator.finished(task_id))["data"]

    assert data["completeTime"] - data["createTime"] in (1200, 1199, 1201)
    assert data["createTime"] > 1_700_000_000_000
    assert data["costTime"] == 1


@pytest.mark.parametrize("task_id", ["", "unknown", "\x00", "é" * 500])
async def test_does_not_know_other_ids(simulator: Simulator, task_id: str) -> None:
    assert await simulator.query(task_id) == sample("11")


async def test_answers_the_balance_as_live(simulator: Simulator) -> None:
    response = await simulator.http.get("/api/v1/chat/credit")

    assert response.json() == sample("other-03")


async def test_gives_a_link_to_what_it_made(simulate: Simulate) -> None:
    simulator = await simulate(Options(duration=0.05))
    record = await simulator.finished(await simulator.create())
    (url,) = json.loads(record["data"]["resultJson"])["resultUrls"]

    answer = await simulator.http.post("/api/v1/common/download-url", json={"url": url})

    assert answer.json()["code"] == 200
    assert (await simulator.http.get(answer.json()["data"])).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"url":5}', b'{"url":"https://a.test/1.png"}']
)
async def test_gives_no_link_to_anything_else(simulator: Simulator, body: bytes) -> None:
    await simulator.finished(await simulator.create())

    answer = await simulator.http.post("/api/v1/common/download-url", content=body)

    assert answer.json() == sample("other-04")
