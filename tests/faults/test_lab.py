"""The short form of the fault lab; `make faults` is the long one, see `docs/fault-report.md`.

Which points there are is known only from a recorded run, so each test takes its share of them.
"""

from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from tests.faults.lab import matrix
from tests.faults.lab.course import IN_THE_MIDDLE, LIMIT, LIMITED
from tests.faults.lab.lab import Lab, laboratory
from tests.faults.lab.matrix import NAMED_PAIRS
from tests.faults.lab.noise import REQUESTS_PER_SECOND
from tests.faults.lab.outages import PATIENT, Weather, own_postgres, under
from tests.faults.lab.points import Point, Side
from tests.faults.lab.scenario import Combination, Result

pytestmark = pytest.mark.long

SEED = 20261122
SHARES = 8
"""Tests among which the points of one replica are dealt out."""
OTHERS = 4
"""Points that are tried beside every commit and every message over HTTP."""
BURST = 2.0
"""Seconds' worth of requests that a client has at once."""
CROWDED = 4
"""Clean runs of a crowd: how often a loop commits in one is a matter of what comes together."""
CREATE_ANSWERED = Point(matrix.CREATE, 1, Side.AFTER)
FAULTS = (
    "create-refused-429",
    "create-closed-after-reading",
    "create-cut-off-after-accept",
    "callback-early",
    "callback-dropped",
    "callback-without-result",
    "callback-without-credits",
    "callback-forged-instead",
    "result-timeout-then-success",
    "record-contradicts",
)
PAIRS = (
    "create-refused-429 x before COMMIT since kie createTask",
    "callback-duplicated x before COMMIT since gateway callback",
    "callback-dropped x before COMMIT since kie recordInfo",
    "callback-without-result x after COMMIT since gateway callback",
    "callback-forged-signed x before COMMIT since kie recordInfo",
)


@pytest_asyncio.fixture(scope="module")
async def lab(server: str) -> AsyncIterator[Lab]:
    async with laboratory(server, seed=SEED) as lab:
        yield lab
        assert lab.stage.leaks() == []


@pytest_asyncio.fixture(scope="module")
async def points(lab: Lab) -> Sequence[Point]:
    """The messages of one task's way through one replica."""
    return await lab.record(Combination(group="clean"))


def _check(result: Result) -> None:
    assert [str(finding) for finding in result.findings] == []
    assert not result.missed


@pytest.mark.parametrize("share", range(SHARES))
async def test_killed(share: int, lab: Lab, points: Sequence[Point]) -> None:
    chosen = matrix.telling(points, seed=SEED, others=OTHERS)
    assert len(chosen) > 2 * SHARES
    # Every second one: an even share has what comes before a message, an odd one what comes after.
    for combination in matrix.kills("short", chosen[share :: 2 * SHARES], replicas=1, tasks=1):
        _check(await lab.run(combination))


@pytest.mark.parametrize("share", range(2))
async def test_killed_in_a_crowd(share: int, lab: Lab) -> None:
    recorded = await lab.record(Combination(group="clean", tasks=10), times=CROWDED)
    commits = [point for point in recorded if point.what.startswith(matrix.COMMIT)]
    chosen = [*matrix.sampled(commits, seed=SEED, each=1)[share::4], CREATE_ANSWERED]
    for combination in matrix.kills("short", chosen, replicas=1, tasks=10):
        _check(await lab.run(combination))


@pytest.mark.parametrize("share", range(2))
async def test_one_of_three_killed(share: int, lab: Lab) -> None:
    recorded = await lab.record(Combination(group="clean", replicas=3, tasks=10), times=CROWDED)
    commits = [point for point in recorded if point.what.startswith(matrix.COMMIT)]
    chosen = [*matrix.sampled(commits, seed=SEED, each=1), CREATE_ANSWERED][share::4]
    for combination in matrix.kills("short", chosen, replicas=3, tasks=10):
        _check(await lab.run(combination))


@pytest.mark.parametrize("name", FAULTS)
async def test_fault(name: str, lab: Lab) -> None:
    """A noisy client is beside, with tasks and beyond its limits; nothing but 4xx refuses it."""
    noise = lab.scenario.noise
    for combination in matrix.faults([name], replicas=1, tasks=10):
        noise.answers.clear()
        result = await lab.run(combination)
        _check(result)
        assert noise.is_done
        assert noise.answers.keys() <= {200, 201, 202, 404, 409, 422, 429}
        assert {200, 201, 202, 422} <= noise.answers.keys()
        allowed = REQUESTS_PER_SECOND * (BURST + result.seconds)
        assert 429 in noise.answers or noise.answers.total() <= allowed


@pytest.mark.parametrize("name", PAIRS)
async def test_pair(name: str, lab: Lab) -> None:
    (pair,) = (pair for pair in NAMED_PAIRS if str(pair) == name)
    recorded = await lab.record(Combination(group="clean", faults=pair.faults), times=1)
    _check(await lab.run(matrix.paired(pair, recorded, replicas=1, tasks=5)))


@pytest.mark.parametrize("replicas", [1, 3])
async def test_postgresql_dies_under_load(replicas: int) -> None:
    weather = Weather(stops=1, gap=(2.0, 4.0), callers=8, pause=0.2, seed=SEED)
    with own_postgres() as postgres:
        async with laboratory(postgres.dsn, seed=SEED, **PATIENT) as lab:
            _check(await under(weather, lab, postgres, replicas=replicas))


async def test_the_accounts_limits_hold_while_one_of_three_is_killed(server: str) -> None:
    async with laboratory(server, seed=SEED, **LIMITED) as lab:
        _check(await lab.run(matrix.limited(LIMIT, IN_THE_MIDDLE, replicas=3, windows=1)))
