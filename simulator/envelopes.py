"""kie.ai's JSON as it was recorded live (queries) and on the vendor's page (callbacks)."""

from typing import Any

from simulator import json_codec, result_faults
from simulator.account import ENDS, State, Task

OK = 200
"""The code of every success."""


def envelope(code: int, message: str, data: object) -> dict[str, Any]:
    return {"code": code, "msg": message, "data": data}


def created(task: Task) -> dict[str, object]:
    return envelope(OK, "success", {"taskId": task.id, "recordId": task.id})


def record(task: Task, now: float) -> dict[str, Any]:
    """Answer a query: unfinished tasks have nulls and an empty `resultJson`."""
    state = task.state(now)
    data = {
        "taskId": task.id,
        "model": task.body.model,
        "state": state,
        "param": param(task),
        "resultJson": "",
        "failCode": None,
        "failMsg": None,
        "costTime": None,
        "completeTime": None,
        "createTime": _milliseconds(task.created_at),
        "creditsConsumed": task.billed(now),
    }
    if state in ENDS:
        data |= _times(task) | _ending(task)
    if state is State.FAIL:
        data["updateTime"] = _milliseconds(task.finished_at)
    return envelope(OK, "success", result_faults.apply(task.faults, data))


def callback(task: Task, balance: object) -> dict[str, Any]:
    """Write a callback about a finished task, in the form of 2025, with the credits that remain."""
    code, message = (
        (501, "Playground task failed.")
        if task.failure
        else (OK, "Playground task completed successfully.")
    )
    data = {
        "consumeCredits": task.billed(task.finished_at),
        "createTime": _milliseconds(task.created_at),
        "model": task.body.model,
        "param": param(task),
        "remainedCredits": balance,
        "state": task.state(task.finished_at),
        "taskId": task.id,
        "updateTime": _milliseconds(task.finished_at),
    }
    data = result_faults.apply(task.faults, data | _times(task) | _ending(task))
    return {"code": code, "data": data, "msg": message}


def param(task: Task, **instead: object) -> str:
    """Echo the create, a JSON text; live, its `input` is a JSON text once more."""
    echoed: dict[str, object] = {"input": task.body.input}
    if task.body.callback_url:
        echoed["callBackUrl"] = task.body.callback_url
    return json_codec.text(echoed | {"model": task.body.model} | instead)


def _times(task: Task) -> dict[str, Any]:
    """`costTime` is whole seconds live, though the documentation says milliseconds."""
    return {
        "costTime": int(task.duration),
        "completeTime": _milliseconds(task.finished_at),
    }


def _ending(task: Task) -> dict[str, Any]:
    if task.failure:
        return {"failCode": task.failure.code, "failMsg": task.failure.message}
    return {"resultJson": json_codec.text({"resultUrls": [task.result_url]})}


def _milliseconds(instant: float) -> int:
    return int(instant * 1000)
