"""Plain words for what the gateway knows by codes."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from app.domain.admission import HoldReason
from app.domain.task import State

HOLDS: Mapping[str, str] = {
    HoldReason.ADMISSION_PAUSED: "an operator has paused everything",
    HoldReason.DATABASE_RESTORED: "PostgreSQL has lost commits, or is another one: a person has to "
    "look and resume",
    HoldReason.DATABASE_MOVING: "a move of the database was announced",
    HoldReason.DATABASE_CHANGED: "PostgreSQL was restarted: each process looks first whether it "
    "lost anything",
    HoldReason.CLIENT_PAUSED: "an operator has paused this client",
    HoldReason.KIE_ACCOUNT: "kie.ai refuses the gateway's key or credits",
    HoldReason.KIE_BUSY: "kie.ai said that it is busy",
    HoldReason.KIE_UNREACHABLE: "kie.ai cannot be reached",
    HoldReason.KIE_UNANSWERED: "kie.ai did not answer several creates in a row",
    HoldReason.RUNNING_LIMIT: "as many tasks run as the account may have",
    HoldReason.CLIENT_RUNNING_LIMIT: "as many of this client's tasks run as may",
    HoldReason.CREATE_LIMIT: "as many tasks were created of late as the account may create",
}

DONE: Mapping[str, str] = {
    "paused": "Paused: nothing more is sent.",
    "resumed": "Resumed.",
    "moved": "Accepted: this is the database from now on.",
    "canceled": "The task was canceled.",
    "asked": "kie.ai was asked about the task.",
    "bound": "The task has its id at kie.ai, and kie.ai is asked about it.",
    "requeued": "The task is in the queue again.",
    "released": "The task is worked on again.",
    "failed": "The task was ended as failed.",
    "erased": "The task was erased.",
    "redelivered": "The delivery is sent again.",
    "redelivered-many": "The deliveries are sent again.",
    "enabled": "The URL is called again.",
    "changed": "Changed.",
    "budget-set": "The budget is set.",
    "budget-cleared": "The budget is taken away.",
    "revoked": "The key was revoked.",
    "signed-out": "You have signed out.",
}
"""What a page says above, by the name that an act's answer brings along."""

NOTHING = "\N{EN DASH}"
"""Where there is no value."""

_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def duration(seconds: float | None) -> str:
    """Write a duration by its largest unit, or the two largest where the second matters."""
    if seconds is None:
        return NOTHING
    seconds = float(seconds)
    for index, (length, unit) in enumerate(_UNITS):
        if seconds >= length:
            whole, rest = divmod(seconds, length)
            smaller = int(rest // _UNITS[index + 1][0]) if index + 1 < len(_UNITS) else 0
            few = whole < 10 and smaller  # noqa: PLR2004  # beyond, the second says nothing
            return f"{whole:.0f} {unit}" + (f" {smaller} {_UNITS[index + 1][1]}" if few else "")
    return f"{seconds * 1000:.0f} ms"


def since(seconds: float) -> str:
    """Say how long ago something was; less than nothing: it will be."""
    if abs(seconds) < 1:
        return "now"
    return f"{duration(seconds)} ago" if seconds > 0 else f"in {duration(-seconds)}"


def plain(code: object) -> str:
    """Write a code as words."""
    return "" if code is None else str(code).replace("_", " ")


def state(code: object) -> str:
    """Return the class by which a state is coloured."""
    return f"state-{code}"


def hold(code: object) -> str:
    """Say why something waits."""
    return HOLDS.get(str(code), plain(code))


Task = Mapping[str, Any]
Owed = Mapping[str, Any]


def why(task: Task, owed: Owed, now: datetime) -> str:
    """Say in one sentence why a task is where it is, and what moves it next."""
    if owed["parked_at"] is not None:
        return (
            "It is set aside: asking kie.ai about it met a defect of the gateway again and again. "
            "Release it to ask again."
        )
    return _WHY[State(task["state"])](task, owed, now)


def _queued(task: Task, owed: Owed, now: datetime) -> str:
    held = task["hold_reason"]
    waits = f"It waits because {hold(held)}" if held else "It waits for its turn"
    start = task["estimated_start_at"]
    when = f", and may start {_in(start, now)}" if start else ""
    return f"{waits}{when}. Unless it is sent {_in(owed['submit_by'], now)}, it fails."


def _submitting(task: Task, _: Owed, now: datetime) -> str:
    return f"Its create was sent to kie.ai {_ago(task['submitted_at'], now)}; the answer is due."


def _unconfirmed(task: Task, owed: Owed, now: datetime) -> str:
    asked = (
        "kie.ai is asked under its id"
        if task["kie_task_id"]
        else "only a callback, or a person who finds it in kie.ai's log, can say"
    )
    return (
        f"Its create was sent {_ago(task['submitted_at'], now)} and nobody knows what became of "
        f"it: it may be paid, so it is not sent again; {asked}. It expires "
        f"{_in(owed['expires_at'], now)}."
    )


def _running(task: Task, owed: Owed, now: datetime) -> str:
    if owed["held_since"] is not None:
        return (
            f"kie.ai reported an end {_ago(owed['held_since'], now)} which may still turn around, "
            "or shows no result: its record is asked before the end counts."
        )
    ends = task["estimated_finish_at"]
    usual = f" It usually ends {_in(ends, now)}." if ends else ""
    due = f" It is asked about {_in(owed['due_at'], now)}." if owed["due_at"] else ""
    return f"kie.ai has worked on it since {_ago(task['submitted_at'], now)}.{usual}{due}"


def _succeeded(task: Task, _: Owed, now: datetime) -> str:
    return f"kie.ai reported its result {_ago(task['finished_at'], now)}{_by(task)}."


def _failed(task: Task, _: Owed, now: datetime) -> str:
    who = "kie.ai" if task["fail_source"] == "kie" else "The gateway"
    again = {True: " Created again, it may succeed.", False: " Created again, it fails again."}
    text = f"{who} ended it as failed {_ago(task['finished_at'], now)}{_by(task)}"
    return f"{text} ({plain(task['fail_class'])}).{again.get(task['retryable'], '')}"


def _canceled(task: Task, _: Owed, now: datetime) -> str:
    return f"It was canceled {_ago(task['finished_at'], now)}, before it was sent."


def _expired(task: Task, _: Owed, now: datetime) -> str:
    return (
        f"The gateway stopped asking {_ago(task['finished_at'], now)}: no end became known in "
        "time. What kie.ai says later still settles it."
    )


_WHY: Mapping[State, Callable[[Task, Owed, datetime], str]] = {
    State.QUEUED: _queued,
    State.SUBMITTING: _submitting,
    State.UNCONFIRMED: _unconfirmed,
    State.RUNNING: _running,
    State.SUCCEEDED: _succeeded,
    State.FAILED: _failed,
    State.CANCELED: _canceled,
    State.EXPIRED: _expired,
}


def _by(task: Task) -> str:
    if not task["settled_by"]:
        return ""
    word = "in a callback" if task["settled_by"] == "callback" else "in its record"
    return f" {word}" + (", and its record agrees" if _agrees(task) else "")


def _agrees(task: Task) -> bool:
    return task["settled_by"] == "callback" and task["confirmed_at"] is not None


def _ago(at: datetime | None, now: datetime) -> str:
    return "some time ago" if at is None else since((now - at).total_seconds())


def _in(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "at some time"
    seconds = (at - now).total_seconds()
    return "at any moment" if seconds < 1 else f"in {duration(seconds)}"
