"""JSON documents, kept exactly: every number comes out as it went in.

`input` belongs to kie.ai and numbers beyond 2**53 or with many digits must survive, so integers
stay Python integers and all other numbers are `Decimal` (RFC 8259 sets no limit on precision).
What PostgreSQL or UTF-8 cannot hold is refused here, at the boundary, with a pointer to it.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import simplejson
from typing_extensions import override

MAX_DEPTH = 100
"""Levels of nesting that are read. kie.ai's own inputs have fewer than ten."""

MAX_CONTAINERS = 500_000
"""Braces and brackets that kie.ai's text may open. Each costs hundreds of bytes of memory and a
microsecond in which nothing else runs; 16 MiB of a transcript have 300,000."""

_MAY_HOLD_UNSTORABLE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_UNSENDABLE = re.compile("[\ud800-\udfff]")


class Verbatim(simplejson.RawJSON):
    """JSON text that is passed on as it is: `render` neither reads it nor writes it anew."""

    _EMPTY = frozenset({"{}", "[]", '""', "null"})

    def __bool__(self) -> bool:
        return self.encoded_json not in self._EMPTY

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verbatim) and self.encoded_json == other.encoded_json

    @override
    def __hash__(self) -> int:
        return hash(self.encoded_json)

    @override
    def __repr__(self) -> str:
        return f"{type(self).__name__} of {len(self.encoded_json)} characters"


class UnreadableDocumentError(ValueError):
    """The text is not JSON that can be kept; `pointer` (RFC 6901) says where, `reason` why."""

    def __init__(self, reason: str, pointer: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.pointer = pointer


class TooManyValuesError(ValueError):
    """The text has more values than may be read at once."""


def parse(body: bytes, *, most: int | None = None) -> Any:  # noqa: ANN401  # JSON is any of six types
    """Read a caller's UTF-8 JSON text; raises `UnreadableDocumentError` for what cannot be kept.

    Raises `TooManyValuesError` before it reads more than `most` values.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 at byte {error.start}"
        raise UnreadableDocumentError(reason) from None
    if most is not None and has_more_values(text, most):
        raise TooManyValuesError
    value = _load(text, _unique_members)
    for path, found in _texts(value) if _needs_walk(text) else ():
        if _UNSTORABLE.search(found):
            reason = "a NUL or a lone surrogate, which no database keeps"
            raise UnreadableDocumentError(reason, _sendable(pointer(*path)))
    return value


def read(body: bytes | str) -> Any:  # noqa: ANN401  # JSON is any of six types
    """Read kie.ai's JSON text, forgiving what a paid result should not be lost for.

    Bytes that are not UTF-8 and characters that cannot be stored become U+FFFD, of members that
    stand twice the last one counts. Raises `UnreadableDocumentError` for what is not JSON.
    """
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    opened = _opened(text)
    if opened > MAX_CONTAINERS:
        reason = f"more than {MAX_CONTAINERS:,} objects and lists"
        raise UnreadableDocumentError(reason)
    value = _load(text, dict)
    if opened > MAX_DEPTH:
        _require_shallow(value)
    return _storable(value) if _MAY_HOLD_UNSTORABLE.search(text) else value


def render(value: object) -> str:
    """Write JSON text, compact, key order kept, `Decimal` digit for digit, `Verbatim` as it is.

    Instants become RFC 3339 with Z, UUIDs their usual text.
    """
    text: str = _ANSWERS.encode(value)
    return text


def canonical(value: object) -> bytes:
    """One spelling for equal documents: sorted keys, no spaces. For fingerprints."""
    text: str = _CANONICAL.encode(value)
    return text.encode()


def pointer(*parts: str | int) -> str:
    """Join reference tokens to a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def rfc3339(instant: datetime) -> str:
    """Spell an instant as all answers do, in UTC with a Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _spelled(value: object) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, UUID):
        return str(value)
    message = f"{type(value).__name__} has no JSON form"
    raise TypeError(message)


_SPELLING: dict[str, Any] = {
    "use_decimal": True,
    "ensure_ascii": False,
    "separators": (",", ":"),
    "allow_nan": False,
}
_ANSWERS = simplejson.JSONEncoder(**_SPELLING, default=_spelled)
_CANONICAL = simplejson.JSONEncoder(**_SPELLING, sort_keys=True)
"""Both made once: `simplejson.dumps` makes one for each text."""

_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"


def _load(text: str, members: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> Any:  # noqa: ANN401
    try:
        return simplejson.loads(
            text, parse_float=_exact, parse_constant=_no_constant, object_pairs_hook=members
        )
    except RecursionError:
        raise UnreadableDocumentError(_TOO_DEEP) from None
    except simplejson.JSONDecodeError as error:
        reason = f"{error.msg.replace(' %r at', '')} (line {error.lineno}, column {error.colno})"
        raise UnreadableDocumentError(reason) from None
    except ValueError as error:
        reason = str(error)
        if reason.startswith("Exceeds the limit"):  # Python's own, against quadratic parsing
            reason = "an integer of more than 4,300 digits"
        raise UnreadableDocumentError(reason) from None


def _exact(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond 10**18
        reason = f"number out of range: {text[:40]}"
        raise ValueError(reason) from None


def _no_constant(text: str) -> Any:  # noqa: ANN401
    reason = f"{text} is not JSON"
    raise ValueError(reason)


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            reason = f"the member {_sendable(name)[:80]!r} stands twice in one object"
            raise ValueError(reason)
        members[name] = value
    return members


def _sendable(text: str) -> str:
    """Put U+FFFD in the place of what UTF-8 cannot spell: refusals are sent too."""
    return _UNSENDABLE.sub("\ufffd", text)


def _needs_walk(text: str) -> bool:
    """Walk only where the text may hold something to find: walking is slower than parsing."""
    return _opened(text) > MAX_DEPTH or _MAY_HOLD_UNSTORABLE.search(text) is not None


def has_more_values(text: str, most: int) -> bool:
    """Tell whether JSON text has more than `most` values, by what stands outside of its strings.

    Each value but the first follows a comma, a bracket or a brace; what is empty counts twice.
    """
    if _separators(text) < most:
        return False
    if "\\" in text:  # pairs first: what is left before a quote escapes it
        text = text.replace("\\\\", "").replace('\\"', "")
    return _separators("".join(text.split('"')[::2])) >= most


def _separators(text: str) -> int:
    return text.count(",") + _opened(text)


def _opened(text: str) -> int:
    return text.count("{") + text.count("[")


def _require_shallow(value: object) -> None:
    """Raise `UnreadableDocumentError` for what is too deep, looking at one level after another."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        level = [
            member
            for found in level
            for member in (found.values() if isinstance(found, dict) else found)
            if isinstance(member, (dict, list))
        ]
        if not level:
            return
    raise UnreadableDocumentError(_TOO_DEEP)


def _storable(value: object) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_storable(name): _storable(found) for name, found in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value


def _texts(value: object) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text in the document, member names too, with its path; refuses what is too deep."""
    pending: list[tuple[tuple[str | int, ...], object]] = [((), value)]
    while pending:
        path, found = pending.pop()
        if len(path) + isinstance(found, (dict, list)) > MAX_DEPTH:
            raise UnreadableDocumentError(_TOO_DEEP, pointer(*path[:3]))
        if isinstance(found, str):
            yield path, found
        elif isinstance(found, dict):
            for name, member in found.items():
                yield (*path, name), name
                pending.append(((*path, name), member))
        elif isinstance(found, list):
            pending.extend(((*path, index), item) for index, item in enumerate(found))
