"""kie.ai's own JSON, written from a task's columns for callers who speak its API.

The forms are those recorded live in 2026: `input` a JSON text inside `param`, whole seconds,
`creditsConsumed` only once it is known. The account's balance is in none of them.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.domain.exact_json import render
from app.domain.task import State

OK = 200
FAILED = 501
"""The code of a callback about a failure."""

WAITING, SUCCESS, FAIL = "waiting", "success", "fail"

STATES: Mapping[State, str] = {
    State.QUEUED: WAITING,
    State.SUBMITTING: WAITING,
    State.UNCONFIRMED: WAITING,
    State.SUCCEEDED: SUCCESS,
    State.FAILED: FAIL,
    State.EXPIRED: FAIL,
    State.CANCELED: FAIL,
}
"""kie.ai's word for each state; of a running task it has several, and is quoted."""

CANCELED = ("canceled", "The task was canceled before it was sent to kie.ai.")
"""The one end that has no `fail_code` of its own."""

OUTCOMES: Mapping[str, tuple[int, str]] = {
    SUCCESS: (OK, "Playground task completed successfully."),
    FAIL: (FAILED, "Playground task failed."),
}
"""The code and the message of a callback."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def envelope(code: int, message: str, data: object) -> dict[str, Any]:
    return {"code": code, "msg": message, "data": data}


def created(task_id: UUID) -> dict[str, Any]:
    """Answer a create that is taken; live, both ids are there and equal."""
    return envelope(OK, "success", {"taskId": task_id.hex, "recordId": task_id.hex})


def record(task: Mapping[str, Any]) -> dict[str, Any]:
    """Write the `data` of recordInfo; `task` has the columns that a native answer has."""
    state = STATES.get(task["state"]) or task["kie_state"] or WAITING
    fail_code, fail_message = _failure(task, state)
    seconds = task["duration_seconds"]
    data = {
        "taskId": task["id"].hex,
        "model": task["model"],
        "state": state,
        "param": _param(task),
        "resultJson": render(task["result"]) if state == SUCCESS and task["result"] else "",
        "failCode": fail_code,
        "failMsg": fail_message,
        "costTime": None if seconds is None else int(seconds),
        "completeTime": _milliseconds(task["finished_at"]),
        "createTime": _milliseconds(task["created_at"]),
    }
    if task["credits_consumed"] is not None:
        data["creditsConsumed"] = task["credits_consumed"]
    if state == FAIL:
        data["updateTime"] = data["completeTime"]
    return data


def callback(task: Mapping[str, Any]) -> dict[str, Any]:
    """Write the callback about a final state: the record, and no `resultJson` of a failure.

    Callbacks had `consumeCredits` in 2025, and the vendor's page still has: both names are there.
    """
    data = record(task)
    if data["state"] == FAIL:
        del data["resultJson"]
    if "creditsConsumed" in data:
        data["consumeCredits"] = data["creditsConsumed"]
    code, message = OUTCOMES[data["state"]]
    return envelope(code, message, data | {"updateTime": data["completeTime"]})


def brief_callback(task: Mapping[str, Any]) -> dict[str, Any]:
    """Write a callback with no more than the end: for a task that cannot be written whole."""
    state = STATES.get(task["state"], WAITING)
    code, message = OUTCOMES.get(state, OUTCOMES[FAIL])
    return envelope(code, message, {"taskId": task["id"].hex, "state": state})


def _failure(task: Mapping[str, Any], state: str) -> tuple[str | None, str | None]:
    """Say why it failed, always in text: where nobody said more, what kie.ai's callbacks say."""
    if state != FAIL:
        return None, None
    if task["state"] == State.CANCELED:
        return CANCELED
    code, message = OUTCOMES[FAIL]
    return task["fail_code"] or str(code), task["fail_message"] or message


def _param(task: Mapping[str, Any]) -> str:
    """Echo the create as text; `callBackUrl` is the caller's, not the one that kie.ai was given."""
    echoed = {"input": render(task["input"])}
    if task["webhook_url"] is not None:
        echoed["callBackUrl"] = task["webhook_url"]
    return render(echoed | {"model": task["model"]})


def _milliseconds(instant: datetime | None) -> int | None:
    return None if instant is None else (instant - _EPOCH) // _MILLISECOND


def uploaded(file: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Write a file as kie.ai's upload host does; `path` as it was asked for."""
    return {
        "success": True,
        "fileName": file["name"],
        "filePath": "/".join(part for part in (path, file["name"]) if part),
        "downloadUrl": file["url"],
        "fileSize": file["bytes"],
        "mimeType": file["content_type"],
        "uploadedAt": _to_the_millisecond(file["created_at"]),
    }


def _to_the_millisecond(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
