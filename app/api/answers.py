"""How answers are written: exact numbers, instants with Z."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fastapi import Response
from typing_extensions import override

from app.domain.document import render


class ExactJSON(Response):
    """JSON that keeps every digit (see `app/domain/document.py`)."""

    media_type = "application/json"

    @override
    def render(self, content: object) -> bytes:
        return render(content).encode()


def task_answer(task: Mapping[str, Any]) -> dict[str, Any]:
    """Add to a task's columns what is made for the answer alone."""
    return {**task, "urls": task_urls(task["id"])}


def task_urls(task_id: UUID) -> dict[str, str]:
    """Return the task's relative URLs."""
    own = f"/v1/tasks/{task_id}"
    return {
        "self": own,
        "events": f"{own}/events",
        "callbacks": f"{own}/callbacks",
        "cancel": f"{own}/cancel",
        "refresh": f"{own}/refresh",
    }
