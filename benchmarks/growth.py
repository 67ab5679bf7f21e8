"""Each hot path among 1,000,000 finished tasks beside 10,000: what it reads, and how long it takes.

`python -m benchmarks.growth [--small N] [--large N] [--queued N] [--keep]`. Both databases are of
one server, seeded by `benchmarks.seed` and with the same work under way; a path is measured in
turns in both, so that what else the machine does falls on both. Buffers are shared ones, hit or
read, by EXPLAIN (ANALYZE, BUFFERS) of every statement that the path sends; times are PostgreSQL's
execution times. An index of more tasks may be one level deeper: a path may read so many pages more
as it descends indexes, and that is told as `deeper`. `--keep` writes docs/performance.md.
"""

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import asyncpg

from app.store.account import sizes
from app.store.connections.engine import Database
from benchmarks import hot, seed
from benchmarks.against.postgres import server
from benchmarks.figures import load
from benchmarks.scene import own_database, say
from tests.store.explained import Plan, Sent, Work, explained, nodes, sent_by

ALLOWED = 1.2
ROUNDS, WARM = 15, 3
EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON)"
ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "build" / "growth.json"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- growth: begin -->", "<!-- growth: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a path took once."""

    buffers: int
    """Pages of 8 KiB."""
    ms: float
    descents: int
    """How often an index was gone down: to look, or to insert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A path at both sizes, by medians."""

    name: str
    buffers: tuple[int, int]
    ms: tuple[float, float]
    descents: int

    @property
    def verdict(self) -> str:
        less, more = self.buffers
        if more <= ALLOWED * less:
            return "ok"
        return "deeper" if more - less <= self.descents else "MISSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A seeded database."""

    pool: Database
    paths: Mapping[str, Work]
    indexes: Mapping[str, int]
    """How many each table has."""


INDEXES = """
SELECT indrelid::regclass::text AS of, count(*) AS count FROM pg_index GROUP BY 1
"""


async def _place(dsn: str, tasks: int) -> Place:
    sql = await asyncpg.connect(dsn)
    try:
        await hot.open_some(sql)
        await sql.execute("VACUUM (ANALYZE)")
        await sql.execute("CHECKPOINT")
        about = await hot.known(sql, tasks)
        counted = {row["of"]: row["count"] for row in await sql.fetch(INDEXES)}
    finally:
        await sql.close()
    return Place(
        pool=Database(dsn, pool_size=1, command_timeout=600),
        paths=hot.hot_paths(about),
        indexes=counted,
    )


async def _queue(dsn: str, pool: Database, queued: int) -> None:
    """Queue so many tasks of one client, and count them as the sweep does each second."""
    sql = await asyncpg.connect(dsn)
    try:
        await sql.execute(hot.QUEUED_OF_ONE, queued)
        async with pool.begin() as connection:
            await sizes.count(connection, hot.CLIENT)
        await sql.execute("VACUUM (ANALYZE)")
    finally:
        await sql.close()


async def _sent(place: Place, name: str) -> Sent:
    async with place.pool.begin() as connection:
        sent = await sent_by(connection, place.paths[name])
        await connection.rollback()
    return sent


async def _cost(place: Place, sent: Sent) -> Cost:
    async with place.pool.begin() as connection:
        told = await explained(connection, sent, EXPLAIN)
        await connection.rollback()
    plans = [one["Plan"] for one in told]
    return Cost(
        buffers=sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans),
        ms=sum(float(one["Execution Time"]) for one in told),
        descents=sum(_descents(node, place) for plan in plans for node in nodes(plan)),
    )


def _descents(node: Plan, place: Place) -> int:
    if node["Node Type"] == "ModifyTable":
        return int(place.indexes.get(node.get("Relation Name", ""), 0)) * _rows(node)
    return int(node["Actual Loops"]) if "Index" in node["Node Type"] else 0


def _rows(node: Plan) -> int:
    return sum(int(part["Actual Rows"] * part["Actual Loops"]) for part in node.get("Plans", ()))


async def _compared(name: str, places: Sequence[Place]) -> Row:
    sent = [await _sent(place, name) for place in places]
    costs: list[list[Cost]] = [[] for _ in places]
    for _ in range(WARM + ROUNDS):
        for place, statements, found in zip(places, sent, costs, strict=True):
            found.append(await _cost(place, statements))
    kept = [found[WARM:] for found in costs]
    small, large = kept[0], kept[-1]
    return Row(
        name=name,
        buffers=(_median(small, "buffers"), _median(large, "buffers")),
        ms=(_ms(small), _ms(large)),
        descents=_median(large, "descents"),
    )


def _median(found: Sequence[Cost], name: str) -> int:
    return int(statistics.median(getattr(cost, name) for cost in found))


def _ms(found: Sequence[Cost]) -> float:
    return statistics.median(cost.ms for cost in found)


async def _measured(dsns: Sequence[str], tasks: Sequence[int], queued: int) -> dict[str, Any]:
    bytes_per_task = [await _sizes(dsn, count) for dsn, count in zip(dsns, tasks, strict=True)]
    places = [await _place(dsn, count) for dsn, count in zip(dsns, tasks, strict=True)]
    try:
        grown = await _each(places[0].paths, places)
        say(f"{queued:,} queued tasks of one client in the larger one")
        await _queue(dsns[1], places[1].pool, queued)
        crowded = await _each(hot.OF_QUEUE, [places[1]])
    finally:
        for place in places:
            await place.pool.dispose()
    before = {row.name: row for row in grown}
    beside = [
        Row(
            name=row.name,
            buffers=(before[row.name].buffers[1], row.buffers[1]),
            ms=(before[row.name].ms[1], row.ms[1]),
            descents=row.descents,
        )
        for row in crowded
    ]
    return {"bytes_per_task": bytes_per_task, "grown": grown, "queued": beside}


async def _each(names: Iterable[str], places: Sequence[Place]) -> list[Row]:
    found = []
    for name in names:
        found.append(await _compared(name, places))
        say(" | ".join(_cells(found[-1])))
    return found


async def _sizes(dsn: str, tasks: int) -> dict[str, float]:
    """Return the bytes per task of each table and index."""
    sql = await asyncpg.connect(dsn)
    try:
        found = await seed.sizes(sql)
    finally:
        await sql.close()
    return {index or table: size / tasks for (table, index), size in found.items()}


# -- telling


def _cells(row: Row) -> tuple[str, ...]:
    (less, more), (quick, slow) = row.buffers, row.ms
    return (
        row.name,
        *(f"{less:,}", f"{more:,}", f"{more / max(1, less):.2f}"),
        *(f"{quick:.2f}", f"{slow:.2f}", f"{slow / quick:.2f}"),
        row.verdict,
    )


def _table(rows: Iterable[Row], left: str, right: str) -> Iterator[str]:
    yield f"| | pages, {left} | {right} | ratio | ms, {left} | {right} | ratio | |"
    yield "| --- | --: | --: | --: | --: | --: | --: | --- |"
    for row in rows:
        yield f"| {' | '.join(_cells(row))} |"
    yield ""


def _tables(result: Mapping[str, Any]) -> Iterator[str]:
    small, large = (f"{tasks:,}" for tasks in result["tasks"])
    yield from _table(result["grown"], small, large)
    queue = f"{result['queued_of_one']:,} of one client"
    yield f"The same among {large} with {queue} queued beside the 900 of all, and without:"
    yield ""
    yield from _table(result["queued"], "without", "with")
    less, more = result["bytes_per_task"]
    yield f"| Bytes per task | of {small} | of {large} |"
    yield "| --- | --: | --: |"
    for name, size in more.items():
        if size >= 1:
            shown = f"**{name}**" if name in seed.TABLES else f"`{name}`"
            yield f"| {shown} | {less[name]:.0f} | {size:.0f} |"
    yield f"| in all | {sum(less.values()):.0f} | {sum(more.values()):.0f} |"
    yield ""
    yield f"PostgreSQL {result['postgres']}, load of the machine {result['load']} on 2 cores."


def _keep(text: str) -> None:
    head, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--queued", type=int, default=10_000, help="of one client")
    parser.add_argument("--keep", action="store_true", help="write the tables into the page")
    given = parser.parse_args()
    tasks = (given.small, given.large)
    with (
        server() as postgres,
        own_database(postgres.dsn) as small,
        own_database(postgres.dsn) as large,
    ):
        for dsn, count in zip((small, large), tasks, strict=True):
            seed.fill(dsn, count)
        began = load()
        found = asyncio.run(_measured((small, large), tasks, given.queued))
    result = {"tasks": tasks, "queued_of_one": given.queued, **found}
    result |= {"postgres": postgres.version, "load": f"{began} to {load()}"}
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(result, indent=1, default=_as_json) + "\n")
    text = "\n".join(_tables(result))
    print(text)
    if given.keep:
        _keep(text)
    return int(any(row.verdict == "MISSED" for row in found["grown"]))


def _as_json(row: Row) -> dict[str, Any]:
    return {**asdict(row), "verdict": row.verdict}


if __name__ == "__main__":
    sys.exit(main())
