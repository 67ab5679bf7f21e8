"""How a task looks to its caller: the same in an answer and in a delivery."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.domain.task import State

RESULTS_LIVE = timedelta(days=14)
"""kie.ai's own words about media; one of its pages says 24 hours."""


def task_answer(task: Mapping[str, Any]) -> dict[str, Any]:
    """Add to a task's columns what only the answer has."""
    return {
        **task,
        "confirmed": task["confirmed_at"] is not None,
        "result_expires_at": _expiry(task),
        "urls": task_urls(task["id"]),
    }


def brief_answer(task: Mapping[str, Any]) -> dict[str, Any]:
    """Say of a task what can always be said: for one that cannot be written whole."""
    return {name: task[name] for name in ("id", "state", "version")}


def _expiry(task: Mapping[str, Any]) -> datetime | None:
    """Return when kie.ai's media are gone; None: there are none."""
    if task["state"] != State.SUCCEEDED or not task["result_urls"]:
        return None
    finished: datetime = task["finished_at"]
    return finished + RESULTS_LIVE


def task_urls(task_id: UUID) -> dict[str, str]:
    """Return the task's relative URLs."""
    own = f"/v1/tasks/{task_id}"
    below = ("events", "callbacks", "deliveries", "cancel", "refresh")
    return {"self": own, **{name: f"{own}/{name}" for name in below}}
