"""`kie-gateway tasks`: a caller's view, from a terminal."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.callers.client import Gateway, calling
from app.cli.exits import WRONG_USE, give_up
from app.cli.operators import recovery, review
from app.cli.options import HERE, AsJson, Key, Url
from app.cli.output import pretty
from app.domain.exact_json import UnreadableDocumentError, parse

app = typer.Typer(
    help="""Create and watch tasks through a running gateway; fix stuck ones.

    create, get, list, cancel and watch act as a caller: they need the URL of
    a running gateway and an API key, and see that key's tasks.

    \b
    export KIE_GATEWAY_URL=https://gateway.internal
    export KIE_GATEWAY_API_KEY=kgw_…
    kie-gateway tasks create --model google/nano-banana \\
        --input '{"prompt": "a banana"}' --watch

    bind, requeue and release are for operators: they work on the database
    itself (GATEWAY_DATABASE_URL), on any client's task, and are recorded in
    the audit. `kie-gateway stuck` shows which tasks need them.
    """,
    no_args_is_help=True,
)

TaskId = Annotated[str, typer.Argument(help="The task's id, as `create` prints it.")]
app.command("review")(review.review)
app.command("bind")(recovery.bind)
app.command("requeue")(recovery.requeue)
app.command("release")(recovery.release)


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
    watch: Annotated[
        bool, typer.Option(help="Stay, show its progress, exit as `watch` does.")
    ] = False,
    url: Url = HERE,
) -> None:
    """Create a task and print it.

    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY can be set instead of --url, --key.

    \b
    kie-gateway tasks create --model google/nano-banana \\
        --input '{"prompt": "a banana"}' --watch
    kie-gateway tasks create --model google/nano-banana --input @banana.json
    … | kie-gateway tasks create --model google/nano-banana --input -
    """
    body = {"model": model, "input": _read(input_)}
    with calling(url, key) as gateway:
        task = gateway.create(body, idempotency_key)
        if watch:
            task = _follow(gateway, task["id"])
    typer.echo(pretty(task))
    if watch:
        _exit_unless_succeeded(task)


@app.command()
def get(task_id: TaskId, key: Key, url: Url = HERE) -> None:
    """Print a task as it is now.

    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY can be set instead of --url, --key.

    \b
    kie-gateway tasks get 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c
    """
    with calling(url, key) as gateway:
        task = gateway.task(task_id)
    typer.echo(pretty(task))


@app.command("list")
def list_tasks(
    key: Key,
    state: Annotated[
        list[str] | None, typer.Option(help="Only tasks in this state; repeatable.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only tasks of this model.")] = None,
    fail_class: Annotated[
        str | None, typer.Option(help="Only failures of this kind, such as content or timeout.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 20,
    as_json: AsJson = False,
    url: Url = HERE,
) -> None:
    """List your tasks, newest first.

    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY can be set instead of --url, --key.

    \b
    kie-gateway tasks list --state queued --state running
    kie-gateway tasks list --fail-class content
    kie-gateway tasks list --json --limit 200 | jq -r '.[].result_urls[]'
    """
    params: dict[str, Any] = {"limit": limit, "state": state or []}
    params |= {"model": model} if model is not None else {}
    params |= {"fail_class": fail_class} if fail_class is not None else {}
    with calling(url, key) as gateway:
        found = gateway.tasks(params)
    if as_json:
        typer.echo(pretty(found))
        return
    for task in found:
        created = task["created_at"][:19].replace("T", " ")
        typer.echo(f"{task['id']}  {created}  {task['state']:<11}  {task['model']}")


@app.command()
def cancel(task_id: TaskId, key: Key, url: Url = HERE) -> None:
    """Cancel a task that is still queued, and print it.

    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY can be set instead of --url, --key.

    \b
    kie-gateway tasks cancel 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c
    """
    with calling(url, key) as gateway:
        task = gateway.cancel(task_id)
    typer.echo(pretty(task))


@app.command()
def watch(task_id: TaskId, key: Key, url: Url = HERE) -> None:
    """Show a task's progress until its end, then print it. Exits 1 unless it succeeded.

    Progress goes to stderr, the task to stdout. When the gateway goes away,
    the command waits for it, 30 seconds.
    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY can be set instead of --url, --key.

    \b
    kie-gateway tasks watch 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c && echo done
    """
    with calling(url, key) as gateway:
        task = _follow(gateway, task_id)
    typer.echo(pretty(task))
    _exit_unless_succeeded(task)


def _follow(gateway: Gateway, task_id: str) -> dict[str, Any]:
    from rich.console import Console

    from app.cli.progress import follow

    return follow(gateway, task_id, Console(stderr=True))


def _exit_unless_succeeded(task: dict[str, Any]) -> None:
    if task["state"] != "succeeded":
        raise typer.Exit(1)


def _read(given: str) -> object:
    try:
        if given == "-":
            return parse(typer.get_binary_stream("stdin").read())
        return parse(Path(given[1:]).read_bytes() if given.startswith("@") else given.encode())
    except (OSError, UnreadableDocumentError) as error:
        give_up(f"--input: {error}", WRONG_USE)
