"""Lists in the store: order, places and filters, beneath what the edge lets through."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.domain.paging import Filter, Place
from app.domain.task import State
from app.store.connections.engine import Database
from app.store.tasks.lists import LISTED, list_tasks
from tests.store.stage import Sql, put_client, put_task

NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


async def page(
    database: Database,
    client_id: UUID,
    narrowed: Filter | None = None,
    after: Place | None = None,
    limit: int = 100,
) -> list[Mapping[str, Any]]:
    async with database.read() as connection:
        rows, _ = await list_tasks(
            connection, client_id, narrowed or Filter(), after=after, limit=limit
        )
    return [dict(row) for row in rows]


async def put(
    sql: Sql,
    client_id: UUID,
    number: int,
    metadata: Mapping[str, str] | None = None,
    state: State = State.RUNNING,
    **columns: Any,  # of any type
) -> UUID:
    """Store a task `number` seconds after noon, whose id says so too."""
    return await put_task(
        sql,
        client_id,
        state,
        id=UUID(int=number),
        created_at=NOON + number * SECOND,
        metadata=json.dumps(metadata or {}),
        **columns,
    )


async def test_a_row_has_the_answered_columns_in_order(
    database: Database, client_id: UUID, sql: Sql
) -> None:
    await put(sql, client_id, 1)
    (row,) = await page(database, client_id)
    assert tuple(row) == LISTED


async def test_a_page_goes_on_behind_a_place(database: Database, client_id: UUID, sql: Sql) -> None:
    """By instant and then by id, whether or not there is a task at the place itself."""
    ids = [await put(sql, client_id, number) for number in range(1, 6)]
    await sql.execute("UPDATE tasks SET created_at = $1 WHERE id = $2", NOON + 3 * SECOND, ids[3])
    order = [ids[4], ids[3], ids[2], ids[1], ids[0]]
    assert [row["id"] for row in await page(database, client_id)] == order
    for number, row in enumerate(await page(database, client_id)):
        place = Place(created_at=row["created_at"], id=row["id"])
        behind = await page(database, client_id, after=place, limit=2)
        assert [one["id"] for one in behind] == order[number + 1 : number + 3]
    between = Place(created_at=NOON + 2.5 * SECOND, id=UUID(int=0))
    assert [row["id"] for row in await page(database, client_id, after=between)] == order[3:]


@pytest.mark.parametrize(
    ("texts", "max_bytes", "pages"),
    [
        ([10, 10, 10], 1000, [3]),
        ([400, 400, 400], 1000, [2, 1]),
        ([5000, 10, 5000, 10], 1000, [1, 1, 1, 1]),
        ([10, 5000, 10], 1, [1, 1, 1]),
    ],
)
@pytest.mark.parametrize("column", ["input", "result"])
async def test_a_page_ends_before_it_has_too_many_bytes(
    database: Database, sql: Sql, texts: list[int], max_bytes: int, pages: list[int], column: str
) -> None:
    """And has one task at least; every task is met."""
    client_id = await put_client(sql)
    for number, length in enumerate(texts, 1):
        columns: dict[str, Any] = {column: json.dumps({"prompt": "," * length})}
        await put(sql, client_id, number, **columns)
    place: Place | None = None
    sizes, more, met = [], True, []
    while more:
        async with database.read() as connection:
            rows, more = await list_tasks(
                connection,
                client_id,
                Filter(),
                after=place,
                limit=10,
                with_input=True,
                max_bytes=max_bytes,
            )
        sizes.append(len(rows))
        met += [row["id"].int for row in rows]
        place = Place(created_at=rows[-1]["created_at"], id=rows[-1]["id"])
    assert (sizes, met) == (pages, list(range(len(texts), 0, -1)))


async def test_inputs_that_are_not_asked_for_do_not_count(
    database: Database, client_id: UUID, sql: Sql
) -> None:
    for number in range(1, 4):
        await put(sql, client_id, number, input=json.dumps({"prompt": "," * 3_000_000}))
    assert len(await page(database, client_id)) == 3


NARROWED: dict[str, tuple[Filter, set[int]]] = {
    "nothing": (Filter(), {1, 2, 3, 4}),
    "a state": (Filter(states=[State.FAILED]), {3}),
    "states": (Filter(states=[State.FAILED, State.RUNNING]), {1, 2, 3}),
    "a model": (Filter(model="other"), {2}),
    "an empty model": (Filter(model=""), set()),
    "after": (Filter(created_after=NOON + 2 * SECOND), {3, 4}),
    "before": (Filter(created_before=NOON + 2 * SECOND), {1}),
    "a pair": (Filter(metadata={"a": "1"}), {1, 2}),
    "two pairs": (Filter(metadata={"a": "1", "b": "2"}), {2}),
    "a pair that is not there": (Filter(metadata={"a": "3"}), set()),
    "an empty value": (Filter(metadata={"": ""}), {4}),
    "all": (
        Filter(
            states=[State.RUNNING],
            model="other",
            created_after=NOON,
            created_before=NOON + 9 * SECOND,
            metadata={"b": "2"},
        ),
        {2},
    ),
}


@pytest.mark.parametrize("name", NARROWED)
async def test_a_filter_narrows(database: Database, client_id: UUID, sql: Sql, name: str) -> None:
    await put(sql, client_id, 1, {"a": "1"})
    await put(sql, client_id, 2, {"a": "1", "b": "2"}, model="other")
    await put(sql, client_id, 3, {"b": "2", "c": "1"}, State.FAILED)
    await put(sql, client_id, 4, {"": ""}, State.QUEUED)
    await put(sql, await put_client(sql, "another"), 5, {"a": "1", "b": "2"}, model="other")
    narrowed, numbers = NARROWED[name]
    found = [row["id"].int for row in await page(database, client_id, narrowed)]
    assert found == sorted(numbers, reverse=True)
