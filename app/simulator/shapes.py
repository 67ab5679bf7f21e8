"""kie.ai's JSON as it was recorded live (queries) and on the vendor's page (callbacks)."""

from typing import Any

from app.simulator import documents
from app.simulator.tasks import State, Task


def envelope(code: int, message: str, data: object) -> dict[str, object]:
    return {"code": code, "msg": message, "data": data}


def created(task: Task) -> dict[str, object]:
    return envelope(200, "success", {"taskId": task.id, "recordId": task.id})


def record(task: Task, now: float) -> dict[str, object]:
    """Answer a query: unfinished tasks have nulls and an empty `resultJson`."""
    state = task.state(now)
    data = {
        "taskId": task.id,
        "model": task.order.model,
        "state": state,
        "param": _param(task),
        "resultJson": "",
        "failCode": None,
        "failMsg": None,
        "costTime": None,
        "completeTime": None,
        "createTime": _milliseconds(task.created_at),
        "creditsConsumed": task.billed(now),
    }
    if state in (State.SUCCESS, State.FAIL):
        data |= _times(task) | _ending(task)
    if state is State.FAIL:
        data["updateTime"] = _milliseconds(task.finished_at)
    return envelope(200, "success", data)


def callback(task: Task, balance: object) -> dict[str, object]:
    """Tell of a finished task, in the form of 2025: the credits taken, and those that remain."""
    code, message = (
        (501, "Playground task failed.")
        if task.failure
        else (200, "Playground task completed successfully.")
    )
    data = {
        "consumeCredits": task.billed(task.finished_at),
        "createTime": _milliseconds(task.created_at),
        "model": task.order.model,
        "param": _param(task),
        "remainedCredits": balance,
        "state": task.state(task.finished_at),
        "taskId": task.id,
        "updateTime": _milliseconds(task.finished_at),
    }
    return {"code": code, "data": data | _times(task) | _ending(task), "msg": message}


def _param(task: Task) -> str:
    """Echo the create, a JSON text; live, its `input` is a JSON text once more."""
    echoed = {"input": task.order.input}
    if task.order.callback_url:
        echoed["callBackUrl"] = task.order.callback_url
    return documents.text(echoed | {"model": task.order.model})


def _times(task: Task) -> dict[str, Any]:
    """`costTime` is whole seconds live, though the documentation says milliseconds."""
    return {
        "costTime": int(task.duration),
        "completeTime": _milliseconds(task.finished_at),
    }


def _ending(task: Task) -> dict[str, Any]:
    if task.failure:
        return {"failCode": task.failure.code, "failMsg": task.failure.message}
    return {"resultJson": documents.text({"resultUrls": [task.result_url]})}


def _milliseconds(instant: float) -> int:
    return int(instant * 1000)
