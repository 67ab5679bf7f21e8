"""What a database goes through, one event after the other: nothing lost, nothing paid twice.

`python -m tests.faults.database` writes what came of each to a table.
"""

import pytest

from tests.faults.database import table
from tests.faults.database.drill import drill
from tests.faults.database.events import EVENTS, NO_LOSS
from tests.faults.database.grounds import NotHereError

pytestmark = pytest.mark.long
SEED = 20261128


@pytest.mark.parametrize("name", NO_LOSS)
async def test_work_goes_on_by_itself(name: str) -> None:
    try:
        outcome = await drill(EVENTS[name], SEED)
    except NotHereError as error:
        pytest.skip(str(error))
    assert table.broken(outcome) == []
