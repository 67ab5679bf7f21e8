"""Commands that run a process: serve, worker, migrate, simulator."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Annotated

import structlog
import typer
import uvicorn
from typing_extensions import override

from app.cli.setup import (
    dsn,
    give_up,
    reason,
    require_database,
    require_schema,
    require_secret,
    settings,
    with_database,
)
from app.config import Address, Settings
from app.main import create_app
from app.simulator.server import Options
from app.simulator.server import run as run_simulator
from app.store import schema
from app.wiring import wired
from app.worker import DRAIN, at_work, loops

STOPPING = (signal.SIGTERM, signal.SIGINT)
HIGHEST_PORT = 65535

log = structlog.get_logger(__name__)


def serve(
    host: Annotated[str | None, typer.Option(help="Address; default: GATEWAY_LISTEN.")] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=HIGHEST_PORT, help="Port, 0 for any free one; default: GATEWAY_LISTEN."
        ),
    ] = None,
    worker: Annotated[bool, typer.Option(help="Run the worker loops in this process too.")] = True,
) -> None:
    """Serve the API, and the worker loops beside it unless --no-worker.

    Needs GATEWAY_SECRET_KEYS, GATEWAY_KIE_API_KEY and, outside development,
    GATEWAY_DATABASE_URL with this version's schema (`kie-gateway migrate`).
    Set GATEWAY_PUBLIC_URL to where kie.ai reaches this gateway; without it
    the gateway polls.

    \b
    kie-gateway serve                          everything in one process
    kie-gateway serve --no-worker --port 8080  the API, beside `worker`

    SIGTERM refuses new connections, waits for what is on its way to kie.ai,
    and exits 0. Exits 1 when the database or the port cannot be used, 2 when
    the settings cannot.
    """
    found = settings()
    require_secret(found)
    with with_database(found) as ready:
        require_schema(ready)
        listen = Address(host or ready.listen.host, ready.listen.port if port is None else port)
        with _listening(listen) as listener:
            _serve(ready, listener, worker=worker)


def worker() -> None:
    """Run the worker loops alone, beside any number of `serve --no-worker`.

    Needs the settings of `serve`: GATEWAY_SECRET_KEYS, GATEWAY_KIE_API_KEY,
    GATEWAY_DATABASE_URL and GATEWAY_PUBLIC_URL, all the same. Any number may
    run; each task is sent by one of them.

    \b
    kie-gateway serve --no-worker &
    kie-gateway worker

    SIGTERM takes nothing new, waits for what is on its way to kie.ai, and
    exits 0.
    """
    found = settings()
    require_secret(found)
    with with_database(found) as ready:
        require_schema(ready)
        asyncio.run(_work(ready))


def migrate() -> None:
    """Bring the database to the schema of this version. Safe to repeat, safe beside others.

    Needs GATEWAY_DATABASE_URL alone. Run it before the new version is started.

    \b
    kie-gateway migrate
    GATEWAY_DATABASE_URL=postgres://user:…@db:5432/gateway kie-gateway migrate
    """
    with with_database(settings()) as ready:
        require_database(ready)
        schema.upgrade(dsn(ready))
    typer.echo(f"the schema is at {schema.needed()}")


def simulator(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(min=0, max=HIGHEST_PORT, help="Port; 0 takes a free one and prints it."),
    ] = 8100,
    duration: Annotated[float, typer.Option(min=0, help="Seconds that a task runs.")] = 3.0,
    failure_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of tasks that fail, 0 to 1.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Which of them fail.")] = 0,
    credits_: Annotated[
        str, typer.Option("--credits", help="The account's balance at the start.")
    ] = "5916.25",
    api_key: Annotated[str | None, typer.Option(help="The one right key; none: any key.")] = None,
    hmac_key: Annotated[str | None, typer.Option(help="Signs callbacks; none: unsigned.")] = None,
) -> None:
    """Run a stand-in kie.ai: createTask, recordInfo, credit, callbacks and small real pictures.

    Needs no settings: nothing of it costs anything or leaves this machine.
    A gateway is pointed at it by GATEWAY_KIE_BASE_URL=http://127.0.0.1:8100.

    \b
    kie-gateway simulator --duration 1 --failure-rate 0.1
    curl http://127.0.0.1:8100/simulator/ledger      # what it billed
    curl http://127.0.0.1:8100/simulator/next -d '{"outcome": "fail"}'
    """
    options = Options(
        api_key=api_key,
        duration=duration,
        failure_rate=failure_rate,
        seed=seed,
        start_credits=_amount(credits_),
        hmac_key=hmac_key,
    )
    try:
        run_simulator(host, port, options)
    except OSError as error:
        give_up(f"cannot listen on {Address(host, port)}: {reason(error)}")


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        message = f"{text!r} is not an amount such as 5916.25"
        raise typer.BadParameter(message, param_hint="--credits")
    return amount


@contextlib.contextmanager
def _listening(address: Address) -> Iterator[socket.socket]:
    """Open the socket before anything is started: a port in use is one line, not a log to read."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listener = socket.create_server(address, family=family)
    except OSError as error:
        give_up(
            f"cannot listen on {address}: {reason(error)}; "
            "choose another by --port or GATEWAY_LISTEN"
        )
    with listener:
        # asyncio forgets this for sockets made by hand: 40 ms for each answer (measured)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def _serve(ready: Settings, listener: socket.socket, *, worker: bool) -> None:
    server = _Server(
        uvicorn.Config(
            create_app(ready, worker=worker),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(DRAIN),
        )
    )
    server.run(sockets=[listener])
    if not server.started:
        raise typer.Exit(1)


class _Server(uvicorn.Server):
    """Tells where it listens, and ends with 0 when it was told to stop.

    uvicorn's own way is to die of the signal once everything is done, which init systems and tests
    cannot tell from a death halfway.
    """

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in STOPPING:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            host, port, *_ = listener.getsockname()
            log.info("serve.listening", url=f"http://{Address(host, port)}")


async def _work(found: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOPPING:
        loop.add_signal_handler(number, stop.set)
    async with (
        wired(found, dsn(found)) as services,
        at_work(services, loops(services, found.kie_queries_per_second)),
    ):
        log.info("worker.started")
        await stop.wait()
        log.info("worker.draining")
    log.info("worker.stopped")
