"""Commands that run a process: serve, worker, migrate, simulator."""

import asyncio
import signal
from decimal import Decimal
from typing import Annotated

import structlog
import typer
import uvicorn

from app.cli.setup import dsn, give_up, require_secret, settings, with_database
from app.config import Settings
from app.domain.errors import DatabaseUnavailableError
from app.main import create_app
from app.simulator.server import Options
from app.simulator.server import run as run_simulator
from app.store import schema
from app.wiring import wired
from app.worker import DRAIN, at_work, loops

log = structlog.get_logger(__name__)


def serve(
    host: Annotated[str | None, typer.Option(help="Address; default: GATEWAY_LISTEN.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; default: GATEWAY_LISTEN.")] = None,
    worker: Annotated[bool, typer.Option(help="Run the worker loops in this process too.")] = True,
) -> None:
    """Serve the API, and the worker loops beside it unless --no-worker.

    \b
    Needs GATEWAY_SECRET_KEYS, GATEWAY_KIE_API_KEY and, outside development, GATEWAY_DATABASE_URL.
    Set GATEWAY_PUBLIC_URL to where kie.ai reaches this gateway; without it the gateway polls.
    """
    found = settings()
    require_secret(found)
    with with_database(found) as ready:
        asyncio.run(_check_schema(ready))
        uvicorn.run(
            create_app(ready, worker=worker),
            host=host or ready.listen.host,
            port=ready.listen.port if port is None else port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(DRAIN),
        )


def worker() -> None:
    """Run the worker loops alone, beside any number of `serve --no-worker`."""
    found = settings()
    require_secret(found)
    with with_database(found) as ready:
        asyncio.run(_work(ready))


def migrate() -> None:
    """Bring the database to the schema of this version. Safe to repeat, safe beside others."""
    with with_database(settings()) as ready:
        try:
            asyncio.run(_reachable(ready))
        except DatabaseUnavailableError as error:
            give_up(f"PostgreSQL does not answer: {error.__cause__}")
        schema.upgrade(dsn(ready))
    typer.echo(f"the schema is at {schema.needed()}")


def simulator(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one and prints it.")] = 8100,
    duration: Annotated[float, typer.Option(help="Seconds that a task runs.")] = 3.0,
    failure_rate: Annotated[float, typer.Option(help="Share of tasks that fail, 0 to 1.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Which of them fail.")] = 0,
    credits_: Annotated[
        str, typer.Option("--credits", help="The account's balance at the start.")
    ] = "5916.25",
    api_key: Annotated[str | None, typer.Option(help="The one right key; none: any key.")] = None,
    hmac_key: Annotated[str | None, typer.Option(help="Signs callbacks; none: unsigned.")] = None,
) -> None:
    """Run a stand-in kie.ai: createTask, recordInfo, credit, callbacks and small real pictures.

    \b
    Point a gateway at it:  GATEWAY_KIE_BASE_URL=http://127.0.0.1:8100
    What it billed:         curl http://127.0.0.1:8100/simulator/ledger
    """
    options = Options(
        api_key=api_key,
        duration=duration,
        failure_rate=failure_rate,
        seed=seed,
        start_credits=Decimal(credits_),
        hmac_key=hmac_key,
    )
    run_simulator(host, port, options)


async def _work(found: Settings) -> None:
    await _check_schema(found)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with (
        wired(found, dsn(found)) as services,
        at_work(services, loops(services, found.kie_queries_per_second)),
    ):
        log.info("worker.started")
        await stop.wait()
        log.info("worker.draining")


async def _check_schema(found: Settings) -> None:
    async with wired(found, dsn(found)) as services:
        try:
            trouble = await services.health.schema_trouble()
        except DatabaseUnavailableError as error:
            give_up(f"PostgreSQL does not answer: {error.__cause__}")
    if trouble is not None:
        give_up(trouble)


async def _reachable(found: Settings) -> None:
    async with wired(found, dsn(found)) as services:
        await services.health.schema_trouble()
