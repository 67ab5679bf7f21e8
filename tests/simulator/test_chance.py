import re
from collections import Counter
from typing import Any

import pytest

from simulator.behaviour import Behaviour
from simulator.chance import Plans, RandomFaults
from simulator.choices import FAULT_RATES
from simulator.faults import FAULTS
from simulator.server import Options, create_app
from tests.each import each
from tests.simulator.conftest import Simulate
from tests.simulator.stage import Receiver, Simulator


def random_faults(settings: dict[str, Any], seed: int = 0) -> RandomFaults:
    drawn = RandomFaults(seed)
    drawn.set(FAULT_RATES.validate_python(settings))
    return drawn


def names(drawn: RandomFaults, count: int) -> list[list[str]]:
    return [[chosen.name for chosen in drawn.draw().values()] for _ in range(count)]


def test_names_are_plain() -> None:
    for name, fault in FAULTS.items():
        assert re.fullmatch("(create|callback|result|record|file)(-[a-z0-9]+)+", name)
        assert fault.name == name
        assert fault.description.endswith(".")
        assert "\n" not in fault.description


def test_the_seed_settles_what_happens() -> None:
    settings = {"callback-dropped": 0.3, "create-slow": 0.2, "record-null": 0.5}
    drawing = random_faults(settings, seed=1)

    drawn = names(drawing, 50)

    assert names(random_faults(settings, seed=1), 50) == drawn
    assert names(random_faults(settings, seed=2), 50) != drawn
    drawing.reset()
    assert names(drawing, 50) == drawn


def test_each_fault_has_its_own_rate() -> None:
    drawing = random_faults(
        {"callback-dropped": 0.1, "callback-late": 0.3, "create-slow": {"rate": 0.2}}
    )

    counts = Counter(name for row in names(drawing, 5000) for name in row)

    assert 430 < counts["callback-dropped"] < 570
    assert 1380 < counts["callback-late"] < 1620
    assert 900 < counts["create-slow"] < 1100


def test_kinds_do_not_disturb_each_other() -> None:
    alone = names(random_faults({"callback-dropped": 0.3}), 100)
    among = names(random_faults({"callback-dropped": 0.3, "create-slow": 0.5}), 100)

    assert ["callback-dropped" in row for row in alone] == [
        "callback-dropped" in row for row in among
    ]


def test_requests_do_not_shift_chance() -> None:
    usual, requested = (Plans(random_faults({"callback-dropped": 0.5})) for _ in range(2))
    requested.expect(Behaviour.model_validate({"fault": []}), 3)

    assert [requested.take().faults for _ in range(3)] == [{}] * 3
    drawn = [usual.take().faults for _ in range(20)][3:]
    assert [requested.take().faults for _ in range(17)] == drawn


def test_certain_and_impossible() -> None:
    assert names(random_faults({"callback-dropped": 1}), 100) == [["callback-dropped"]] * 100
    assert names(random_faults({"callback-dropped": 0}), 100) == [[]] * 100
    tenths = [name for name in FAULTS if name.startswith("callback")][:10]
    assert all(names(random_faults(dict.fromkeys(tenths, 0.1)), 1000))


async def test_options_set_rates(simulate: Simulate, receiver: Receiver) -> None:
    simulator = await simulate(Options(duration=0, faults={"create-refused-429": 1}))

    assert (await simulator.send(callback_url=receiver.url)).json()["code"] == 429


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"faults": {"callback-droped": 0.1}}, "did you mean 'callback-dropped'"),
        ({"faults": {"nonsense": 0.1}}, "there is no fault 'nonsense'"),
        ({"faults": {"callback-dropped": 1.1}}, "less than or equal to 1"),
        ({"faults": {"callback-dropped": 0.6, "callback-late": 0.6}}, "together exceed 1"),
        ({"window_seconds": 0}, "greater than 0"),
        ({"creates_per_window": -1}, "greater than or equal to 0"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        create_app(Options(**options))


async def test_rates_over_http(simulator: Simulator) -> None:
    known = {name: fault.description for name, fault in FAULTS.items()}
    assert (await simulator.http.get("/simulator/faults")).json() == {"set": {}, "known": known}
    wanted = {"callback-dropped": 0.1, "create-slow": {"rate": 1, "seconds": 0.01}}

    shown = await simulator.put("faults", wanted)

    assert shown["set"] == wanted | {"callback-dropped": {"rate": 0.1}}
    await simulator.create()
    assert "create-slow" in (await simulator.ledger())["data"][0]["faults"]
    shown = await simulator.put("faults", {"record-null": 1})
    assert shown["set"] == {"record-null": {"rate": 1}}
    await simulator.http.delete("/simulator/ledger")
    assert (await simulator.query(await simulator.create()))["code"] == 422
    cleared = (await simulator.http.delete("/simulator/faults")).json()
    assert cleared["set"] == {}
    assert (await simulator.query(await simulator.create()))["code"] == 200


async def test_a_request_comes_before_chance(simulator: Simulator) -> None:
    await simulator.put("faults", {"create-refused-429": 1, "callback-dropped": 1})
    await simulator.expect(fault="callback-late")
    await simulator.expect(fault=[])
    await simulator.expect(duration=1)

    codes = [(await simulator.send()).json()["code"] for _ in range(4)]

    assert codes == [200, 200, 429, 429]
    assert [row["faults"] for row in (await simulator.ledger())["data"]] == [["callback-late"], []]


@each(
    "body",
    [
        b"",
        b"[]",
        b'{"callback-droped":0.1}',
        b'{"callback-dropped":"0.1"}',
        b'{"callback-dropped":true}',
        b'{"callback-dropped":-0.1}',
        b'{"callback-dropped":1.1}',
        b'{"callback-dropped":{}}',
        b'{"callback-dropped":{"rate":0.1,"seconds":1}}',
        b'{"callback-late":{"rate":0.1,"seconds":-1}}',
        b'{"callback-late":{"rate":0.1,"seconds":null}}',
        b'{"callback-dropped":0.6,"callback-late":0.6}',
    ],
)
async def test_refuses_rates_that_make_no_sense(simulator: Simulator, body: bytes) -> None:
    await simulator.put("faults", {"callback-late": 0.5})

    response = await simulator.http.put("/simulator/faults", content=body)

    assert response.status_code == 400
    assert response.json()["errors"]
    shown = (await simulator.http.get("/simulator/faults")).json()
    assert shown["set"] == {"callback-late": {"rate": 0.5}}


@each(
    "fault",
    [
        7,
        "",
        "callback-droped",
        [7],
        ["callback-dropped", "callback-late"],
        {"callback-dropped": {"seconds": 1}},
        {"callback-duplicated": {"times": 0}},
        {"callback-duplicated": {"times": None}},
        {"create-slow": {"seconds": None}},
        {"create-slow": {"second": 1}},
        {"create-slow": 1},
    ],
)
async def test_refuses_requests_that_make_no_sense(simulator: Simulator, fault: object) -> None:
    response = await simulator.http.post("/simulator/next", json={"fault": fault})

    assert response.status_code == 400
    assert response.json()["errors"][0]["msg"]


async def test_a_request_that_is_no_create_fault_waits_for_a_task(simulator: Simulator) -> None:
    await simulator.expect(fault="record-null")
    assert (await simulator.post({"model": "no-such-model", "input": {}}))["code"] == 422
    await simulator.put("account", {"runningCap": 0})
    assert (await simulator.send()).json()["code"] == 429
    await simulator.put("account", {"runningCap": None})

    await simulator.create()

    assert (await simulator.ledger())["data"][0]["faults"] == ["record-null"]
    assert [row["faults"] for row in await simulator.creates()] == [[], [], ["record-null"]]
