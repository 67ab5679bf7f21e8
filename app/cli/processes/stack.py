"""PostgreSQL, a stand-in kie.ai and the gateway on this machine, as `demo` and `dev` need them."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console

from app import config, log
from app.cli.context import with_services
from app.cli.exits import give_up, reason
from app.cli.identity import operator
from app.cli.processes.subprocesses import (
    Process,
    ProcessFailedError,
    claimed_port,
    is_ready,
    kept_secret,
    process,
)
from app.embedded import EmbeddedUnavailableError, running
from app.services.clients.keys import Issued
from app.store import schema

DURATION = 2.0
"""Seconds that a task runs: long enough to watch."""


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs: where, the key to it, and where its data and logs are."""

    url: str
    simulator_url: str
    issued: Issued
    admin_key: str
    data_dir: Path
    logs: Path
    processes: tuple[Process, ...]


@contextmanager
def started(
    data_dir: Path, *, port: int, console: Console, failure_rate: float = 0.0
) -> Iterator[Stack]:
    """Start everything, and stop it in reverse; ends the command where a part fails."""
    try:
        with _stack(data_dir, port=port, console=console, failure_rate=failure_rate) as stack:
            yield stack
    except (ProcessFailedError, EmbeddedUnavailableError) as error:
        give_up(str(error))


@contextmanager
def _stack(data_dir: Path, *, port: int, console: Console, failure_rate: float) -> Iterator[Stack]:
    log.configure("warning", "console", sys.stderr)
    url = f"http://127.0.0.1:{_port(port)}"
    data_dir = data_dir.expanduser().absolute()
    logs = data_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stopping:
        simulator = stopping.enter_context(
            process("the stand-in kie.ai", logs / "simulator.log", _simulate(failure_rate), {})
        )
        with console.status("starting PostgreSQL"):
            dsn = stopping.enter_context(running(data_dir))
            schema.upgrade(dsn)
        console.print("PostgreSQL is up, its schema migrated")
        simulator_url = simulator.until(simulator.first_line).rpartition(" ")[2]
        console.print(f"a stand-in kie.ai is up at {simulator_url}")
        environment = _environment(data_dir, url, simulator_url)
        gateway = stopping.enter_context(
            process("the gateway", logs / "gateway.log", _serve(url), environment)
        )
        issued = _issue(environment, dsn)
        with console.status("starting the gateway"):
            gateway.until(lambda: is_ready(url))
        console.print(f"the gateway is up at {url}")
        admin_key = environment["GATEWAY_ADMIN_KEY"]
        yield Stack(url, simulator_url, issued, admin_key, data_dir, logs, (simulator, gateway))


def _port(port: int) -> int:
    try:
        return claimed_port(port)
    except OSError as error:
        give_up(f"port {port} cannot be used: {reason(error)}; choose another by --port")


def _simulate(failure_rate: float) -> list[str]:
    arguments = {"--port": 0, "--duration": DURATION, "--failure-rate": failure_rate}
    return ["simulator", *(str(word) for pair in arguments.items() for word in pair)]


def _serve(url: str) -> list[str]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return ["serve", "--host", host, "--port", port]


def _environment(data_dir: Path, url: str, simulator_url: str) -> dict[str, str]:
    """Write the gateway's settings.

    It shares PostgreSQL by its directory, not by a URL: the last user stops the server, and when we
    are killed that is the gateway.
    """
    return {
        "GATEWAY_DATA_DIR": str(data_dir),
        "GATEWAY_PUBLIC_URL": url,
        "GATEWAY_SECRET_KEYS": json.dumps([kept_secret(data_dir / "secret")]),
        "GATEWAY_ADMIN_KEY": kept_secret(data_dir / "admin-key"),
        "GATEWAY_KIE_API_KEY": "simulated",
        "GATEWAY_KIE_BASE_URL": simulator_url,
        "GATEWAY_KIE_UPLOAD_URL": simulator_url,
        "GATEWAY_DELIVERY_ALLOW_LOOPBACK": "true",  # `listen` is on this machine
        "GATEWAY_LOG_FORMAT": "console",
        "GATEWAY_SHUTDOWN_LINGER": "0",  # there is no proxy to notice it
    }


def _issue(environment: Mapping[str, str], dsn: str) -> Issued:
    found = config.load(environment).model_copy(update={"database_url": SecretStr(dsn)})
    return with_services(found, lambda services: services.keys.create("dev", operator=operator()))
