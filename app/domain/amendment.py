"""What later evidence adds to an end that is known, and where the two contradict each other.

kie.ai's record, read by a query, is its last word; a callback can be forged, since its signature
does not cover its body. So a record replaces what it contradicts, and a callback adds at most.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from app.domain.report import Facts
from app.domain.task import Change

NAMES = tuple(field.name for field in fields(Facts))
MEASURES = ("credits_consumed", "duration_seconds", "kie_created_at", "kie_completed_at")

RETOLD = frozenset({"result", "result_urls", "fail_code", "fail_message"})
"""Facts whose change is told to the caller as the end itself was."""

GENERAL_FAIL_CODE = "501"
"""The envelope's word for every failure. kie.ai's record often knows the real one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """What changes of the facts that a task keeps; empty: nothing."""

    facts: Facts
    """All of them, as they are to be kept."""
    filled: tuple[str, ...] = ()
    """Names of facts that were empty."""
    corrected: tuple[str, ...] = ()
    """Names of facts that were otherwise."""
    disagrees: bool = False
    """The results or the credits contradict each other."""

    @property
    def changes(self) -> bool:
        return bool(self.filled or self.corrected)

    @property
    def retold(self) -> bool:
        """Whether the caller is told of the end once more, not only of what it cost."""
        return not RETOLD.isdisjoint(self.filled + self.corrected)

    @property
    def kind(self) -> Change:
        return Change.CORRECTED if self.corrected else Change.FILLED

    @property
    def reason(self) -> str:
        """A sentence for the task's history."""
        parts = (("filled", self.filled), ("corrected by kie.ai's record", self.corrected))
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)


def amend(known: Facts, said: Facts, *, wins: bool) -> Amendment:
    """Compare what is kept of an end with what is said of the same end.

    `wins`: kie.ai's record says it. A callback that contradicts what is kept changes nothing.
    """
    disagrees = _results_differ(known, said, wins=wins) or _differ(known, said, "credits_consumed")
    if disagrees and not wins:
        return Amendment(facts=known, disagrees=True)
    changes = _result(known, said, wins=wins)
    changes |= _reason(known, said, wins=wins)
    changes |= _measures(known, said, wins=wins)
    return Amendment(
        facts=replace(known, **changes),
        filled=tuple(name for name in NAMES if name in changes and is_empty(getattr(known, name))),
        corrected=tuple(
            name for name in NAMES if name in changes and not is_empty(getattr(known, name))
        ),
        disagrees=disagrees,
    )


def contradicts(one: Facts, other: Facts) -> bool:
    """Tell whether two accounts of the same end name other results or other credits."""
    return amend(one, other, wins=False).disagrees


def is_empty(value: object) -> bool:
    """Tell whether there is nothing in it, at whatever depth: `{"resultUrls": []}` is empty."""
    if isinstance(value, Mapping):
        return all(map(is_empty, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_empty, value))
    return value is None or value == ""


def _result(known: Facts, said: Facts, *, wins: bool) -> dict[str, Any]:
    new: dict[str, Any] = {"result": said.result}
    if set(known.result_urls) != set(said.result_urls):
        new["result_urls"] = said.result_urls
    if is_empty(said.result):
        return {}
    if is_empty(known.result):
        return new
    richer = set(known.result_urls) < set(said.result_urls)
    return new if wins and (richer or _results_differ(known, said, wins=wins)) else {}


def _results_differ(known: Facts, said: Facts, *, wins: bool) -> bool:
    """By their URLs, where there are any; a record may name more of them, a callback fewer."""
    if is_empty(known.result) or is_empty(said.result):
        return False
    before, after = set(known.result_urls), set(said.result_urls)
    if before and after:
        return not (before <= after if wins else after <= before)
    return known.result != said.result


def _reason(known: Facts, said: Facts, *, wins: bool) -> dict[str, Any]:
    """Take the reason where none is known, or only the envelope's, or the record has its own."""
    if known.fail_code is not None and said.fail_code in (None, GENERAL_FAIL_CODE):
        return {}
    names = ("fail_code", "fail_message")
    better = wins or known.fail_code == GENERAL_FAIL_CODE
    return {name: getattr(said, name) for name in names if _may_take(known, said, name, better)}


def _measures(known: Facts, said: Facts, *, wins: bool) -> dict[str, Any]:
    return {name: getattr(said, name) for name in MEASURES if _may_take(known, said, name, wins)}


def _may_take(known: Facts, said: Facts, name: str, better: bool) -> bool:  # noqa: FBT001  # a rule's own condition
    empty = is_empty(getattr(known, name)) and not is_empty(getattr(said, name))
    return empty or (better and _differ(known, said, name))


def _differ(known: Facts, said: Facts, name: str) -> bool:
    """Both say something, and not the same."""
    before, after = getattr(known, name), getattr(said, name)
    return not is_empty(before) and not is_empty(after) and before != after
