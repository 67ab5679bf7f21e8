"""The lab: a database, a simulator and a crew of its own, for as many runs as are wanted."""

import contextlib
import itertools
import json
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx

from tests.faults.lab.crew import Crew, mustered
from tests.faults.lab.kie import HMAC_KEY, standing_in
from tests.faults.lab.noise import REQUESTS_PER_SECOND, Noise
from tests.faults.lab.patience import until
from tests.faults.lab.points import Point, Side, Watch, common
from tests.faults.lab.scenario import Combination, Hooks, Result, Scenario
from tests.faults.lab.tables import DELIVERY_TIMEOUT, Tables
from tests.gateway import SECRET
from tests.processes.stage import KIE_API_KEY, Stage
from tests.services.callers import listening

TURNS = 4
"""Turns of a loop that are listened to before anything is created."""
RECORDINGS = 2
"""Clean runs: what is not in all of them is chance and no point to kill at."""
TRIES = 3
SETTINGS = {
    "GATEWAY_SECRET_KEYS": json.dumps([SECRET]),
    "GATEWAY_KIE_API_KEY": KIE_API_KEY,
    "GATEWAY_KIE_WEBHOOK_HMAC_KEYS": json.dumps([HMAC_KEY]),
    # Ample: the limits have runs of their own.
    "GATEWAY_KIE_CREATES_PER_10S": "500",
    "GATEWAY_KIE_MAX_RUNNING": "500",
    "GATEWAY_KIE_QUERIES_PER_SECOND": "100",
    "GATEWAY_KIE_TIMEOUT": "3",
    "GATEWAY_SUBMIT_WAIT": "1",
    "GATEWAY_DELIVERY_TIMEOUT": str(DELIVERY_TIMEOUT),
    "GATEWAY_DELIVERY_ALLOW_LOOPBACK": "true",
    "GATEWAY_LISTEN": "127.0.0.1:0",
    "GATEWAY_SHUTDOWN_LINGER": "0",
    "GATEWAY_LOG_LEVEL": "debug",
    "PYTHONHASHSEED": "0",  # every process lists states in its SQL in the same order
}

_databases = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Lab:
    """Records clean runs and plays others."""

    scenario: Scenario
    stage: Stage
    chatter: frozenset[tuple[Side, str]]
    """What the loops say when there is nothing to do."""

    async def record(self, clean: Combination, times: int = RECORDINGS) -> list[Point]:
        """Return the points of runs in which nothing dies, in their order."""
        runs = [(await self.run(clean)).seen for _ in range(times)]
        return common(runs, self.chatter)

    async def run(self, combination: Combination) -> Result:
        """Play it; again where chance had it that the point was not come to."""
        for _ in range(TRIES - 1):
            result = await self.scenario.run(combination)
            if result.findings or not result.missed:
                return result
        return await self.scenario.run(combination)


@contextlib.asynccontextmanager
async def laboratory(
    server: str, *, seed: int = 0, via: str = "", **settings: str
) -> AsyncIterator[Lab]:
    """Lend a lab over a new database of the server at this DSN.

    Its processes connect to the server at the DSN `via`, where there is something between.
    """
    async with contextlib.AsyncExitStack() as closing:
        lend = closing.enter_async_context
        dsn = await lend(_database(server))
        kie = await lend(standing_in(seed))
        logs = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="kie-lab-")))
        stage = Stage(logs, {**SETTINGS, **settings})
        stage.secrets.add(HMAC_KEY)
        migrated = await stage.run("migrate", GATEWAY_DATABASE_URL=dsn)
        assert migrated.status == 0, migrated.err
        api_key, secret = await _client(stage, dsn, "lab")
        noisy, noisys_secret = await _client(stage, dsn, "noisy")
        limit = ("--requests-per-second", str(REQUESTS_PER_SECOND))
        limited = await stage.run("clients", "set", "noisy", *limit, GATEWAY_DATABASE_URL=dsn)
        assert limited.status == 0, limited.err
        tables = Tables(dsn)
        hooks = await lend(listening())
        reached = _named(via, urlsplit(dsn).path) if via else dsn
        crew = Crew(stage, Watch(), reached, await tables.names(), kie.address, hooks.address)
        await lend(mustered(crew))
        http = await lend(_callers(crew.public_url, api_key))
        noise = Noise(await lend(_callers(crew.public_url, noisy)))
        chatter = await _idle(crew)
        heard = Hooks(hooks, (secret, noisys_secret))
        yield Lab(Scenario(crew, kie, tables, http, heard, noise), stage, chatter)


@contextlib.asynccontextmanager
async def _database(server: str) -> AsyncIterator[str]:
    name = f"lab_{os.getpid()}_{next(_databases)}"
    dsn = _named(server, f"/{name}")
    await _administer(server, f"CREATE DATABASE {name}")
    yield dsn
    await _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


def _named(server: str, path: str) -> str:
    """Name another database of a server."""
    own = urlsplit(server).path
    if "?" in server:
        return server.replace(f"{own}?", f"{path}?", 1)
    return server.removesuffix(own) + path


async def _administer(server: str, statement: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _client(stage: Stage, dsn: str, name: str) -> tuple[str, str]:
    """Make a client; returns its key and its signing secret."""
    made = await stage.run("keys", "create", name, "--json", GATEWAY_DATABASE_URL=dsn)
    assert made.status == 0, made.err
    key, secret = made.json["api_key"], made.json["signing_secret"]
    stage.secrets.update({key, secret})
    return key, secret


def _callers(url: str, api_key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url,
        headers={"Authorization": f"Bearer {api_key}"},
        trust_env=False,
        timeout=30,
    )


async def _idle(crew: Crew) -> frozenset[tuple[Side, str]]:
    """Listen to one replica from its start until its loops have come round some times."""
    crew.watch.begin()
    await crew.fill(1)

    def heard() -> Counter[tuple[Side, str]]:
        return Counter((point.side, point.what) for point in crew.watch.seen)

    async def look() -> bool | None:
        return max(heard().values(), default=0) >= TURNS or None

    await until(look)
    return frozenset(heard())
