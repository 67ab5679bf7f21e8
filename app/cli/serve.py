"""Commands that run an installation: serve, worker, migrate."""

import socket
from typing import Annotated

import structlog
import typer
import uvicorn
from starlette.applications import Starlette

from app.cli.context import (
    HIGHEST_PORT,
    dsn,
    require_database,
    require_schema,
    require_secret,
    settings,
    upgrade,
    with_database,
)
from app.cli.server import Server, listening
from app.config import Address
from app.main import Surface, create_app, create_worker
from app.store import schema
from app.worker import DRAIN

log = structlog.get_logger(__name__)

Host = Annotated[str | None, typer.Option(help="Address; default: the setting's.")]
Port = Annotated[
    int | None,
    typer.Option(min=0, max=HIGHEST_PORT, help="Port, 0 for any free one; default: the setting's."),
]


def serve(
    host: Host = None,
    port: Port = None,
    worker: Annotated[bool, typer.Option(help="Run the worker loops in this process too.")] = True,
    surface: Annotated[
        Surface,
        typer.Option(help="Which paths: all, all but the callbacks, or the callbacks alone."),
    ] = Surface.ALL,
) -> None:
    """Serve the API, and the worker loops beside it unless --no-worker.

    Needs GATEWAY_SECRET_KEYS, GATEWAY_KIE_API_KEY and, outside development,
    GATEWAY_DATABASE_URL with this version's schema (`kie-gateway migrate`).
    Set GATEWAY_PUBLIC_URL to where kie.ai reaches this gateway; without it
    the gateway polls. Listens at GATEWAY_LISTEN; /livez, /readyz and /metrics
    need no key. With GATEWAY_ADMIN_KEY there is /v1/admin too.

    Only kie.ai's webhook has to be reached from the internet. --surface
    callbacks serves that path and, bare, /livez and /readyz; internal serves
    all the rest.

    \b
    kie-gateway serve                          everything in one process
    kie-gateway serve --no-worker --port 8080  the API, beside `worker`
    kie-gateway serve --surface internal
    kie-gateway serve --surface callbacks --no-worker --port 8080

    SIGTERM refuses new connections, waits for what is on its way to kie.ai,
    and exits 0. Exits 1 when the database or the port cannot be used, 2 when
    the settings cannot.
    """
    found = settings()
    require_secret(found)
    with with_database(found) as ready:
        require_schema(ready)
        listen = _address(ready.listen, host, port)
        with listening(listen, "GATEWAY_LISTEN") as listener:
            _serve(create_app(ready, worker=worker, surface=surface), listener, "serve")


def worker(host: Host = None, port: Port = None) -> None:
    """Run the worker loops alone, beside any number of `serve --no-worker`.

    Needs the settings of `serve`: GATEWAY_SECRET_KEYS, GATEWAY_KIE_API_KEY,
    GATEWAY_DATABASE_URL and GATEWAY_PUBLIC_URL, all the same. Any number may
    run; each task is sent by one of them. Serves /livez, /readyz and /metrics
    at GATEWAY_WORKER_LISTEN: several on one machine need a port each.

    \b
    kie-gateway serve --no-worker &
    kie-gateway worker
    kie-gateway worker --port 0        any free one; worker.listening tells it

    SIGTERM takes nothing new, waits for what is on its way to kie.ai, and
    exits 0. Exits 1 when the database or the port cannot be used, 2 when the
    settings cannot.
    """
    found = settings()
    require_secret(found)
    with with_database(found) as ready:
        require_schema(ready)
        listen = _address(ready.worker_listen, host, port)
        with listening(listen, "GATEWAY_WORKER_LISTEN") as listener:
            _serve(create_worker(ready), listener, "worker")


def migrate() -> None:
    """Bring the database to the schema of this version. Safe to repeat, safe beside others.

    Needs GATEWAY_DATABASE_URL alone. Run it before the new version is started.

    \b
    kie-gateway migrate
    GATEWAY_DATABASE_URL=postgres://user:…@db:5432/gateway kie-gateway migrate
    """
    with with_database(settings()) as ready:
        require_database(ready)
        upgrade(dsn(ready))
    typer.echo(f"the schema is at {schema.needed()}")


def _address(setting: Address, host: str | None, port: int | None) -> Address:
    return Address(host or setting.host, setting.port if port is None else port)


def _serve(app: Starlette, listener: socket.socket, command: str) -> None:
    told = f"{command}.listening"
    server = Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(DRAIN),
        ),
        announce=lambda url: log.info(told, url=url),
        release=lambda: app.state.services.waiters.close(),  # noqa: PLW0108  # it is there once it is started
    )
    server.run(sockets=[listener])
    if not server.started:
        raise typer.Exit(1)
