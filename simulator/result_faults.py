"""What the result faults make of a finished task: its result, and how it is told."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from simulator import json_codec
from simulator.choices import Choice, Chosen
from simulator.faults import END_WORDS, Kind

Data = dict[str, Any]
Result = dict[str, Any]

FAIL_CODES: Mapping[str, str | int | None] = {
    "result-fail-code-number": 422,
    "result-fail-code-word": "GENERATION_FAILED",
    "result-fail-code-null": None,
}
"""These show in the task itself."""

SENTENCE = "The quick brown fox jumps over the lazy dog. "


def _transcript(chosen: Chosen) -> Result:
    """Write so many bytes of JSON."""
    frame = len(json_codec.text(_transcribed("")))
    length = max(0, chosen.bytes - frame)
    return _transcribed((SENTENCE * (length // len(SENTENCE) + 1))[:length])


def _transcribed(text: str) -> Result:
    return {"resultObject": {"transcript": text}}


RESULTS: Mapping[str, Callable[[Chosen], Result]] = {
    "result-without-urls": lambda _: {"resultUrls": []},
    "result-object": lambda _: {"resultObject": {"text": "a cat", "score": Decimal("0.98")}},
    "result-large": _transcript,
}
"""Other results than the usual one."""
WITHOUT_RESULT = ("result-json-null", "result-json-empty", "result-json-absent")


def result(faults: Choice, usual: Result) -> Result | None:
    """Return what a success brings, as the task's result fault has it. None: nothing."""
    chosen = faults.get(Kind.RESULT)
    if chosen is None:
        return usual
    if chosen.name in WITHOUT_RESULT:
        return None
    return RESULTS[chosen.name](chosen) if chosen.name in RESULTS else usual


def _with_result(change: Callable[[Data], Data]) -> Callable[[Data], Data]:
    """Change what there is of a result: running and failed tasks have none."""
    return lambda data: change(data) if data.get("resultJson") else data


def _rewritten(change: Callable[[str], object]) -> Callable[[Data], Data]:
    """Write `resultJson` in another way."""
    return _with_result(lambda data: data | {"resultJson": change(data["resultJson"])})


def _parsed(text: str) -> Any:  # noqa: ANN401  # JSON
    return json_codec.read(text.encode())


def _first_url(text: str) -> str:
    return json_codec.text({"resultUrls": _parsed(text)["resultUrls"][0]})


def _urls_as_text(text: str) -> str:
    return json_codec.text({"resultUrls": json_codec.text(_parsed(text)["resultUrls"])})


def _without(name: str) -> Callable[[Data], Data]:
    return lambda data: {member: value for member, value in data.items() if member != name}


def _renamed(old: str, new: str) -> Callable[[Data], Data]:
    return lambda data: {(new if name == old else name): value for name, value in data.items()}


def _in_other_words(state: str, word: str) -> Callable[[Data], Data]:
    """Call one of the states by another word."""
    return lambda data: data | {"state": word} if data["state"] == state else data


CHANGES: Mapping[str, Callable[[Data], Data]] = {
    "result-json-object": _rewritten(_parsed),
    "result-json-twice": _rewritten(json_codec.text),
    "result-json-null": _rewritten(lambda _: None),
    "result-json-empty": _rewritten(lambda _: ""),
    "result-json-absent": _with_result(_without("resultJson")),
    "result-urls-text": _rewritten(_first_url),
    "result-urls-json-text": _rewritten(_urls_as_text),
    **{
        f"result-word-{word}": _in_other_words(state, word)
        for state, words in END_WORDS.items()
        for word in words
    },
    "result-credits-2025": _renamed("creditsConsumed", "consumeCredits"),
    "result-credits-2026": _renamed("consumeCredits", "creditsConsumed"),
}


def apply(faults: Choice, data: Data) -> Data:
    """Return the data of a record or a callback as the task's result fault has it."""
    chosen = faults.get(Kind.RESULT)
    change = CHANGES.get(chosen.name) if chosen else None
    return change(data) if change else data
