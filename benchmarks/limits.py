"""What the limits cost a GET: CPU with them and without, side by side in one process.

`python -m benchmarks.limits [pairs]`. The app is called by ASGI, so that no client's and no
server's work hides the difference; PostgreSQL is real. Without means: no bucket and no headers.
Either way the key was looked up a moment ago, as nearly all are.
"""

import asyncio
import gc
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import asyncpg
from fastapi import FastAPI
from pydantic import SecretStr

from app.api import middleware
from app.config import Settings
from app.domain.access import Caller
from app.main import create_app
from app.services.services import Services
from benchmarks.costs import BACKEND, cpu
from benchmarks.figures import Figure, at_most
from benchmarks.stand import SECRET, database, numbers
from tests.gateway import OPERATOR

PAIRS = 3000
"""GETs with limits, each beside one without: what else the machine does slows both alike."""
WARM = 100
BOUND = 5.0
"""Per cent."""


class Uncounted:
    """A request that nobody counts."""

    def require(self) -> None:
        """Refuse nothing."""


class Unlimited:
    """Counts nothing."""

    uncounted = Uncounted()

    def still_over(self, _: bytes) -> None:
        """Know nothing of anybody."""

    def count(self, _: Caller, __: bytes) -> Any:  # noqa: ANN401  # it stands for a `Count`
        return self.uncounted


@contextmanager
def without(services: Services) -> Iterator[None]:
    """Take the limits out for the length of the block."""
    with (
        patch.object(services.authentication, "_limits", Unlimited()),
        patch.object(middleware, "COUNT", "counted by nobody"),
    ):
        yield


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of CPU for one GET: ours, and PostgreSQL's."""

    own: float
    server: float

    @property
    def together(self) -> float:
        return self.own + self.server


async def _cost(app: FastAPI, scope: dict[str, Any], backend: int) -> Cost:
    own, server = time.process_time(), cpu(backend)
    await _get(app, scope)
    return Cost(1000 * (time.process_time() - own), 1000 * (cpu(backend) - server))


async def _get(app: FastAPI, scope: dict[str, Any]) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:  # noqa: ANN401  # ASGI's
        assert message.get("status", 200) == 200, message  # noqa: PLR2004

    await app({**scope, "state": {}}, receive, send)


async def _measured(dsn: str, count: int) -> list[Figure]:
    settings = Settings(
        database_url=SecretStr(dsn),
        secret_keys=(SecretStr(SECRET),),
        allow_unsafe_fsync=True,
        client_requests_per_second=100_000,
        submit_wait=0,
        database_pool_size=1,
    )
    app = create_app(settings, worker=False)
    async with app.router.lifespan_context(app):
        services: Services = app.state.services
        scope = await _scope(services)
        sql = await asyncpg.connect(dsn)
        backend = await sql.fetchval(f"{BACKEND} AND datname = current_database()")
        await sql.close()
        pairs: list[tuple[Cost, Cost]] = []
        gc.disable()
        for number in range(WARM + count):
            limited = await _cost(app, scope, backend)
            with without(services):
                free = await _cost(app, scope, backend)
            if number >= WARM:
                pairs.append((limited, free))
    return [figure for name in ("own", "server", "together") for figure in _told(name, pairs)]


async def _scope(services: Services) -> dict[str, Any]:
    """Return the request: a GET of one task by its client's key."""
    key = (await services.keys.create("bench", operator=OPERATOR)).api_key
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/tasks",
        "raw_path": b"/v1/tasks",
        "root_path": "",
        "query_string": b"limit=1",
        "headers": [(b"host", b"gateway"), (b"authorization", f"Bearer {key}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }


def _told(name: str, pairs: list[tuple[Cost, Cost]]) -> Iterator[Figure]:
    part = "limits, GET"
    limited = statistics.median(getattr(one, name) for one, _ in pairs)
    free = statistics.median(getattr(one, name) for _, one in pairs)
    yield Figure(part=part, name=name, value=f"{limited:.3f} ms, {free:.3f} without")
    more = 100 * (limited / free - 1)
    bounded = name == "together"
    yield (
        at_most(part, f"{name}, more", more, BOUND, " %")
        if bounded
        else Figure(part=part, name=f"{name}, more", value=f"{more:.4g} %")
    )


def main(count: int) -> None:
    with database() as dsn:
        for figure in asyncio.run(_measured(dsn, count)):
            print(f"{figure.part:12} {figure.name:16} {figure.value:32} {figure.bound}")


if __name__ == "__main__":
    main(*numbers(__doc__, pairs=PAIRS))
