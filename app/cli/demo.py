"""`kie-gateway demo` and `dev`: everything on this machine, as real processes, without kie.ai."""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from rich.console import Console

from app import config, log
from app.cli.client import CallFailedError, Gateway
from app.cli.context import give_up, reason, with_services
from app.cli.subprocesses import (
    Process,
    ProcessFailedError,
    claimed_port,
    is_ready,
    kept_secret,
    process,
)
from app.cli.tasks import follow, pretty
from app.embedded import EmbeddedUnavailableError, running
from app.services.clients.keys import Issued
from app.store import schema

LOOK_EVERY = 0.5
DURATION = 2.0
"""Seconds that a task runs: long enough to watch."""
HIGHEST_PORT = 65535
LISTENING_URL = "http://127.0.0.1:8200/"
"""Where `kie-gateway listen` is, unless told otherwise."""

EXAMPLE: Mapping[str, Any] = {
    "model": "google/nano-banana-edit",
    "input": {
        "prompt": "turn this photo into a character figure. Behind it, place a box with the "
        "character's image printed on it, and a computer showing the Blender modeling process on "
        "its screen. In front of the box, add a round plastic base with the character figure "
        "standing on it. set the scene indoors if possible",
        "image_urls": [
            "https://file.aiquickdraw.com/custom-page/akr/section-images/1756223420389w8xa2jfe.png"
        ],
        "output_format": "png",
        "image_size": "1:1",
    },
}
"""The vendor's own example of a request."""


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs: where, the key to it, and where its logs are."""

    url: str
    simulator_url: str
    issued: Issued
    logs: Path
    processes: tuple[Process, ...]


def demo(
    fail: Annotated[bool, typer.Option(help="Let the task fail, to see how that looks.")] = False,
) -> None:
    """Run one task to its end: PostgreSQL, a stand-in kie.ai and the gateway, on this machine.

    Needs no settings and heeds none. Nothing is left behind, nothing leaves
    this machine. Progress goes to stderr, the finished task to stdout.
    Exits 0 when it succeeded.

    \b
    kie-gateway demo
    kie-gateway demo | jq -r '.result_urls[]'
    kie-gateway demo --fail
    """
    console = Console(stderr=True)
    with (
        tempfile.TemporaryDirectory(prefix="kie-gateway-demo-") as data_dir,
        _told(),
        _stack(Path(data_dir), port=0, failure_rate=float(fail), console=console) as stack,
    ):
        task = _one_task(stack, console)
    typer.echo(pretty(task))
    if task["state"] != "succeeded":
        give_up(f"the task ended as {task['state']}: {task['fail_message']}")


def dev(
    port: Annotated[
        int,
        typer.Option(min=0, max=HIGHEST_PORT, help="Port of the gateway; 0 takes a free one."),
    ] = 8000,
    data_dir: Annotated[
        Path, typer.Option(envvar="GATEWAY_DATA_DIR", help="Where PostgreSQL keeps its data.")
    ] = Path(".kie-gateway"),
) -> None:
    """Run PostgreSQL, a stand-in kie.ai and the gateway until Ctrl-C. Tasks are kept.

    Heeds no setting but GATEWAY_DATA_DIR. Prints where everything is, an API
    key, and lines to try it with. Webhooks may go to this machine: see
    `kie-gateway listen`. Each start issues one more key of the
    client `dev`; earlier ones go on working.

    \b
    kie-gateway dev
    kie-gateway dev --port 0 --data-dir /tmp/kie-gateway
    """
    console = Console(stderr=True)
    with _told(), _stack(data_dir, port=port, console=console) as stack:
        _show(stack)
        _until_interrupted(stack)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (ProcessFailedError, EmbeddedUnavailableError, CallFailedError) as error:
        give_up(str(error))


def _one_task(stack: Stack, console: Console) -> dict[str, Any]:
    gateway = Gateway(stack.url, stack.issued.api_key)
    console.print(f"POST {stack.url}/v1/tasks  {EXAMPLE['model']}", soft_wrap=True)
    task = follow(gateway, gateway.create(EXAMPLE)["id"], console)
    for callback in reversed(gateway.callbacks(task["id"])):
        console.print(
            f"kie.ai's {callback['source']}: code {callback['code']}, {callback['verdict']}"
        )
    return task


def _show(stack: Stack) -> None:
    body = json.dumps({"model": "google/nano-banana", "input": {"prompt": "a banana in space"}})
    lines = (
        f"documentation  {stack.url}/docs",
        f"billed         {stack.simulator_url}/simulator/ledger",
        f"logs           {stack.logs}",
        "",
        f"export GATEWAY={stack.url}",
        f"export SIMULATOR={stack.simulator_url}",
        f"export KEY={stack.issued.api_key}",
        "",
        "# to hear of tasks: run this, and create one with",
        f"# {LISTENING_URL} as webhook_url",
        f"kie-gateway listen --secret {stack.issued.signing_secret}",
        "",
        " ".join(
            (
                f"curl -s '{stack.url}/v1/tasks?wait=20'",
                f"-H 'Authorization: Bearer {stack.issued.api_key}'",
                f"-H 'Content-Type: application/json' -d '{body}'",
            )
        ),
    )
    typer.echo("\n".join(lines))


def _until_interrupted(stack: Stack) -> None:
    try:
        while True:
            time.sleep(LOOK_EVERY)
            for part in stack.processes:
                part.require_alive()
    except KeyboardInterrupt:
        typer.echo("stopping", err=True)


@contextmanager
def _stack(
    data_dir: Path, *, port: int, console: Console, failure_rate: float = 0.0
) -> Iterator[Stack]:
    """Start everything, and stop it in reverse."""
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
        yield Stack(url, simulator_url, issued, logs, (simulator, gateway))


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

    It shares PostgreSQL by its directory, not by a URL: whoever leaves last stops the server, and
    when we are killed that is the gateway.
    """
    return {
        "GATEWAY_DATA_DIR": str(data_dir),
        "GATEWAY_PUBLIC_URL": url,
        "GATEWAY_SECRET_KEYS": kept_secret(data_dir / "secret"),
        "GATEWAY_KIE_API_KEY": "simulated",
        "GATEWAY_KIE_BASE_URL": simulator_url,
        "GATEWAY_DELIVERY_ALLOW_LOOPBACK": "true",  # `listen` is on this machine
        "GATEWAY_LOG_FORMAT": "console",
    }


def _issue(environment: Mapping[str, str], dsn: str) -> Issued:
    found = config.load(environment).model_copy(update={"database_url": SecretStr(dsn)})
    return with_services(found, lambda services: services.keys.create("dev"))
