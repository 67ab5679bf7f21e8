"""`kie-gateway demo`: one task to its end on this machine, as real processes, without kie.ai."""

import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.exits import give_up
from app.cli.output import pretty

if TYPE_CHECKING:
    from rich.console import Console

    from app.cli.processes.stack import Stack

TIMEOUT = 10.0

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


NEXT = """
Everything is stopped again, the result's URL too. Next:
  make dev    (kie-gateway dev)   the same until Ctrl-C; then paste the curl lines of README.md
  make test                       every test, against a real PostgreSQL"""


def demo(
    fail: Annotated[bool, typer.Option(help="Let the task fail, to see how that looks.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole task, as JSON.")] = False,
) -> None:
    """Run one task to its end: PostgreSQL, a stand-in kie.ai and the gateway, on this machine.

    Needs no settings and reads none. Nothing is left behind, nothing leaves
    this machine. Progress goes to stderr; five lines about the finished task,
    or the task itself, to stdout. Exits 0 when it succeeded.

    \b
    kie-gateway demo
    kie-gateway demo --json | jq -r '.result_urls[]'
    kie-gateway demo --fail
    """
    from rich.console import Console

    from app.cli.processes.stack import started

    console = Console(stderr=True)
    with (
        tempfile.TemporaryDirectory(prefix="kie-gateway-demo-") as data_dir,
        started(Path(data_dir), port=0, failure_rate=float(fail), console=console) as stack,
    ):
        task = _one_task(stack, console)
        creates = _creates(stack)
    typer.echo(pretty(task) if as_json else _summary(task, creates))
    if task["state"] != "succeeded":
        give_up(f"the task ended as {task['state']}: {task['fail_message']}")
    if not as_json:
        typer.echo(NEXT, err=True)


def _one_task(stack: "Stack", console: "Console") -> dict[str, Any]:
    from app.cli.callers.client import calling
    from app.cli.progress import follow

    console.print(f"POST {stack.url}/v1/tasks  {EXAMPLE['model']}", soft_wrap=True)
    with calling(stack.url, stack.issued.api_key) as gateway:
        task = follow(gateway, gateway.create(**EXAMPLE)["id"], console)
        for callback in reversed(list(gateway.callbacks(task["id"]))):
            console.print(
                f"kie.ai's {callback['source']}: code {callback['code']}, {callback['verdict']}"
            )
    return task


def _creates(stack: "Stack") -> int:
    """Ask the stand-in kie.ai how many creates arrived, accepted or not."""
    import httpx

    answer = httpx.get(f"{stack.simulator_url}/simulator/creates", trust_env=False, timeout=TIMEOUT)
    return len(answer.json()["data"])


def _summary(task: Mapping[str, Any], creates: int) -> str:
    """Write the five lines that a demo is for."""
    times = [datetime.fromisoformat(task[name]) for name in ("created_at", "finished_at")]
    fields = {
        "state": task["state"],
        "seconds": f"{(times[1] - times[0]).total_seconds():.1f}",
        "credits": task["credits_consumed"],
        "result": " ".join(task["result_urls"]) or "none",
    }
    lines = [f"{name:<8} {value}" for name, value in fields.items()]
    called = "once" if creates == 1 else f"{creates} times"
    return "\n".join([*lines, f"kie.ai was called {called}"])
