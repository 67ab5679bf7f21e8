"""Asking where no callback comes: how soon an end is noticed, how often is asked, in whose turn."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

from app.domain.polling import POLLING, next_poll
from benchmarks.creating import CALLS, LATENCY, REAL, SCALED
from benchmarks.figures import Figure, at_most
from benchmarks.scene import Row, Scene, refused, say, started
from benchmarks.stand import percentile

IMAGE = 12.0
"""Seconds that an image takes at kie.ai."""
QUERIES = 10
SIMULATOR = (
    *("--fault", "callback-dropped=1", "--query-latency", "0.2:0.5"),
    *("--queries-per-second", str(QUERIES)),
)
SETTINGS = {"GATEWAY_PUBLIC_URL": "", "GATEWAY_KIE_QUERIES_PER_SECOND": str(QUERIES)}

NOTICED = 3.0
ASKED = 12
TURN = 30.0
WATCHED = 90.0
"""Seconds for which a crowd of running tasks is watched."""
OPEN = ("queued", "submitting", "unconfirmed", "running")


def images(server: str, tasks: int) -> Iterator[Figure]:
    """Create images under the real constants, and hear of each by asking alone."""
    part = f"asking, {tasks} images"
    simulator = [
        *("--creates-per-window", str(CALLS), "--window-seconds", str(REAL)),
        *("--create-latency", "{}:{}".format(*LATENCY), "--duration", str(IMAGE), *SIMULATOR),
    ]
    with started(server, simulator, SETTINGS) as running:

        async def run() -> list[Figure]:
            async with Scene.over(running) as scene:
                caller = await scene.client("alone")
                say(f"{part}: creating")
                await scene.create_many([caller] * tasks)
                await scene.none_in(OPEN, patience=120 + tasks)
                return await _noticed(scene, part)

        yield from asyncio.run(run())


def crowd(server: str, tasks: int) -> Iterator[Figure]:
    """Watch tasks that run and run, more than can be asked about as often as each would like."""
    part = f"asking, {tasks} running"
    simulator = [
        *("--creates-per-window", str(CALLS), "--window-seconds", str(SCALED)),
        *("--duration", "3600", *SIMULATOR),
    ]
    settings = {
        **SETTINGS,
        "GATEWAY_KIE_MAX_RUNNING": "150",
        "GATEWAY_KIE_CREATE_WINDOW": str(SCALED),
    }
    with started(server, simulator, settings) as running:

        async def run() -> list[Figure]:
            async with Scene.over(running) as scene:
                caller = await scene.client("alone")
                await scene.create_many([caller] * tasks)
                await scene.sent(patience=60)
                say(f"{part}: watching for {WATCHED:.0f} s")
                await asyncio.sleep(WATCHED)
                return _turns(
                    part, await scene.simulator("creates"), await scene.simulator("queries")
                )

        yield from asyncio.run(run())


async def _noticed(scene: Scene, part: str) -> list[Figure]:
    queries = await scene.simulator("queries")
    ended = {row["taskId"]: row["createdAt"] + IMAGE for row in await scene.simulator("ledger")}
    rows = await scene.sql.fetch("SELECT kie_task_id, finished_at FROM tasks")
    delays = [row["finished_at"].timestamp() - ended[row["kie_task_id"]] for row in rows]
    asked = _by_task(queries)
    counts = [len(asked[task]) for task in ended]
    return [
        at_most(part, "queries answered 429", refused(queries), 0),
        at_most(part, "from the end to finished_at, p50", percentile(delays, 0.5), NOTICED, " s"),
        Figure(part=part, name="the same, p95", value=f"{percentile(delays, 0.95):.2f} s"),
        at_most(part, "queries of one task, most", max(counts), ASKED),
        Figure(part=part, name="queries of one task, mean", value=f"{_mean(counts):.1f}"),
    ]


def _turns(part: str, creates: Sequence[Row], queries: Sequence[Row]) -> list[Figure]:
    """Compare the gaps between a task's questions with what its clock would have."""
    asked = _by_task(queries)
    end = max(row["arrivedAt"] for row in queries)
    begun = min(row["arrivedAt"] for row in queries)
    late: list[float] = []
    for create in creates:
        instants = [create["arrivedAt"], *asked[create["taskId"]], end]
        late += [
            later - earlier - next_poll(POLLING, earlier - create["arrivedAt"])
            for earlier, later in itertools.pairwise(instants)
        ]
    rate = len(queries) / (end - begun)
    return [
        at_most(part, "queries answered 429", refused(queries), 0),
        at_most(part, "waited beyond its clock, most", max(late), TURN, " s"),
        Figure(part=part, name="the same, p50", value=f"{percentile(late, 0.5):.2f} s"),
        Figure(part=part, name="share of the queries used", value=f"{100 * rate / QUERIES:.1f} %"),
    ]


def _by_task(queries: Sequence[Row]) -> defaultdict[str, list[float]]:
    found: defaultdict[str, list[float]] = defaultdict(list)
    for query in queries:
        found[query["taskId"]].append(query["arrivedAt"])
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
