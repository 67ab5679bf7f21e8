"""How `serve` and `worker` run their application."""

import contextlib
import gc
import socket
from collections.abc import Iterator

import structlog
import typer
import uvicorn
from starlette.applications import Starlette

from app.cli.processes.descriptors import MARGIN, raise_limit
from app.cli.processes.edge import Bounds, edge
from app.cli.processes.refusing import Refused
from app.cli.processes.server import Beside, Server, listening
from app.config import Address, Settings
from app.config.conflicts import RECORDING
from app.main import create_monitor
from app.services.services import Services

log = structlog.get_logger(__name__)


def address(setting: Address, host: str | None, port: int | None) -> Address:
    """Return where to listen: as the options say, else as the setting does."""
    return Address(host or setting.host, setting.port if port is None else port)


def _bounds(settings: Settings) -> Bounds:
    return Bounds(
        header_bytes=settings.max_header_bytes,
        header_timeout=settings.header_timeout,
        body_timeout=settings.body_timeout,
        connections=settings.max_connections,
    )


def configuration(app: Starlette, settings: Settings, refused: Refused) -> uvicorn.Config:
    """Return how an application meets the network: within bounds, without a word about itself."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # app/api/forwarded.py does it; uvicorn would believe loopback
        http=edge(_bounds(settings), refused),
        ws="none",
        timeout_keep_alive=int(settings.idle_timeout),
    )


@contextlib.contextmanager
def _beside(app: Starlette, settings: Settings, refused: Refused) -> Iterator[Beside | None]:
    """Open the port of its own for metrics, where there is one."""
    if settings.metrics_listen is None:
        yield None
        return
    with listening(settings.metrics_listen, "GATEWAY_METRICS_LISTEN", option=None) as listener:
        yield Beside(configuration(create_monitor(app), settings, refused), listener)


def run(app: Starlette, listener: socket.socket, command: str, settings: Settings) -> None:
    """Serve until a signal; ends the command with 1 where the application does not start."""
    event = f"{command}.listening"
    raise_limit(settings.max_connections + settings.database_pool_size + MARGIN)

    def services() -> Services:
        found: Services = app.state.services  # there once started, and not before
        return found

    def count(reason: str) -> None:
        services().metrics.refused_at_the_edge(reason)

    def release() -> None:
        services().shutdown.begin()

    refused = Refused(count)
    with _beside(app, settings, refused) as beside:
        server = Server(
            configuration(app, settings, refused),
            announce=lambda url: log.info(event, url=url),
            release=release,
            linger=settings.shutdown_linger if command == "serve" else 0,
            patience=lambda: services().shutdown.left - RECORDING,
            beside=beside,
        )
        # What is there by now stays: no collection has to look at it again.
        gc.collect()
        gc.freeze()
        server.run(sockets=[listener])
    if not server.started:
        raise typer.Exit(1)
