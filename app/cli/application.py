"""How `serve` and `worker` run their application."""

import socket

import structlog
import typer
import uvicorn
from starlette.applications import Starlette

from app.cli.processes.server import Server
from app.config import Address
from app.worker import DRAIN

log = structlog.get_logger(__name__)


def address(setting: Address, host: str | None, port: int | None) -> Address:
    """Return where to listen: as the options say, else as the setting does."""
    return Address(host or setting.host, setting.port if port is None else port)


def run(app: Starlette, listener: socket.socket, command: str) -> None:
    """Serve until a signal; ends the command with 1 where the application does not start."""
    event = f"{command}.listening"
    server = Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(DRAIN),
        ),
        announce=lambda url: log.info(event, url=url),
        release=lambda: app.state.services.waiters.close(),  # noqa: PLW0108  # there once started
    )
    server.run(sockets=[listener])
    if not server.started:
        raise typer.Exit(1)
