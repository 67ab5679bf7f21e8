"""How `serve` and `worker` run their application."""

import socket

import structlog
import typer
import uvicorn
from starlette.applications import Starlette

from app.cli.processes.edge import Bounds, edge
from app.cli.processes.server import Server
from app.config import Address, Settings
from app.config.settings import RECORDING
from app.services.services import Services
from app.services.shutdown import Shutdown

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


def run(app: Starlette, listener: socket.socket, command: str, settings: Settings) -> None:
    """Serve until a signal; ends the command with 1 where the application does not start."""
    event = f"{command}.listening"

    def shutdown() -> Shutdown:
        services: Services = app.state.services  # there once started
        return services.shutdown

    server = Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            http=edge(_bounds(settings)),
            ws="none",
            timeout_keep_alive=int(settings.idle_timeout),
        ),
        announce=lambda url: log.info(event, url=url),
        release=lambda: shutdown().begin(),  # not before it is there
        linger=settings.shutdown_linger if command == "serve" else 0,
        patience=lambda: shutdown().left - RECORDING,
    )
    server.run(sockets=[listener])
    if not server.started:
        raise typer.Exit(1)
