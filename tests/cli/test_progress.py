"""What a waiting command shows: a living line on a terminal, plain lines in a pipe."""

import io
from typing import Any, Self, cast

from rich.console import Console

from app.cli.progress import follow

TASK = {"id": "t-1", "updated_at": "2026-11-22T06:00:00.000000Z", "state": "queued"}
STEPS = [
    {**TASK, "hold_reason": "paused"},
    {**TASK, "state": "running"},
    {**TASK, "state": "succeeded"},
]


class Watched:
    """A gateway whose task moves on; each step is 40 seconds later, and drawn."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps = iter(STEPS)
        self._begun = False
        self.now = 0.0

    def get(self, _: str) -> dict[str, Any]:
        if self._begun:
            self.now += 40
            self._draw()
        self._begun = True
        return next(self._steps)

    def patient(self, _: float) -> Self:
        return self

    def _draw(self) -> None:
        for live in self._console._live_stack:
            live.refresh()


def shown(*, terminal: bool) -> str:
    console = Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=100,
        color_system=None,
        legacy_windows=False,
    )
    gateway = Watched(console)
    task = follow(gateway, "t-1", console, lambda: gateway.now)
    assert task["state"] == "succeeded"
    return cast("io.StringIO", console.file).getvalue()


def test_a_terminal_shows_how_long_and_for_what() -> None:
    said = shown(terminal=True)
    assert "queued: paused, 40 s  t-1" in said
    assert "running, 80 s  t-1" in said


def test_a_pipe_gets_one_plain_line_for_each_change() -> None:
    said = shown(terminal=False)
    assert "\x1b" not in said
    assert [line.split()[1] for line in said.splitlines()] == ["queued", "running", "succeeded"]
