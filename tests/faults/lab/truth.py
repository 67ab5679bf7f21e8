"""What kie.ai gives about a task's end, by the gateway's names, and what was not kept of it. Pure.

Only what is there counts: kie.ai leaves out reasons and results that it does not have, and the
gateway may know more, from the envelope.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from app.domain.amendment import is_empty

STATES = {"success": "succeeded", "fail": "failed"}
"""The state that each end of kie.ai's means."""
TOLD_TO_CALLERS = ("state", "result", "result_urls", "fail_code", "fail_message")
"""Facts whose change is a reason to tell of an end again."""

Facts: TypeAlias = "dict[str, Any]"

_FACTS: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
    "state": lambda row: STATES[row["state"]],
    "result": lambda row: row["result"],
    "result_urls": lambda row: row["resultUrls"],
    "credits_consumed": lambda row: row["credits"],
    "fail_code": lambda row: None if row["failCode"] is None else str(row["failCode"]),
    "fail_message": lambda row: row["failMsg"],
    "duration_seconds": lambda row: row["costTime"],
    "kie_completed_at": lambda row: row["completeTime"],
}
"""How to read each from a row of `/simulator/truth`; instants are unix milliseconds."""


def facts(row: Mapping[str, Any]) -> Facts:
    """Read a row of `/simulator/truth`."""
    found = {name: read(row) for name, read in _FACTS.items()}
    return {name: value for name, value in found.items() if not is_empty(value)}


def lacking(kept: Facts, given: Facts, names: Collection[str] | None = None) -> list[str]:
    """Name the facts, all or these, that are given and not kept so."""
    return [
        name
        for name, value in given.items()
        if (names is None or name in names) and not _is_same(name, kept.get(name), value)
    ]


def _is_same(name: str, kept: object, given: object) -> bool:
    """Compare; a result with URLs by these, since kie.ai spells it in many ways."""
    if name == "result" and isinstance(given, Mapping) and "resultUrls" in given:
        return not is_empty(kept)
    return kept == given
