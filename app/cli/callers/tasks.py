"""`kie-gateway tasks`: a caller's view, from a terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typing_extensions import override

from app.cli.callers.client import calling
from app.cli.exits import WRONG_USE, give_up
from app.cli.loading import At, LoadingGroup
from app.cli.options import HERE, AsJson, Key, Url
from app.cli.output import pretty

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Callers' commands (need the gateway's URL and an API key)": (
        *("create", "get", "list", "cancel", "watch", "erase"),
    ),
    "Operators' commands (need the database: GATEWAY_DATABASE_URL)": (
        *("cancel", "requeue", "fail", "review", "bind", "release", "erase"),
    ),
}
"""Who may use which command, and with what."""

ELSEWHERE: Mapping[str, At] = {
    "review": At(
        "app.cli.operators.review:review",
        "List what a restored database may send again, and say what to do.",
    ),
    "bind": At(
        "app.cli.operators.recovery:bind",
        "Give a task the id that you found at kie.ai, and have kie.ai polled for it.",
    ),
    "requeue": At(
        "app.cli.operators.bulk:requeue",
        "Put unconfirmed tasks back into the queue: each may be paid again.",
    ),
    "fail": At(
        "app.cli.operators.bulk:fail", "End queued or unconfirmed tasks as failed, with a reason."
    ),
    "release": At(
        "app.cli.operators.recovery:release", "Poll kie.ai again for a task that was set aside."
    ),
    "cancel": At(
        "app.cli.callers.cancel:cancel",
        "Cancel a task of yours that is queued; as an operator, many.",
    ),
    "erase": At(
        "app.cli.callers.erase:erase",
        "Erase a task in a final state, with its history, callbacks and deliveries.",
    ),
}
"""The commands that operators have here too."""


class _Tasks(LoadingGroup):
    """Loads operators' commands only to run them; lists all by who they are for."""

    table = ELSEWHERE

    @override
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        listed = self.listing().commands
        widest = formatter.width - 6 - max(len(name) for name in listed)
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name, listed[name].get_short_help_str(widest)) for name in names]
                )


app = typer.Typer(
    cls=_Tasks,
    help="""Create and watch tasks through a running gateway; operate on any.

    As a caller: with the URL of a running gateway and an API key. You see
    that key's tasks.

    \b
    export KIE_GATEWAY_URL=https://gateway.internal
    export KIE_GATEWAY_API_KEY=kgw_…
    kie-gateway tasks create --model google/nano-banana \\
        --input '{"prompt": "a banana"}' --watch

    As an operator: with GATEWAY_DATABASE_URL, on any client's tasks, one or
    many; the audit records it. `kie-gateway stuck` shows who needs you.

    \b
    kie-gateway tasks cancel --client shop --older-than 2h --dry-run
    """,
    no_args_is_help=True,
)

TaskId = Annotated[str, typer.Argument(help="The task's id, as `create` prints it.")]


@app.command()
def create(
    key: Key,
    model: Annotated[str, typer.Option(help="kie.ai's name of the model.")],
    input_: Annotated[
        str, typer.Option("--input", help="JSON, @FILE with JSON, or - for standard input.")
    ],
    webhook_url: Annotated[
        str | None, typer.Option(help="Notified of its end, instead of the client's own URL.")
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A note of your own; repeatable."),
    ] = None,
    priority: Annotated[
        int | None, typer.Option(min=0, max=9, help="Among your own waiting tasks; 9 is first.")
    ] = None,
    submit_within: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=604_800, help="Seconds that it may wait to be sent; else it fails."
        ),
    ] = None,
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
    kie-gateway tasks create --model google/nano-banana --input @banana.json \\
        --metadata order=1017 --webhook-url https://shop.internal/kie
    … | kie-gateway tasks create --model google/nano-banana --input -
    """
    options = {
        "webhook_url": webhook_url,
        "metadata": _pairs(metadata) if metadata else None,
        "priority": priority,
        "submit_within": submit_within,
    }
    given = _read(input_)
    with calling(url, key) as gateway:
        task = gateway.create(model, given, idempotency_key=idempotency_key, **options)
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
        task = gateway.get(task_id)
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
    retryable: Annotated[
        bool | None,
        typer.Option(help="Only failures that may succeed when created again, or that will not."),
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
    kie-gateway tasks list --retryable
    kie-gateway tasks list --json --limit 200 | jq -r '.[].result_urls[]'
    """
    narrowed = {"state": state, "model": model, "fail_class": fail_class, "retryable": retryable}
    with calling(url, key) as gateway:
        found = list(gateway.list(**narrowed, most=limit))
    if as_json:
        typer.echo(pretty(found))
        return
    if not found:
        typer.echo("no task of yours is like this", err=True)
    for task in found:
        created = task["created_at"][:19].replace("T", " ")
        typer.echo(f"{task['id']}  {created}  {task['state']:<11}  {task['model']}")


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


def _follow(gateway: Any, task_id: str) -> dict[str, Any]:  # noqa: ANN401  # its answers are
    from rich.console import Console

    from app.cli.progress import follow

    return follow(gateway, task_id, Console(stderr=True))


def _exit_unless_succeeded(task: dict[str, Any]) -> None:
    if task["state"] != "succeeded":
        raise typer.Exit(1)


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    if wrong := [name for name, equals, _ in pairs if not equals or not name]:
        give_up(f"--metadata: {wrong[0]!r} is not KEY=VALUE, such as order=1017", WRONG_USE)
    return {name: value for name, _, value in pairs}


def _read(given: str) -> object:
    from app.domain.exact_json import UnreadableDocumentError, parse

    try:
        if given == "-":
            return parse(typer.get_binary_stream("stdin").read())
        return parse(Path(given[1:]).read_bytes() if given.startswith("@") else given.encode())
    except (OSError, UnreadableDocumentError) as error:
        give_up(f"--input: {error}", WRONG_USE)
