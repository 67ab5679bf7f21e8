"""How a task looks to its caller: the same in an answer and in a delivery."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID


def task_answer(task: Mapping[str, Any]) -> dict[str, Any]:
    """Add to a task's columns what only the answer has."""
    return {**task, "urls": task_urls(task["id"])}


def task_urls(task_id: UUID) -> dict[str, str]:
    """Return the task's relative URLs."""
    own = f"/v1/tasks/{task_id}"
    below = ("events", "callbacks", "deliveries", "cancel", "refresh")
    return {"self": own, **{name: f"{own}/{name}" for name in below}}
