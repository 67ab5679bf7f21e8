"""The course of the long form: every combination, one after the other."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from tests.faults.lab import matrix
from tests.faults.lab.lab import Lab, laboratory
from tests.faults.lab.outages import PATIENT, Postgres, Weather, under
from tests.faults.lab.points import Point, Side
from tests.faults.lab.scenario import Combination, Result
from tests.faults.test_named_faults import MADE

LIMIT = 5
LIMITED = {"GATEWAY_KIE_CREATES_PER_10S": str(LIMIT), "GATEWAY_KIE_MAX_RUNNING": str(LIMIT)}
IN_THE_MIDDLE = Point(matrix.CREATE, 3, Side.AFTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be played; `only` is looked for in the names of combinations."""

    replicas: Sequence[int]
    only: re.Pattern[str]
    tasks: int
    seed: int
    stops: int

    @property
    def is_all(self) -> bool:
        return not self.only.pattern and len(self.replicas) > 1


@dataclass
class Bench:
    """Keeps a lab at hand; after a run with findings a new one: what is stuck would disturb."""

    postgres: Postgres
    order: Order
    settings: Mapping[str, str] = field(default_factory=dict)
    leaks: list[str] = field(default_factory=list)
    """Lines of logs that hold a secret."""
    _closing: AsyncExitStack = field(default_factory=AsyncExitStack)
    _lab: Lab | None = None

    async def lab(self) -> Lab:
        if self._lab is None:
            lent = laboratory(self.postgres.dsn, seed=self.order.seed, **self.settings)
            self._lab = await self._closing.enter_async_context(lent)
        return self._lab

    async def record(self, clean: Combination) -> list[Point]:
        return await (await self.lab()).record(clean)

    async def run(self, combination: Combination) -> Result:
        result = await (await self.lab()).run(combination)
        if result.findings:
            await self.close()
        return result

    async def storm(self, weather: Weather, replicas: int) -> Result:
        return await under(weather, await self.lab(), self.postgres, replicas=replicas)

    async def move(self, settings: Mapping[str, str]) -> None:
        """Go on in a new lab with these settings."""
        await self.close()
        self.settings = settings

    async def close(self) -> None:
        self.leaks += self._lab.stage.leaks() if self._lab else []
        self._lab = None
        await self._closing.aclose()


async def everything(bench: Bench, replicas: int) -> AsyncIterator[Result]:
    """Play all that was ordered, with so many replicas."""
    order = bench.order
    clean = Combination(group="clean", replicas=replicas)
    crowd = Combination(group="clean", replicas=replicas, tasks=order.tasks)
    one = await bench.record(clean)
    many = matrix.sampled(await bench.record(crowd), seed=order.seed)
    for combinations in (
        matrix.kills(matrix.ONE_BY_ONE, one, replicas=replicas, tasks=1),
        matrix.kills(matrix.IN_A_CROWD, many, replicas=replicas, tasks=order.tasks),
        matrix.faults(MADE, replicas=replicas, tasks=order.tasks),
    ):
        async for result in _played(bench, combinations):
            yield result
    async for result in _pairs(bench, replicas):
        yield result
    await bench.move(PATIENT)
    if order.only.search(matrix.OUTAGES):
        yield await bench.storm(Weather(stops=order.stops, seed=order.seed), replicas)
    await bench.move(LIMITED)
    async for result in _played(bench, [matrix.limited(LIMIT, IN_THE_MIDDLE, replicas=replicas)]):
        yield result
    await bench.close()


async def _pairs(bench: Bench, replicas: int) -> AsyncIterator[Result]:
    recorded: dict[tuple[str, ...], list[Point]] = {}
    for pair in matrix.NAMED_PAIRS:
        if bench.order.only.search(f"{matrix.PAIRS}: {pair}"):
            if pair.faults not in recorded:
                clean = Combination(group="clean", replicas=replicas, faults=pair.faults)
                recorded[pair.faults] = await bench.record(clean)
            points, tasks = recorded[pair.faults], bench.order.tasks
            yield await bench.run(matrix.paired(pair, points, replicas=replicas, tasks=tasks))


async def _played(bench: Bench, combinations: Sequence[Combination]) -> AsyncIterator[Result]:
    for combination in combinations:
        if bench.order.only.search(str(combination)):
            yield await bench.run(combination)
