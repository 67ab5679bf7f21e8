"""`kie-gateway dev`: everything on this machine until Ctrl-C, to develop against."""

import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import HIGHEST_PORT

if TYPE_CHECKING:
    from app.cli.processes.stack import Stack

LOOK_EVERY = 0.5
LISTENING_URL = "http://127.0.0.1:8200/"
"""Where `kie-gateway listen` listens without options."""


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

    Reads no setting but GATEWAY_DATA_DIR. Prints where everything is, `export`
    lines with an API key, and lines to try it with. While it runs, the export
    lines are also in the file `env` of the data directory. Webhooks may go to
    this machine: see `kie-gateway listen`. Each start issues one more key of
    the client `dev`; earlier ones go on working.

    \b
    kie-gateway dev
    kie-gateway dev --port 0 --data-dir /tmp/kie-gateway
    . .kie-gateway/env && kie-gateway tasks list        in another terminal
    """
    from rich.console import Console

    from app.cli.processes.stack import started

    with (
        started(data_dir, port=port, console=Console(stderr=True)) as stack,
        _environment_file(stack) as file,
    ):
        typer.echo("\n".join(_shown(stack, file)))
        _until_interrupted(stack)


def _exports(stack: "Stack") -> Mapping[str, str]:
    """Return what `tasks`, `deliveries` and `listen` read, and two names for the docs' lines."""
    return {
        "KIE_GATEWAY_URL": stack.url,
        "KIE_GATEWAY_API_KEY": stack.issued.api_key,
        "KIE_GATEWAY_SIGNING_SECRET": stack.issued.signing_secret,
        "KEY": stack.issued.api_key,
        "SIMULATOR": stack.simulator_url,
    }


def _export_lines(stack: "Stack") -> list[str]:
    return [f"export {name}={value}" for name, value in _exports(stack).items()]


@contextmanager
def _environment_file(stack: "Stack") -> Iterator[Path]:
    """Keep the export lines in a file, for our eyes only, as long as they are true."""
    file = stack.data_dir / "env"
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    try:
        file.write_text("".join(f"{line}\n" for line in _export_lines(stack)))
        yield file
    finally:
        file.unlink(missing_ok=True)


def _shown(stack: "Stack", file: Path) -> list[str]:
    body = json.dumps({"model": "google/nano-banana", "input": {"prompt": "a banana in space"}})
    ours = shlex.join(_command())
    return [
        f"console        {stack.url}/console, with the key {stack.admin_key}",
        f"documentation  {stack.url}/docs",
        f"billed         {stack.simulator_url}/simulator/ledger",
        f"logs           {stack.logs}",
        "",
        f"# for another terminal; or: . {shlex.quote(_short(file))}",
        *_export_lines(stack),
        "",
        f"{ours} tasks list",
        "",
        f"# to receive webhooks: run this, and create a task with {LISTENING_URL} as webhook_url",
        f"{ours} listen --secret {stack.issued.signing_secret}",
        "",
        " ".join(
            (
                f"curl -s '{stack.url}/v1/tasks?wait=20'",
                f"-H 'Authorization: Bearer {stack.issued.api_key}'",
                f"-H 'Content-Type: application/json' -d '{body}'",
            )
        ),
    ]


def _command() -> list[str]:
    """Return how this installation's command is called from the current directory."""
    script = Path(sys.executable).with_name("kie-gateway")
    return [_short(script)] if script.exists() else [sys.executable, "-m", "app.cli"]


def _short(path: Path) -> str:
    below = path.parents[1]
    return str(path.relative_to(Path.cwd()) if below.is_relative_to(Path.cwd()) else path)


def _until_interrupted(stack: "Stack") -> None:
    try:
        while True:
            time.sleep(LOOK_EVERY)
            for part in stack.processes:
                part.require_alive()
    except KeyboardInterrupt:
        typer.echo("stopping", err=True)
