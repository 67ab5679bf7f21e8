"""What counts as the trip of a row."""

import uuid
from dataclasses import dataclass

import pytest

from tests import trip
from tests.trip import Entry, Trip, carries

ROW, OTHER = uuid.UUID(int=7), uuid.UUID(int=8)


@dataclass(frozen=True, slots=True)
class Due:
    id: uuid.UUID
    tries: int


def test_a_return_is_coming_back_into_a_module_that_was_left() -> None:
    way = [Entry(module, "f", module != "c") for module in "aabacb"]
    assert (Trip(way).modules, Trip(way).returns) == (3, 2)
    assert (Trip(way).way.modules, Trip(way).way.returns) == (2, 2)


@pytest.mark.parametrize(
    "value",
    [ROW, ROW.hex, f"ask {ROW.hex}", b'{"id":"%s"}' % ROW.hex.encode(), Due(ROW, 1), [{"a": ROW}]],
)
def test_what_has_the_rows_id_carries_the_row(value: object) -> None:
    assert carries(value, {ROW, ROW.hex})


@pytest.mark.parametrize("value", [None, 1, OTHER, "f", Due(OTHER, 1), [[[[ROW]]]], object()])
def test_what_has_not_does_not(value: object) -> None:
    assert not carries(value, {ROW, ROW.hex})


async def test_a_due_row_is_followed_until_it_is_settled(sql: object, dsn: str) -> None:
    assert sql
    found = await trip.followed(dsn)
    assert {"services.tasks.poll", "kie.client", "store.tasks.moves"} <= {
        module for module, _ in found.way.stays
    }
    assert found.way.modules < found.modules
