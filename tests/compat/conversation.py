"""What is said to the client, and what it answers: the same turns wherever it is pointed at."""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.compat.mcp import Server

ID = re.compile(r"\b[0-9a-f]{32}\b")
TASK = "the task's id"
"""Stands in arguments for the id that was answered last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One call of a tool."""

    title: str
    tool: str
    arguments: Mapping[str, object]
    next: Mapping[str, object] = field(default_factory=dict)
    """What is to become of the create that the call makes, as `POST /simulator/next` has it."""


Said = Mapping[str, Any]
"""A turn as it went, JSON: `title`, `tool`, `arguments`, `answer`."""

WAIT = {"task_id": TASK, "timeout_seconds": 60, "interval_seconds": 1}

CONVERSATION: Sequence[Turn] = (
    Turn(
        title="Create a task",
        tool="nano_banana_image",
        arguments={"prompt": "a banana in space", "aspect_ratio": "16:9", "resolution": "2K"},
        next={"duration": 4},
    ),
    Turn(title="Ask once", tool="get_task_status", arguments={"task_id": TASK}),
    Turn(title="Poll until it is done", tool="wait_for_task", arguments=WAIT),
    Turn(
        title="Create another, which fails",
        tool="z_image",
        arguments={"prompt": "a banana at sea", "aspect_ratio": "4:3"},
        next={"duration": 1, "outcome": "fail", "failCode": "422", "failMsg": "Invalid prompt"},
    ),
    Turn(title="Poll until it has failed", tool="wait_for_task", arguments=WAIT),
    Turn(
        title="Create one that is refused",
        tool="nano_banana_image",
        arguments={"prompt": "a banana nobody may see"},
        next={"fault": "create-refused-422"},
    ),
    Turn(title="List what the client has kept", tool="list_tasks", arguments={}),
)


async def converse(server: Server, simulator: httpx.AsyncClient) -> AsyncIterator[Said]:
    """Take every turn, and yield it as it went."""
    newest = ""
    for turn in CONVERSATION:
        if turn.next:
            (await simulator.post("/simulator/next", json=turn.next)).raise_for_status()
        arguments = {
            name: newest if value == TASK else value for name, value in turn.arguments.items()
        }
        answer = await server.call(turn.tool, **arguments)
        newest = newest_id(answer) or newest
        yield {
            "title": turn.title,
            "tool": turn.tool,
            "arguments": arguments,
            "answer": answer,
        }


def newest_id(answer: Mapping[str, Any]) -> str | None:
    """Find the first task id that an answer names, wherever it stands."""
    found = ID.search(json.dumps(answer))
    return found[0] if found else None
