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
        data |= _times(task, now) | _ending(task, now)
    if state is State.FAIL:
        data["updateTime"] = _milliseconds(task.ended_at(now))
    return envelope(OK, "success", result_faults.apply(task.faults, data))


def callback(task: Task, balance: object, end: float) -> dict[str, Any]:
    """Write a callback about one end of a task, in the form of 2025, with the credits that remain.

    `end` is the instant of that end.
    """
    code, message = (
        (501, "Playground task failed.")
        if task.failure_at(end)
        else (OK, "Playground task completed successfully.")
    )
    data = {
        "consumeCredits": task.billed(end),
        "createTime": _milliseconds(task.created_at),
        "model": task.body.model,
        "param": param(task),
        "remainedCredits": balance,
        "state": task.state(end),
        "taskId": task.id,
        "updateTime": _milliseconds(end),
    }
    data = result_faults.apply(task.faults, data | _times(task, end) | _ending(task, end))
    return {"code": code, "data": data, "msg": message}


def param(task: Task, **instead: object) -> str:
    """Echo the create, a JSON text; live, its `input` is a JSON text once more."""
    echoed: dict[str, object] = {"input": task.body.input}
    if task.body.callback_url:
        echoed["callBackUrl"] = task.body.callback_url
    return json_codec.text(echoed | {"model": task.body.model} | instead)


def truth(task: Task) -> dict[str, Any]:
    """Tell what is true of a task in the end, whatever records and callbacks make of it."""
    end = task.ends[-1]
    failure = task.failure_at(end)
    result = None if failure else task.result
    return {
        "state": task.state(end),
        "settledAt": end,
        "credits": task.billed(end),
        "failCode": failure.code if failure else None,
        "failMsg": failure.message if failure else None,
        "resultUrls": (result or {}).get("resultUrls", []),
        "result": result,
        **_times(task, end),
    }


def _times(task: Task, now: float) -> dict[str, Any]:
    """`costTime` is whole seconds live, though the documentation says milliseconds."""
    end = task.ended_at(now)
    return {
        "costTime": int(task.duration + (end - task.finished_at)),
        "completeTime": _milliseconds(end),
    }


def _ending(task: Task, now: float) -> dict[str, Any]:
    if failure := task.failure_at(now):
        return {"failCode": failure.code, "failMsg": failure.message}
    return {"resultJson": json_codec.text(task.result or task.usual_result)}


def _milliseconds(instant: float) -> int:
    return int(instant * 1000)
