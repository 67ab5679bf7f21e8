"""The harness itself: what it keeps of an answer, and that a side is like itself."""

import pytest

from tests.dropin.compare import diffs
from tests.dropin.scenarios import SCENARIOS, USUAL, Key, Scenario
from tests.dropin.sides import Side, authorization, signature
from tests.each import each

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def test_each_scenario_has_a_name_of_its_own() -> None:
    assert len(BY_NAME) == len(SCENARIOS)


@each("scenario", SCENARIOS)
def test_each_request_has_a_label_of_its_own(scenario: Scenario) -> None:
    labels = [ask.label for ask in scenario.asks]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("scenario", USUAL, ids=lambda scenario: scenario.name)
async def test_a_side_is_like_itself(scenario: Scenario, direct: Side) -> None:
    once = await direct.play(scenario)
    again = await direct.play(scenario)
    assert [str(diff) for diff in diffs(once, again)] == []


async def test_what_is_kept_of_a_task_that_is_told(direct: Side) -> None:
    seen = await direct.play(BY_NAME["success, told"])
    assert seen["create"]["body"]["data"] == {"taskId": "<id 1>", "recordId": "<id 1>"}
    assert seen["record"]["body"]["data"]["resultJson"].held == {"resultUrls": ["<URL>"]}
    (callback,) = seen["callbacks"]
    assert callback["body"]["data"]["taskId"] == "<id 1>"
    assert callback["body"]["data"]["param"].held["callBackUrl"] == "<the caller's URL>"
    assert callback["headers"] == {
        "user-agent": "kie-simulator",
        "content-type": "application/json",
        "x-webhook-timestamp": "unix seconds",
        "x-webhook-signature": "right",
    }


async def test_a_wrong_signature_is_noticed(direct: Side) -> None:
    direct.callback_key = "another"
    seen = await direct.play(BY_NAME["success, told"])
    assert seen["callbacks"][0]["headers"]["x-webhook-signature"] == "wrong"


def test_a_signature_covers_id_and_time() -> None:
    assert signature("key", "a", "1") == signature("key", "a", "1")
    assert len({signature(*each) for each in (("key", "a", "1"), ("k", "a", "1"))}) == 2


@pytest.mark.parametrize("key", Key)
def test_each_key_is_another(key: Key) -> None:
    others = [authorization(other, "right", "other") for other in Key if other is not key]
    assert authorization(key, "right", "other") not in others
