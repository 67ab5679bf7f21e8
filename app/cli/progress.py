"""How a task's progress is shown while a command waits for its end."""

import time
from collections.abc import Callable, Mapping
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


class _Waiting:
    """The living line: what the task waits for, and for how long; drawn anew by itself."""

    def __init__(self, task_id: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self.task: Mapping[str, Any] = {"id": task_id}

    def __rich__(self) -> "Text":
        from rich.text import Text

        task = self.task
        reason = f": {task['hold_reason']}" if task.get("hold_reason") else ""
        seconds = self._clock() - self._since
        return Text(f"{task.get('state', 'task')}{reason}, {seconds:.0f} s  {task['id']}")


def follow(
    gateway: Gateway,
    task_id: str,
    console: "Console",
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Print a line for each change, a living line below; return the task at its end.

    Only a terminal shows the living line.
    """
    task: dict[str, Any] = {}
    waiting = _Waiting(task_id, clock)
    with console.status(waiting):
        for task in gateway.watch(task_id):
            waiting.task = task
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
