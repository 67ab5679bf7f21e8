"""Lists and feeds among 20,000 tasks and 40,000 events: by index and in its order.

Nothing about the planner is changed: what is asserted is what production gets.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
import pytest_asyncio

from app.domain.paging import FeedPlace, Filter, Place
from app.domain.task import State
from app.store.connections.engine import Database
from app.store.tasks import events, feed
from app.store.tasks.lists import list_tasks
from app.store.tasks.rows import read_finished
from tests.each import each
from tests.store.explained import Work, plans
from tests.store.stage import Sql
from tests.store.test_plans import SEED, TABLES

CLIENT, TASK = UUID(int=5), UUID(int=7_005)
EVENTS = """
INSERT INTO task_events (task_id, client_id, to_state, attempt)
SELECT id, client_id, 'queued', round
FROM tasks CROSS JOIN generate_series(0, 1) round ORDER BY round, id;
INSERT INTO feed (client_id, position, event_id, token)
SELECT client_id, row_number() OVER (ORDER BY id), id, 0 FROM task_events;
"""
CROWDED = f"{TABLES}, feed"
ORDERED = SEED.replace("'{}', 5,", "jsonb_build_object('order', 'A-' || n, 'shop', 'one'), 5,")


@pytest_asyncio.fixture(scope="module")
async def crowd(sql_connection: Sql, pool: Database) -> AsyncIterator[Database]:
    assert ORDERED != SEED
    await sql_connection.execute(f"TRUNCATE {CROWDED} CASCADE")  # no rows that are dead and counted
    await sql_connection.execute(ORDERED)
    await sql_connection.execute(EVENTS)
    await sql_connection.execute(f"ANALYZE {CROWDED}")
    yield pool
    await sql_connection.execute(f"TRUNCATE {CROWDED} CASCADE")
    await sql_connection.execute(f"ANALYZE {CROWDED}")


def listing(narrowed: Filter, after: Place | None = None) -> Work:
    return lambda connection: list_tasks(connection, CLIENT, narrowed, after=after, limit=50)


NOW = datetime(2100, 1, 1, tzinfo=UTC)
END = Place(created_at=NOW, id=TASK)
IN_ORDER: dict[str, tuple[Work, set[str]]] = {
    "all": (listing(Filter()), {"tasks_listed", "artifacts_pkey"}),
    "the next page": (listing(Filter(), END), {"tasks_listed", "artifacts_pkey"}),
    "a range": (
        listing(Filter(created_after=NOW, created_before=NOW)),
        {"tasks_listed", "artifacts_pkey"},
    ),
    "a state": (
        listing(Filter(states=[State.RUNNING])),
        {"tasks_listed_by_state", "artifacts_pkey"},
    ),
    "a state, the next page": (
        listing(Filter(states=[State.RUNNING]), END),
        {"tasks_listed_by_state", "artifacts_pkey"},
    ),
    "a frequent pair": (
        listing(Filter(metadata={"shop": "one"})),
        {"tasks_listed", "artifacts_pkey"},
    ),
    "the feed": (
        lambda connection: feed.read(
            connection, CLIENT, after=FeedPlace(position=20_000), limit=200
        ),
        {"feed_pkey", "task_events_pkey"},
    ),
    "the feed from its beginning": (
        lambda connection: feed.read(connection, CLIENT, after=FeedPlace(), limit=200),
        {"feed_pkey", "task_events_pkey"},
    ),
    "a place in the feed": (
        lambda connection: feed.knows(connection, CLIENT, FeedPlace(position=20_000)),
        {"feed_pkey"},
    ),
}


@each(("work", "indexes"), IN_ORDER.values())
async def test_it_goes_by_its_index_without_a_sort(
    crowd: Database, work: Work, indexes: set[str]
) -> None:
    ((*found,),) = await plans(crowd, work)
    assert {node["Index Name"] for node in found if "Index Name" in node} == indexes
    read = {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"}
    assert read <= {"feed_writer"}  # of one row
    assert {node["Node Type"] for node in found} & {"Sort", "Incremental Sort"} == set()


async def test_numbering_reads_what_is_new_and_the_gaps_by_index(
    crowd: Database, sql_connection: Sql
) -> None:
    await sql_connection.execute(
        "UPDATE feed_writer SET holder = NULL, position = 100000, seen = last - 5,"
        " gaps = int8multirange(int8range(first, first + 1))"
        " FROM (SELECT min(id) AS first, max(id) AS last FROM task_events) ids"
    )
    ((*found,),) = await plans(
        crowd, lambda connection: feed.number(connection, TASK, lease=3, limit=1000)
    )
    scans = [node for node in found if node.get("Relation Name") == "task_events"]
    assert [node["Index Name"] for node in scans] == ["task_events_pkey"] * 2


SELECTIVE: dict[str, tuple[Work, set[str]]] = {
    "a history": (
        lambda connection: events.read_history(connection, TASK, after=0, limit=200),
        {"task_events_task"},
    ),
    "a rare pair": (listing(Filter(metadata={"order": "A-7005"})), {"tasks_metadata"}),
    "a rare pair in a state": (
        listing(Filter(metadata={"order": "A-7005"}, states=[State.RUNNING])),
        {"tasks_metadata"},
    ),
    "the final ones of many": (
        lambda connection: read_finished(connection, [UUID(int=n) for n in range(1, 300)]),
        {"tasks_pkey"},
    ),
}


@pytest.mark.parametrize(("work", "indexes"), SELECTIVE.values(), ids=SELECTIVE.keys())
async def test_few_rows_are_found_by_index(crowd: Database, work: Work, indexes: set[str]) -> None:
    ((*found,),) = await plans(crowd, work)
    assert indexes <= {node["Index Name"] for node in found if "Index Name" in node}
    assert "Seq Scan" not in {node["Node Type"] for node in found}


@pytest.mark.parametrize("states", [[State.RUNNING, State.QUEUED], list(State)])
async def test_several_states_do_not_read_all(crowd: Database, states: list[State]) -> None:
    ((*found,),) = await plans(crowd, listing(Filter(states=states)))
    assert {node["Node Type"] for node in found} & {"Seq Scan"} == set()


async def test_the_crowd_is_really_there(crowd: Database) -> None:
    """What is explained finds rows: an empty table would be read by index as well."""
    async with crowd.read() as connection:

        async def count(narrowed: Filter) -> int:
            found, _ = await list_tasks(connection, CLIENT, narrowed, after=END, limit=50)
            return len(found)

        assert await count(Filter()) == 50
        assert await count(Filter(states=[State.RUNNING])) == 50
        assert await count(Filter(metadata={"order": "A-7005"})) == 1
        after = FeedPlace(position=20_000)
        assert len(await events.read_history(connection, TASK, after=0, limit=200)) == 2
        found = await feed.read(connection, CLIENT, after=after, limit=200)
    assert len({row["task_id"] for row in found}) == 200
