"""How a task's progress is shown while a command waits for its end."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app.cli.callers.client import Gateway

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

COLOURS: Mapping[str, str] = {
    "succeeded": "green",
    "failed": "red",
    "expired": "red",
    "canceled": "yellow",
}


def follow(gateway: Gateway, task_id: str, console: "Console") -> dict[str, Any]:
    """Print a line for each change, a living line below; return the task at its end."""
    task: dict[str, Any] = {}
    with console.status(f"task {task_id}"):
        for task in gateway.watch(task_id):
            console.print(_line(task), soft_wrap=True)
    return task


def _line(task: dict[str, Any]) -> "Text":
    """Write what changed: as plain text, for kie.ai's words may look like markup."""
    from rich.text import Text

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
