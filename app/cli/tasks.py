"""`kie-gateway tasks`: a caller's view, from a terminal."""

from pathlib import Path
from typing import Annotated, Any

import simplejson
import typer
from rich.console import Console

from app.cli.gateway import CallFailedError, Gateway
from app.cli.setup import give_up
from app.domain.document import UnreadableDocumentError, parse

app = typer.Typer(help="Create and watch tasks through a running gateway.", no_args_is_help=True)

Url = Annotated[
    str, typer.Option("--url", envvar="KIE_GATEWAY_URL", help="Where the gateway listens.")
]
Key = Annotated[
    str, typer.Option("--key", envvar="KIE_GATEWAY_API_KEY", help="An API key.", show_default=False)
]
HERE = "http://127.0.0.1:8000"
PALE, BOLD = "dim", "bold"
COLOURS = {"succeeded": "green", "failed": "red", "expired": "red", "canceled": "yellow"}


@app.command()
def create(
    key: Key,
    model: Annotated[str, typer.Option(help="kie.ai's name of the model.")],
    input_: Annotated[
        str, typer.Option("--input", help="JSON, @FILE with JSON, or - for standard input.")
    ],
    idempotency_key: Annotated[
        str | None, typer.Option(help="Repeat with the same key: the same task.")
    ] = None,
    watch: Annotated[bool, typer.Option(help="Stay and show its progress.")] = False,
    url: Url = HERE,
) -> None:
    """Create a task and print it.

    \b
    kie-gateway tasks create --model google/nano-banana --input '{"prompt": "a banana"}' --watch
    """
    try:
        gateway = Gateway(url, key)
        task = gateway.create({"model": model, "input": _read(input_)}, idempotency_key)
        if watch:
            task = follow(gateway, task["id"], Console(stderr=True))
    except CallFailedError as error:
        give_up(str(error))
    typer.echo(pretty(task))


@app.command()
def get(task_id: str, key: Key, url: Url = HERE) -> None:
    """Print a task as it is now."""
    try:
        typer.echo(pretty(Gateway(url, key).task(task_id)))
    except CallFailedError as error:
        give_up(str(error))


@app.command()
def watch(task_id: str, key: Key, url: Url = HERE) -> None:
    """Show a task's progress until it rests, then print it. Exits 1 unless it succeeded."""
    try:
        task = follow(Gateway(url, key), task_id, Console(stderr=True))
    except CallFailedError as error:
        give_up(str(error))
    typer.echo(pretty(task))
    if task["state"] != "succeeded":
        raise typer.Exit(1)


def follow(gateway: Gateway, task_id: str, console: Console) -> dict[str, Any]:
    """Print a line for each change, with a living line below; return the task at rest."""
    task: dict[str, Any] = {}
    with console.status(f"task {task_id}"):
        for task in gateway.watch(task_id):
            console.print(_line(task))
    return task


def _line(task: dict[str, Any]) -> str:
    state = task["state"]
    colour = COLOURS.get(state, "cyan")
    remarks = [
        f"kie.ai says {task['kie_state']}" if task["kie_state"] else "",
        f"waits: {task['hold_reason']}" if task["hold_reason"] else "",
        f"{task['fail_code']}: {task['fail_message']}" if task["fail_code"] else "",
    ]
    said = ", ".join(remark for remark in remarks if remark)
    return f"[{PALE}]{task['updated_at'][11:23]}[/] [{BOLD} {colour}]{state:<11}[/] {said}"


def pretty(value: object) -> str:
    """Write JSON for reading, every digit kept."""
    return simplejson.dumps(value, use_decimal=True, ensure_ascii=False, indent=2)


def _read(given: str) -> object:
    try:
        if given == "-":
            return parse(typer.get_binary_stream("stdin").read())
        return parse(Path(given[1:]).read_bytes() if given.startswith("@") else given.encode())
    except (OSError, UnreadableDocumentError) as error:
        give_up(f"--input: {error}")
