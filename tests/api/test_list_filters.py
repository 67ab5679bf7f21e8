"""What `GET /v1/tasks` is narrowed to: each filter alone, and all together."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import combinations
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

import pytest
import pytest_asyncio

from app.domain.task import State
from tests.api.stage import Sql
from tests.api.test_list import Params, flat, listed, walked
from tests.gateway import Gateway
from tests.store.stage import put_task

NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)
MODELS = ("m", "google/nano-banana")
ORDERS = ("A-1", "A-2")


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


class Row(NamedTuple):
    id: str
    state: State
    model: str
    order: str
    at: datetime


@pytest_asyncio.fixture
async def rows(gateway: Gateway, sql: Sql) -> list[Row]:  # noqa: ARG001  # it makes the client
    """Store a task of every state, model and order, a second apart; newest first."""
    client_id = await sql.fetchval("SELECT id FROM clients WHERE name = 'tests'")
    kinds = [(state, model, order) for state in State for model in MODELS for order in ORDERS]
    found = []
    for number, (state, model, order) in enumerate(kinds):
        at = NOON + timedelta(seconds=number)
        metadata = f'{{"order": "{order}", "n": "{number}"}}'
        task_id = await put_task(
            sql, client_id, state, model=model, metadata=metadata, created_at=at
        )
        found.append(Row(str(task_id), state, model, order, at))
    return found[::-1]


MIDDLE = NOON + timedelta(seconds=16)
EAST = timezone(timedelta(hours=5, minutes=30))
FILTERS: dict[str, tuple[Params, Any]] = {
    "a state": ([("state", "queued")], lambda row: row.state == "queued"),
    "states": (
        [("state", "failed"), ("state", "canceled")],
        lambda row: row.state in {"failed", "canceled"},
    ),
    "model": ([("model", MODELS[1])], lambda row: row.model == MODELS[1]),
    "after": ([("created_after", MIDDLE.isoformat())], lambda row: row.at > MIDDLE),
    "before": (
        [("created_before", "2026-08-01T12:00:25.000000Z")],
        lambda row: row.at < NOON + timedelta(seconds=25),
    ),
    "metadata": ([("metadata.order", "A-2")], lambda row: row.order == "A-2"),
}
COMBINED = [names for count in range(1, 7) for names in combinations(FILTERS, count)]
COMBINED = [names for names in COMBINED if not {"a state", "states"} <= set(names)]


async def test_filters_narrow_alone_and_together(gateway: Gateway, rows: list[Row]) -> None:
    """Every combination, page by page: what is found is what Python finds."""
    assert len(COMBINED) == 47
    for names in COMBINED:
        params = [pair for name in names for pair in FILTERS[name][0]]
        wanted = [row.id for row in rows if all(FILTERS[name][1](row) for name in names)]
        found = flat(await walked(gateway, *params, ("limit", "5")))
        assert found == wanted, names


@pytest.mark.parametrize(
    "spelled",
    [
        MIDDLE.isoformat().replace("+00:00", "Z"),
        MIDDLE.isoformat().replace("+00:00", "z"),
        MIDDLE.isoformat(),
        MIDDLE.astimezone(EAST).isoformat(),
        f"{MIDDLE:%Y-%m-%dT%H:%M:%S}.000000-00:00",
    ],
)
async def test_an_instant_may_be_told_in_any_zone(
    gateway: Gateway, rows: list[Row], spelled: str
) -> None:
    page = await listed(gateway, [("created_after", spelled)])
    assert [task["id"] for task in page["data"]] == [row.id for row in rows if row.at > MIDDLE]


async def test_a_range_has_no_ends(gateway: Gateway, rows: list[Row]) -> None:
    """Both are strict: consecutive ranges that share an end would else show a task twice."""
    start, end = rows[10].at.isoformat(), rows[8].at.isoformat()
    page = await listed(gateway, [("created_after", start), ("created_before", end)])
    assert [task["id"] for task in page["data"]] == [rows[9].id]


PAIRS = {
    "plain": ("order", "A-1017"),
    "unicode": ("Ключ 🐱", "значение é"),
    "dots": ("a.b..c.", "1.5"),
    "reserved": ("a&b=c?d#e/f+g %2E", "x&y=z+%41 "),
    "quotes": ("'\"\\", "'; DROP TABLE tasks; --"),
    "an empty value": ("k", ""),
    "like a parameter": ("limit", "0"),
    "like a path": ("$.order", "@"),
    "not normalized": ("e\u0301", "e\u0301"),
    "64 and 512": ("k" * 64, "é" * 512),
}


@pytest.mark.parametrize("name", PAIRS)
async def test_a_pair_of_metadata_is_found_as_it_was_given(gateway: Gateway, name: str) -> None:
    key, value = PAIRS[name]
    task = await gateway.create(metadata={key: value, "other": "x"})
    await gateway.create(metadata={key: value[1:] + "x", key[:-1] or "z": value})
    pair, other = (f"metadata.{key}", value), ("metadata.other", "x")
    for params in ([pair], [pair, other]):
        page = await listed(gateway, params)
        assert [one["id"] for one in page["data"]] == [task["id"]]


async def test_failures_are_found_by_whether_they_may_end_otherwise(
    gateway: Gateway, rows: list[Row], sql: Sql
) -> None:
    failed = [row for row in rows if row.state == "failed"]
    for row, retryable in zip(failed, (True, False, None), strict=False):
        await sql.execute("UPDATE tasks SET retryable = $1 WHERE id = $2", retryable, UUID(row.id))
    for place, spelled in enumerate(("true", "false")):
        page = await listed(gateway, [("retryable", spelled)])
        assert [task["id"] for task in page["data"]] == [failed[place].id]
    answer = await gateway.http.get("/v1/tasks?retryable=maybe")
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "retryable")


async def test_a_key_may_be_percent_encoded_throughout(gateway: Gateway) -> None:
    task = await gateway.create(metadata={"a.b": "c d"})
    every = "".join(f"%{byte:02X}" for byte in b"metadata.a.b")
    for query in (f"{every}=c%20d", "metadata.a%2Eb=c+d", f"metadata.{quote('a.b')}=c%20d"):
        answer = await gateway.http.get(f"/v1/tasks?{query}")
        assert [one["id"] for one in answer.json()["data"]] == [task["id"]]


async def test_sixteen_pairs_may_be_asked_for(gateway: Gateway) -> None:
    metadata = {f"k{number}": str(number) for number in range(16)}
    task = await gateway.create(metadata=metadata)
    page = await listed(gateway, [(f"metadata.{key}", value) for key, value in metadata.items()])
    assert [UUID(one["id"]) for one in page["data"]] == [UUID(task["id"])]
