"""How a task's progress is shown while a command waits for its end."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from app.domain.task import FINAL

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

COLOURS: Mapping[str, str] = {
    "succeeded": "green",
    "failed": "red",
    "expired": "red",
    "canceled": "yellow",
}

LOOK_EVERY = 0.2
AWAY_AT_MOST = 30.0
"""Seconds for which a watched gateway may be away: one that is deployed anew comes back."""
SHOWN = ("state", "kie_state", "hold_reason")
"""What makes a change worth showing."""


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
    gateway: Any,  # noqa: ANN401  # its answers are
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
        for task in watched(gateway, task_id):
            waiting.task = task
            console.print(_line(task), soft_wrap=True)
    return task


def watched(
    gateway: Any,  # noqa: ANN401  # its answers are
    task_id: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[dict[str, Any]]:
    """Yield the task now and whenever it looks different, until its state is final."""
    task = gateway.get(task_id)
    patient = gateway.patient(AWAY_AT_MOST)
    seen: tuple[object, ...] = ()
    while True:
        looks = tuple(task.get(name) for name in SHOWN)
        if looks != seen:
            yield task
            seen = looks
        if task["state"] in FINAL:
            return
        sleep(LOOK_EVERY)
        task = patient.get(task_id)


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
