"""`kie-gateway tasks`: a caller's view, from a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import simplejson
import typer
from rich.console import Console
from rich.text import Text

from app.cli import stuck
from app.cli.client import CallFailedError, Gateway
from app.cli.context import WRONG_USE, give_up
from app.domain.exact_json import UnreadableDocumentError, parse

app = typer.Typer(
    help="""Create and watch tasks through a running gateway; mend stuck ones.

    create, get, list, cancel and watch act as a caller: they need the URL of
    a running gateway and an API key, and see that key's tasks.

    \b
    export KIE_GATEWAY_URL=https://gateway.internal
    export KIE_GATEWAY_API_KEY=kgw_…
    kie-gateway tasks create --model google/nano-banana \\
        --input '{"prompt": "a banana"}' --watch

    bind, requeue and release are an operator's: they work on the database
    itself (GATEWAY_DATABASE_URL), on any client's task, and are kept in the
    audit. `kie-gateway stuck` shows which tasks need them.
    """,
    no_args_is_help=True,
)

Url = Annotated[
    str, typer.Option("--url", envvar="KIE_GATEWAY_URL", help="Where the gateway listens.")
]
Key = Annotated[
    str,
    typer.Option(
        "--key",
        envvar="KIE_GATEWAY_API_KEY",
        help="An API key, as `kie-gateway keys create` prints it.",
        show_default=False,
    ),
]
TaskId = Annotated[str, typer.Argument(help="The task's id, as `create` prints it.")]
app.command("bind")(stuck.bind)
app.command("requeue")(stuck.requeue)
app.command("release")(stuck.release)

HERE = "http://127.0.0.1:8000"
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
    watch: Annotated[bool, typer.Option(help="Stay, show its progress, exit as watch.")] = False,
    url: Url = HERE,
) -> None:
    """Create a task and print it.

    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY may stand for --url and --key.

    \b
    kie-gateway tasks create --model google/nano-banana \\
        --input '{"prompt": "a banana"}' --watch
    kie-gateway tasks create --model google/nano-banana --input @banana.json
    … | kie-gateway tasks create --model google/nano-banana --input -
    """
    body = {"model": model, "input": _read(input_)}
    with told():
        gateway = Gateway(url, key)
        task = gateway.create(body, idempotency_key)
        if watch:
            task = follow(gateway, task["id"], Console(stderr=True))
    typer.echo(pretty(task))
    if watch:
        _exit_unless_succeeded(task)


@app.command()
def get(task_id: TaskId, key: Key, url: Url = HERE) -> None:
    """Print a task as it is now.

    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY may stand for --url and --key.

    \b
    kie-gateway tasks get 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c
    """
    with told():
        task = Gateway(url, key).task(task_id)
    typer.echo(pretty(task))


@app.command("list")
def list_tasks(
    key: Key,
    state: Annotated[
        list[str] | None, typer.Option(help="Only tasks in this state; repeatable.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only tasks of this model.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    url: Url = HERE,
) -> None:
    """List your tasks, newest first.

    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY may stand for --url and --key.

    \b
    kie-gateway tasks list --state queued --state running
    kie-gateway tasks list --json --limit 200 | jq -r '.[].result_urls[]'
    """
    params: dict[str, Any] = {"limit": limit, "state": state or []}
    if model is not None:
        params["model"] = model
    with told():
        found = Gateway(url, key).tasks(params)
    if as_json:
        typer.echo(pretty(found))
        return
    for task in found:
        created = task["created_at"][:19].replace("T", " ")
        typer.echo(f"{task['id']}  {created}  {task['state']:<11}  {task['model']}")


@app.command()
def cancel(task_id: TaskId, key: Key, url: Url = HERE) -> None:
    """Cancel a task that is still queued, and print it.

    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY may stand for --url and --key.

    \b
    kie-gateway tasks cancel 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c
    """
    with told():
        task = Gateway(url, key).cancel(task_id)
    typer.echo(pretty(task))


@app.command()
def watch(task_id: TaskId, key: Key, url: Url = HERE) -> None:
    """Show a task's progress until it rests, then print it. Exits 1 unless it succeeded.

    Progress goes to stderr, the task to stdout. A gateway that goes away is
    waited for, 30 seconds.
    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY may stand for --url and --key.

    \b
    kie-gateway tasks watch 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c && echo done
    """
    with told():
        task = follow(Gateway(url, key), task_id, Console(stderr=True))
    typer.echo(pretty(task))
    _exit_unless_succeeded(task)


def follow(gateway: Gateway, task_id: str, console: Console) -> dict[str, Any]:
    """Print a line for each change, with a living line below; return the task at rest."""
    task: dict[str, Any] = {}
    with console.status(f"task {task_id}"):
        for task in gateway.watch(task_id):
            console.print(_line(task), soft_wrap=True)
    return task


def _line(task: dict[str, Any]) -> Text:
    """Write what changed: as plain text, for kie.ai's words may look like markup."""
    state = task["state"]
    remarks = [
        f"kie.ai says {task['kie_state']}" if task.get("kie_state") else "",
        f"waits: {task['hold_reason']}" if task.get("hold_reason") else "",
        f"{task['fail_code']}: {task['fail_message']}" if task.get("fail_code") else "",
    ]
    said = ", ".join(remark for remark in remarks if remark)
    return Text.assemble(
        (task["updated_at"][11:23], "dim"),
        " ",
        (f"{state:<11}", f"bold {COLOURS.get(state, 'cyan')}"),
        f" {said}",
    )


def pretty(value: object) -> str:
    """Write JSON for reading, every digit kept."""
    return simplejson.dumps(value, use_decimal=True, ensure_ascii=False, indent=2)


def _exit_unless_succeeded(task: dict[str, Any]) -> None:
    if task["state"] != "succeeded":
        raise typer.Exit(1)


@contextmanager
def told() -> Iterator[None]:
    """End the command with what the gateway said where a call is refused."""
    try:
        yield
    except CallFailedError as error:
        give_up(str(error))


def _read(given: str) -> object:
    try:
        if given == "-":
            return parse(typer.get_binary_stream("stdin").read())
        return parse(Path(given[1:]).read_bytes() if given.startswith("@") else given.encode())
    except (OSError, UnreadableDocumentError) as error:
        give_up(f"--input: {error}", WRONG_USE)
