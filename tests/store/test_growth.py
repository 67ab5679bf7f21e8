"""What benchmarks of growth seed is what the schema holds, and every hot path finds its rows."""

import asyncpg

from app.store.connections.engine import Database
from benchmarks import hot, seed
from tests.store.explained import explained, nodes, sent_by

EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON)"
FINDS = {
    "GET by id": 1,
    "GET by kie.ai's id": 1,
    "list: first page": 1,
    "list: by an order's number": 1,
    "history of a task": 4,
    "deliveries of a task": 1,
}
"""Rows that the last statement returns at least."""


async def test_hot_paths_find_what_was_seeded(fresh: str) -> None:
    await seed.seed(fresh, 60)
    sql = await asyncpg.connect(fresh)
    pool = Database(fresh, pool_size=1)
    try:
        kept = {table: await sql.fetchval(f"SELECT count(*) FROM {table}") for table in COUNTED}  # noqa: S608  # ours
        assert kept == COUNTED
        await hot.open_some(sql)
        found = {}
        for name, work in hot.hot_paths(await hot.known(sql, 60)).items():
            async with pool.begin() as connection:
                sent = await sent_by(connection, work)
                await connection.rollback()
            async with pool.begin() as connection:
                *_, last = await explained(connection, sent, EXPLAIN)
                await connection.rollback()
            assert list(nodes(last["Plan"]))
            found[name] = int(last["Plan"]["Actual Rows"])
        assert {name: rows for name, rows in FINDS.items() if found[name] < rows} == {}
    finally:
        await pool.dispose()
        await sql.close()


COUNTED = {
    **dict.fromkeys(("tasks", "callbacks", "deliveries", "delivery_attempts"), 60),
    **dict.fromkeys(("task_events", "feed"), 240),
}
