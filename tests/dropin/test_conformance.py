"""The same requests to kie.ai and to the gateway: what differs is listed, with a reason."""

import pytest

from tests.dropin.conftest import Sides
from tests.dropin.differences import unlisted, unseen
from tests.dropin.scenarios import SCENARIOS, Scenario


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_alike(scenario: Scenario, sides: Sides) -> None:
    found = await sides.compared(scenario)
    differs = "\n".join(map(str, unlisted(scenario.name, found)))
    assert not differs, differs
    assert list(unseen(scenario.name, found)) == []
