"""One value of kie.ai's at a time: texts, amounts, instants, URLs.

The same fact is a number, a text, `null` or `""` from one endpoint to the next, so every reader
takes anything and returns the value or None. None of them raises, whatever it is given.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from app.domain.balance import is_balance
from app.domain.exact_json import UnreadableDocumentError, read

MAX_ID = 200
"""Characters. kie.ai's ids have 32; a longer one is no id, since half an id names nothing."""

MAX_NESTED = 3
"""Texts inside texts that are read as documents; each is shorter than the one around it."""
MAX_NESTED_TEXT = 4 * 1024 * 1024
"""Characters of a text inside a result that is searched for URLs."""
MAX_NAME = 200
"""Characters of the longest member's name that is remembered: names repeat, hostile ones do not."""
_DOCUMENTS = ("{", "[", '"')
_HOLDERS = ("url", "urls", "result", "results", "resultjson", "resultobject", "data", "info")

_INTEGER = re.compile(r"\d{1,9}", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,15}(?:\.\d{1,30})?", re.ASCII)
_URL = re.compile(r"https?://[^\s/]\S*", re.IGNORECASE)

_MAX_NUMBER = 10**15
_MAX_PLACES = 30
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MILLISECONDS = 10**11
"""Below it a number is in seconds (until the year 5138), from it on in ms (since March 1973)."""
_END_OF_TIME = 10**14

_CALLBACK_URL = "callbackurl"
"""The member that holds our token, in lower case without underscores."""


def text(value: object, limit: int) -> str | None:
    """Text, or a number's digits, cut to `limit` characters; None where there is nothing in it."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    return str(value).strip()[:limit] or None


def identifier(value: object) -> str | None:
    """Read a task id as opaque text; a number counts, a text of over `MAX_ID` does not."""
    found = text(value, MAX_ID + 1)
    return found if found is not None and len(found) <= MAX_ID else None


def code(value: object) -> int | None:
    """Read an envelope's code: an integer or a text of digits, at most nine of them."""
    found = text(value, 10) if isinstance(value, int | str) else None
    return int(found) if found is not None and _INTEGER.fullmatch(found) else None


def decimal(value: object) -> Decimal | None:
    """Read a number or a numeric text exactly; None for what no price or balance looks like.

    The bounds (under 10**15, at most 30 decimal places) keep a hostile exponent out of
    PostgreSQL's numeric.
    """
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        value = Decimal(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    if not number.is_finite() or number.copy_abs() >= _MAX_NUMBER:
        return None
    if number == 0:
        return Decimal(0)  # not 0E+999999
    return number if int(number.as_tuple().exponent) >= -_MAX_PLACES else None


def amount(value: object) -> Decimal | None:
    """`decimal`, never below zero."""
    number = decimal(value)
    return number if number is not None and number >= 0 else None


def instant(value: object) -> datetime | None:
    """Milliseconds or seconds since 1970 as number or text, or an ISO 8601 text; naive is UTC.

    Zero means "not set".
    """
    number = amount(value)
    if number is None:
        return _from_iso(value.strip()) if isinstance(value, str) else None
    if not 0 < number < _END_OF_TIME:
        return None
    seconds = number if number < _FIRST_MILLISECONDS else number / 1000
    return _EPOCH + timedelta(seconds=int(seconds), microseconds=int(seconds % 1 * 1_000_000))


def _from_iso(value: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def document(value: object) -> Any:  # noqa: ANN401  # JSON is any of six types
    """Read JSON that may stand inside a text, or twice inside one; no JSON stays a text."""
    found = _inside(value)
    for _ in range(MAX_NESTED - 1):
        if not isinstance(found, str) or not found.lstrip().startswith(_DOCUMENTS):
            break
        found = _inside(found)
    return found


def _inside(value: object) -> Any:  # noqa: ANN401  # as above
    if not isinstance(value, str):
        return value
    try:
        return read(value)
    except UnreadableDocumentError:
        return value


def urls(value: object, nested: int = MAX_NESTED) -> Iterator[str]:
    """Yield every text in the document that is wholly an http(s) URL, in order.

    A member that is named for URLs or results may hold them as a document's text; any other text
    is left shut: a prompt that is JSON holds its caller's URLs.
    """
    pending: list[tuple[Any, int, bool]] = [(value, nested, True)]
    while pending:
        found, left, holds = pending.pop()
        if isinstance(found, str):
            if _URL.fullmatch(found):
                yield found
            elif holds and left and _is_document(found):
                inside = _inside(found)
                pending.append((inside, left - 1, inside is not found))
        elif isinstance(found, dict):
            pending += [
                (member, left, _is_holder(name[-MAX_NAME:]))
                for name, member in reversed(found.items())
                if isinstance(member, _MAY_HOLD_URLS) and not is_private(name)
            ]
        elif isinstance(found, list):
            pending += [
                (member, left, holds)
                for member in reversed(found)
                if isinstance(member, _MAY_HOLD_URLS)
            ]


_MAY_HOLD_URLS = (str, dict, list)


@lru_cache(maxsize=1024)
def _is_holder(name: str) -> bool:
    return name.lower().endswith(_HOLDERS)


def _is_document(value: str) -> bool:
    return len(value) <= MAX_NESTED_TEXT and value.lstrip().startswith(_DOCUMENTS)


def without_private(value: Any) -> Any:  # noqa: ANN401  # JSON is any of six types
    """Drop, at any depth, the members that callers must not see."""
    if isinstance(value, dict):
        return {
            name: without_private(member) for name, member in value.items() if not is_private(name)
        }
    return [without_private(member) for member in value] if isinstance(value, list) else value


def is_private(name: str) -> bool:
    judge = _is_private if len(name) <= MAX_NAME else _is_private.__wrapped__
    return judge(name)


@lru_cache(maxsize=1024)
def _is_private(name: str) -> bool:
    return is_balance(name) or name.replace("_", "").lower() == _CALLBACK_URL
