"""PostgreSQL dies under load: `pg_ctl stop -m immediate`, and comes back after a crash."""

import asyncio
import contextlib
import itertools
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from app import embedded
from app.embedded import Cluster
from tests.faults.lab.lab import Lab
from tests.faults.lab.matrix import OUTAGES
from tests.faults.lab.patience import passed
from tests.faults.lab.points import Strike
from tests.faults.lab.scenario import Callers, Combination, Result

PATIENT = {"GATEWAY_KIE_TIMEOUT": "10"}
"""A create that takes long because the machine is busy would be an answer lost for no reason."""
RATES = {"create-slow": {"rate": 1, "seconds": 0.3}, "callback-dropped": 0.3}
"""So that creates are under way whenever it dies, and what is not recorded is not told either."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server of the lab's own, to be treated badly."""

    cluster: Cluster
    dsn: str

    async def dies(self, *, away: float) -> None:
        """Stop it as a crash would, and start it again after so many seconds."""
        data = str(self.cluster.data)
        stop = ("pg_ctl", "stop", "-D", data, "-m", "immediate", "-w")
        stopped = await asyncio.to_thread(self.cluster._run, *stop)
        assert stopped.returncode == 0, stopped.stderr
        await passed(away)
        await asyncio.to_thread(self.cluster.start)


@contextlib.contextmanager
def own_postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="kie-lab-pg-") as directory:
        cluster = embedded._prepared(Path(directory) / "postgres", embedded._programs())
        socket = cluster.start()
        port = embedded.PORT
        dsn = f"postgresql://postgres@/{embedded.DATABASE}?host={quote(str(socket))}&port={port}"
        try:
            yield Postgres(cluster, dsn)
        finally:
            cluster.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How often PostgreSQL dies, for how long, and under which load; seconds."""

    stops: int
    gap: tuple[float, float] = (5.0, 40.0)
    away: tuple[float, float] = (0.0, 3.0)
    callers: int = 4
    pause: float = 0.7
    """Between two creates of a caller."""
    seed: int = 0


async def under(weather: Weather, lab: Lab, postgres: Postgres, *, replicas: int) -> Result:
    """Create tasks all the time while PostgreSQL dies and comes back."""
    watch = lab.scenario.crew.watch
    chance = random.Random(weather.seed)  # noqa: S311  # repeatable, no secret

    async def load(callers: Callers, prefix: str) -> None:
        over = asyncio.Event()
        calling = [
            asyncio.create_task(_calls(callers, f"{prefix}{caller}-", weather.pause, over))
            for caller in range(weather.callers)
        ]
        for _ in range(weather.stops):
            await passed(chance.uniform(*weather.gap))
            at = time.time()
            await postgres.dies(away=chance.uniform(*weather.away))
            watch.strikes.append(Strike(at=at, until=time.time()))
        await passed(weather.gap[0])
        over.set()
        await asyncio.gather(*calling)

    combination = Combination(
        group=OUTAGES,
        replicas=replicas,
        rates=RATES,
        title=f"{weather.stops} stops, seed {weather.seed}",
    )
    return await lab.scenario.play(combination, load)


async def _calls(callers: Callers, prefix: str, pause: float, over: asyncio.Event) -> None:
    for number in itertools.count():
        if over.is_set():
            return
        await callers.create(f"{prefix}{number}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await over.wait()
