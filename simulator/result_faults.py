"""What the result faults make of a finished task's data, in its record and its callback alike."""

from collections.abc import Callable, Mapping
from typing import Any

from simulator import json_codec
from simulator.choices import Choice
from simulator.faults import Kind

Data = dict[str, Any]

FAIL_CODES: Mapping[str, str | int | None] = {
    "result-fail-code-number": 422,
    "result-fail-code-word": "GENERATION_FAILED",
    "result-fail-code-null": None,
}
"""These show in the task itself."""


def _with_result(change: Callable[[Data], Data]) -> Callable[[Data], Data]:
    """Change what there is of a result: running and failed tasks have none."""
    return lambda data: change(data) if data.get("resultJson") else data


def _parsed(data: Data) -> Data:
    return data | {"resultJson": json_codec.read(data["resultJson"].encode())}


def _without(name: str) -> Callable[[Data], Data]:
    return lambda data: {member: value for member, value in data.items() if member != name}


def _renamed(old: str, new: str) -> Callable[[Data], Data]:
    return lambda data: {(new if name == old else name): value for name, value in data.items()}


def _result(result: object) -> Callable[[Data], Data]:
    return _with_result(lambda data: data | {"resultJson": result})


CHANGES: Mapping[str, Callable[[Data], Data]] = {
    "result-without-urls": _result('{"resultUrls":[]}'),
    "result-object": _result('{"resultObject":{"text":"a cat","score":0.98}}'),
    "result-json-object": _with_result(_parsed),
    "result-json-null": _result(None),
    "result-json-empty": _result(""),
    "result-json-absent": _with_result(_without("resultJson")),
    "result-credits-2025": _renamed("creditsConsumed", "consumeCredits"),
    "result-credits-2026": _renamed("consumeCredits", "creditsConsumed"),
}


def apply(faults: Choice, data: Data) -> Data:
    """Return the data of a record or a callback as the task's result fault has it."""
    chosen = faults.get(Kind.RESULT)
    change = CHANGES.get(chosen.name) if chosen else None
    return change(data) if change else data
