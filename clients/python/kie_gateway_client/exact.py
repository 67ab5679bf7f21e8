"""JSON with every digit kept: numbers are `int` or `Decimal`, never `float`."""

import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any
from uuid import UUID

MAX_DEPTH = 100
"""Levels of nesting that the gateway takes."""

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_MICROSECONDS = 6


class NotJSONError(ValueError):
    """The bytes are no JSON text in UTF-8."""


def parse(body: bytes) -> Any:  # noqa: ANN401  # JSON is any of six types
    """Read JSON text; raises `NotJSONError`."""
    try:
        return json.loads(body.decode(), parse_float=Decimal, parse_constant=_refused)
    except (ValueError, RecursionError, InvalidOperation):
        pass
    message = "no JSON"
    raise NotJSONError(message)


def parse_object(body: bytes) -> dict[str, Any]:
    """Read JSON text that is one object; raises `NotJSONError`."""
    value = parse(body)
    if not isinstance(value, dict):
        message = "no JSON object"
        raise NotJSONError(message)
    return value


def render(value: object) -> bytes:
    """Write JSON text in UTF-8; `Decimal` digit for digit, UUIDs and instants as texts.

    Raises `ValueError` and `TypeError` for what has no JSON form.
    """
    return _written(value, 0).encode()


def rfc3339(moment: datetime) -> str:
    """Spell an instant; raises `ValueError` for one without a zone, which could mean any."""
    if moment.tzinfo is None:
        message = "a datetime needs a zone: datetime.now(timezone.utc), for example"
        raise ValueError(message)
    return moment.isoformat().replace("+00:00", "Z")


def instant(value: object) -> datetime | None:
    """Read an instant; None where it is none."""
    if not isinstance(value, str) or (found := _INSTANT.fullmatch(value)) is None:
        return None
    digits = (found[1] or "")[1 : _MICROSECONDS + 1].ljust(_MICROSECONDS, "0")
    zone = "+00:00" if found[2] == "Z" else found[2]
    try:
        return datetime.fromisoformat(f"{value[:19]}.{digits}{zone}")
    except ValueError:
        return None


def number(value: object) -> Decimal | None:
    """Take a JSON number; None where it is none."""
    is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
    return Decimal(value) if is_number and isinstance(value, (int, Decimal)) else None


def _refused(text: str) -> Any:  # noqa: ANN401
    raise ValueError(text)


def _written(value: object, depth: int) -> str:
    if depth > MAX_DEPTH:
        message = f"nested deeper than {MAX_DEPTH} levels"
        raise ValueError(message)
    if isinstance(value, Mapping):
        members = (f"{_name(name)}:{_written(found, depth + 1)}" for name, found in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_written(item, depth + 1) for item in value) + "]"
    return _scalar(value)


def _name(name: object) -> str:
    if not isinstance(name, str):
        message = f"a member's name is {type(name).__name__}, no text"
        raise TypeError(message)
    return json.dumps(name, ensure_ascii=False)


def _scalar(value: object) -> str:
    if isinstance(value, Decimal):
        if not value.is_finite():
            message = f"{value} has no JSON form"
            raise ValueError(message)
        return str(value)
    if isinstance(value, datetime):
        value = rfc3339(value)
    elif isinstance(value, (date, UUID)):
        value = str(value)
    elif isinstance(value, Enum):
        value = value.value
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
