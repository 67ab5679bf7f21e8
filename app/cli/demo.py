"""`kie-gateway demo` and `dev`: everything on this machine, as real processes, without kie.ai."""

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from app import config, log
from app.cli.gateway import CallFailedError, Gateway
from app.cli.keys import issue
from app.cli.setup import give_up
from app.cli.tasks import follow, pretty
from app.embedded import EmbeddedUnavailableError, running
from app.services.keys import Issued
from app.store import schema

START_WITHIN = 30.0
STOP_WITHIN = 10.0

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
    """What runs: where, and the key to it."""

    url: str
    simulator_url: str
    issued: Issued


class NotStartedError(Exception):
    """A process of the stack ended or stayed silent; the text says which and shows its log."""


def demo() -> None:
    """Run one task to its end, on this machine alone: PostgreSQL, a stand-in kie.ai, the gateway.

    \b
    Exits 0 when the task succeeded. Nothing is left behind; nothing leaves this machine.
    """
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="kie-gateway-demo-") as data_dir:
        try:
            with _stack(Path(data_dir), port=0, console=console) as stack:
                task = _one_task(stack, console)
        except (NotStartedError, EmbeddedUnavailableError, CallFailedError) as error:
            give_up(str(error))
    typer.echo(pretty(task))
    if task["state"] != "succeeded":
        give_up(f"the task ended as {task['state']}: {task['fail_message']}")


def dev(
    port: Annotated[int, typer.Option(help="Port of the gateway; 0 takes a free one.")] = 8000,
    data_dir: Annotated[
        Path, typer.Option(envvar="GATEWAY_DATA_DIR", help="Where PostgreSQL keeps its data.")
    ] = Path(".kie-gateway"),
) -> None:
    """Run PostgreSQL, a stand-in kie.ai and the gateway until Ctrl-C. Tasks are kept."""
    console = Console(stderr=True)
    try:
        with _stack(data_dir, port=port, console=console) as stack:
            _show(stack)
            _until_interrupted()
    except (NotStartedError, EmbeddedUnavailableError) as error:
        give_up(str(error))


def _one_task(stack: Stack, console: Console) -> dict[str, Any]:
    gateway = Gateway(stack.url, stack.issued.api_key)
    console.print(f"POST {stack.url}/v1/tasks  {EXAMPLE['model']}")
    task = follow(gateway, gateway.create(EXAMPLE)["id"], console)
    for callback in reversed(gateway.callbacks(task["id"])):
        console.print(
            f"kie.ai's {callback['source']}: code {callback['code']}, {callback['verdict']}"
        )
    return task


def _show(stack: Stack) -> None:
    body = json.dumps({"model": "google/nano-banana", "input": {"prompt": "a banana in space"}})
    typer.echo(f"gateway    {stack.url}   (documentation: {stack.url}/docs)")
    typer.echo(
        f"simulator  {stack.simulator_url}   (billed: {stack.simulator_url}/simulator/ledger)"
    )
    typer.echo(f"API key    {stack.issued.api_key}")
    typer.echo("")
    typer.echo(
        f"curl -s '{stack.url}/v1/tasks?wait=20' -H 'Authorization: Bearer {stack.issued.api_key}' "
        f"-H 'Content-Type: application/json' -d '{body}'"
    )


def _until_interrupted() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        typer.echo("stopping", err=True)


@contextmanager
def _stack(data_dir: Path, *, port: int, console: Console) -> Iterator[Stack]:
    """Start everything, and stop it in reverse."""
    log.configure("warning", "console", sys.stderr)
    with ExitStack() as stopping:
        with console.status("starting PostgreSQL"):
            dsn = stopping.enter_context(running(data_dir))
            schema.upgrade(dsn)
        console.print("PostgreSQL is up, its schema migrated")
        logs = stopping.enter_context(_log_dir(data_dir))
        simulator_url = stopping.enter_context(_simulator(logs))
        console.print(f"a stand-in kie.ai is up at {simulator_url}")
        url = f"http://127.0.0.1:{port or _free_port()}"
        environment = _environment(data_dir, dsn, url, simulator_url)
        found = config.load(environment)
        issued = asyncio.run(issue(found, "demo"))
        stopping.enter_context(_gateway(logs, url, environment))
        console.print(f"the gateway is up at {url}")
        yield Stack(url=url, simulator_url=simulator_url, issued=issued)


@contextmanager
def _log_dir(data_dir: Path) -> Iterator[Path]:
    logs = data_dir / "logs"
    logs.mkdir(exist_ok=True)
    yield logs


def _environment(data_dir: Path, dsn: str, url: str, simulator_url: str) -> dict[str, str]:
    return {
        "GATEWAY_DATABASE_URL": dsn,
        "GATEWAY_PUBLIC_URL": url,
        "GATEWAY_SECRET_KEYS": json.dumps([_kept_secret(data_dir / "secret")]),
        "GATEWAY_KIE_API_KEY": "simulated",
        "GATEWAY_KIE_BASE_URL": simulator_url,
        "GATEWAY_LOG_FORMAT": "console",
    }


def _kept_secret(path: Path) -> str:
    """Make the secret once: what it sealed must open in the next run."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32))
    return path.read_text().strip()


@contextmanager
def _simulator(logs: Path) -> Iterator[str]:
    with _process(logs / "simulator.log", ["simulator", "--port", "0"], {}) as process:
        yield _first_line(process, logs / "simulator.log").rpartition(" ")[2]


@contextmanager
def _gateway(logs: Path, url: str, environment: Mapping[str, str]) -> Iterator[None]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    path = logs / "gateway.log"
    with _process(path, ["serve", "--host", host, "--port", port], environment) as process:
        deadline = time.monotonic() + START_WITHIN
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                message = f"the gateway did not start:\n{path.read_text()[-4000:]}"
                raise NotStartedError(message)
            time.sleep(0.05)
        yield


@contextmanager
def _process(
    path: Path, arguments: list[str], environment: Mapping[str, str]
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run one of our own commands, its output in a file; stop it, gently first, at the end."""
    inherited = {n: v for n, v in os.environ.items() if not n.upper().startswith("GATEWAY_")}
    with path.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # our own commands
            [sys.executable, "-m", "app.cli", *arguments],
            env={**inherited, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us alone, and we stop them in order
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _first_line(process: "subprocess.Popen[bytes]", path: Path) -> str:
    deadline = time.monotonic() + START_WITHIN
    while "\n" not in (text := path.read_text()):
        if process.poll() is not None or time.monotonic() > deadline:
            message = f"the stand-in kie.ai did not start:\n{text[-4000:]}"
            raise NotStartedError(message)
        time.sleep(0.05)
    return text.splitlines()[0]


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
