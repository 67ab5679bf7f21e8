"""Makes a `Report` of what an envelope says about a task, whichever family it comes from.

The families spell the same facts differently; the tables, here and in `states.py`, hold every
spelling that was recorded or is documented, the preferred one first. Where a table knows nothing,
nothing is said.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from app.domain.report import Progress, Report
from app.kie import values
from app.kie.envelope import ALONE, IDS, MAX_FAIL_MESSAGE, MAX_MESSAGE, SUCCESSES, Envelope
from app.kie.states import SIGNALS, TOLERATED

MAX_FAIL_CODE = 200
MAX_STATE = 100
MAX_CALLBACK_URL = 2_000

_T = TypeVar("_T")


RESULTS = ("resultJson", "response", "info", "videoInfo", "resultInfoJson", "data")
"""Members of `data` that hold the result as a document, or as a document's text."""
FLAT_SUFFIXES = ("url", "urls", "resultobject")
"""Endings, in lower case, of the members that are a result without a document around them."""
TEXTS = ("resultJson", "result")
"""Members that are kept under their own name, as they stand, when nothing better is found."""

PARAMS = ("param", "paramJson", "promptJson", "generateParam")
FAIL_CODES = ("failCode", "errorCode")
FAIL_MESSAGES = ("failMsg", "errorMessage", "errorMsg")
CREDITS = ("creditsConsumed", "consumeCredits")

_SECONDS_AT_MOST = 10
"""`costTime` beyond this many times the elapsed time is not in seconds."""


def signal(envelope: Envelope) -> tuple[Progress, str] | None:
    """How far the task is and kie.ai's own word for it; None where no state is named."""
    record = _record(envelope)
    for name, meanings in SIGNALS:
        if (word := values.text(record.get(name), MAX_STATE)) is not None:
            known = meanings.get(word.lower()) or _tolerated(word.lower(), envelope, record)
            return known or Progress.RUNNING, word
    return None


def _tolerated(word: str, envelope: Envelope, record: Mapping[str, Any]) -> Progress | None:
    """Take a tolerated end word where something beside it bears it out."""
    progress = TOLERATED.get(word)
    if progress is Progress.SUCCEEDED:
        return progress if envelope.code in (None, *SUCCESSES) and _result(record) else None
    if progress is Progress.FAILED:
        marks = (values.text(record.get(name), 1) for name in (*FAIL_CODES, *FAIL_MESSAGES))
        return progress if any(marks) or envelope.code not in (None, *SUCCESSES) else None
    return None


def report(envelope: Envelope, progress: Progress, kie_state: str | None = None) -> Report:
    """Everything that the envelope says; the bounds of all texts are the MAX_* above."""
    record = _record(envelope)
    result = _result(record)
    created = values.instant(record.get("createTime"))
    completed = values.instant(record.get("completeTime"))
    failed = progress is Progress.FAILED  # a documented success carries a failCode: not believed
    return Report(
        progress=progress,
        kie_task_ids=_task_ids(record, envelope.root),
        code=envelope.code,
        message=values.text(envelope.message, MAX_MESSAGE),
        kie_state=kie_state,
        result=result,
        result_urls=tuple(dict.fromkeys(values.urls(result))),
        fail_code=_fail_code(envelope, record) if failed else None,
        fail_message=_fail_message(envelope, record) if failed else None,
        credits_consumed=_first(values.amount(record.get(name)) for name in CREDITS),
        duration_seconds=_duration(values.amount(record.get("costTime")), created, completed),
        callback_url=_callback_url(record),
        kie_created_at=created,
        kie_completed_at=completed,
    )


def _record(envelope: Envelope) -> Mapping[str, Any]:
    """Take `data`; a list or a text in its place counts as a result (Aleph's may be null)."""
    data = envelope.data
    return data if isinstance(data, dict) else {"data": data}


def _task_ids(record: Mapping[str, Any], root: Mapping[str, Any]) -> tuple[str, ...]:
    """Every id there is, each once. `recordId` repeats `taskId`, so it counts only alone."""
    named = [record.get(name) for name in IDS] + [root.get(name) for name in IDS]
    found = [found for name in named if (found := values.identifier(name)) is not None]
    if not found and (alone := values.identifier(record.get(ALONE))) is not None:
        found = [alone]
    return tuple(dict.fromkeys(found))


def _result(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Find the paid result, always an object: the first of RESULTS, flat members, TEXTS.

    A list is wrapped as `{"data": [...]}`. A `resultJson` that is no document is kept as
    `{"resultJson": <what it said>}`, so that what was paid for is never dropped.
    """
    found = (
        _first(_structured(record.get(name)) for name in RESULTS)
        or {name: member for name, member in record.items() if _is_flat(name) and member}
        or {name: found for name in TEXTS if (found := values.document(record.get(name)))}
    )
    kept: dict[str, Any] = values.without_private(found)
    return kept or None


def _structured(value: object) -> dict[str, Any] | None:
    match values.document(value):
        case dict() as found:
            return found or None
        case list() as found:
            return {"data": found} if found else None
        case _:
            return None


def _is_flat(name: str) -> bool:
    return name.lower().endswith(FLAT_SUFFIXES) and not values.is_private(name)


def _fail_code(envelope: Envelope, record: Mapping[str, Any]) -> str | None:
    said = _first(values.text(record.get(name), MAX_FAIL_CODE) for name in FAIL_CODES)
    return said or (None if envelope.code in (None, *SUCCESSES) else str(envelope.code))


def _fail_message(envelope: Envelope, record: Mapping[str, Any]) -> str | None:
    """Take the record's own words, else the envelope's, unless those only say "success"."""
    said = _first(values.text(record.get(name), MAX_FAIL_MESSAGE) for name in FAIL_MESSAGES)
    outer = values.text(envelope.message, MAX_FAIL_MESSAGE)
    return said or (None if outer is None or outer.lower() == "success" else outer)


def _duration(
    cost: Decimal | None, created: datetime | None, completed: datetime | None
) -> Decimal | None:
    """`costTime` in seconds: seen live as whole seconds, documented as milliseconds.

    Taken as seconds unless kie.ai's own two instants contradict that; then as milliseconds if
    that fits them; else None. Below a second the two instants are too coarse to judge by.
    """
    if cost is None or created is None or completed is None or completed < created:
        return cost
    longest = _SECONDS_AT_MOST * max((completed - created).total_seconds(), 1)
    return next((seconds for seconds in (cost, cost / 1000) if seconds <= longest), None)


def _callback_url(record: Mapping[str, Any]) -> str | None:
    params = (values.document(record.get(name)) for name in PARAMS)
    return _first(
        values.text(param.get("callBackUrl"), MAX_CALLBACK_URL)
        for param in params
        if isinstance(param, dict)
    )


def _first(found: Iterable[_T | None]) -> _T | None:
    return next((value for value in found if value is not None), None)
