"""A JSON object with one long text of base64, read as it comes: the text is decoded, never held.

`{"base64Data": "...", "uploadPath": "...", "fileName": "..."}`, in any order. Everything but the
long text is short; what is not such an object is refused. Linear in what comes.
"""

import base64
import binascii
import re
from collections.abc import Collection
from enum import Enum, auto

from app.domain import exact_json
from app.domain.errors import MalformedBodyError, bad_member

MAX_SHORT = 8192
"""Bytes of all that stands around the long text."""

_PREFIX = re.compile(rb"data:([^,;]{0,100})(?:;[^,]{0,100})?,", re.IGNORECASE)
_MAX_PREFIX = 256
_BLANKS = re.compile(rb"(?:\\[nrt]|[ ])+")
_SLASH = (b"\\/", b"/")
"""Some encoders write a slash so."""


class _At(Enum):
    BEFORE = auto()
    INSIDE = auto()
    BEHIND = auto()


class Base64Body:
    """Feed it the body, take the bytes; `members` is complete after `end`."""

    def __init__(self, long: str, short: Collection[str]) -> None:
        """`long`: the member with the base64; `short`: the others that count."""
        self._long = long
        self._opening = re.compile(rb'"%b"\s*:\s*"' % re.escape(long.encode()))
        self._short = short
        self._at = _At.BEFORE
        self._around = bytearray()
        """The object without the long text."""
        self._text = b""
        """Of the long text, what cannot be decoded yet."""
        self._begun = False
        self.content_type: str | None = None
        """As a data URL says."""
        self.members: dict[str, str] = {}

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes of the body; returns what they decode to.

        Raises `MalformedBodyError` and `InvalidRequestError`.
        """
        if self._at is _At.BEFORE:
            return self._before(piece)
        if self._at is _At.INSIDE:
            return self._inside(piece)
        self._keep(piece)
        return b""

    def end(self) -> None:
        """Say that no more comes; raises as `feed`."""
        if self._at is _At.INSIDE:
            ended = "it ends inside a text"
            raise _malformed(ended)
        try:
            found = exact_json.parse(bytes(self._around))
        except exact_json.UnreadableDocumentError as error:
            raise _malformed(error.reason) from None
        if not isinstance(found, dict):
            ended = "it is no object"
            raise _malformed(ended)
        if self._at is _At.BEFORE or self._long not in found:
            where = f"/{self._long}"
            raise bad_member(where, "is missing, or no text")
        for name in self._short:
            value = found.get(name)
            if not isinstance(value, str | None):
                raise bad_member(exact_json.pointer(name), "should be a text")
            if value:
                self.members[name] = value

    def _keep(self, piece: bytes) -> None:
        self._around += piece
        if len(self._around) > MAX_SHORT:
            reason = f"it has more than {MAX_SHORT} bytes beside {self._long}"
            raise _malformed(reason)

    def _before(self, piece: bytes) -> bytes:
        """Look for the long text; its name inside another text is preceded by a backslash."""
        start = max(0, len(self._around) - len(self._long) - 64)
        seen = bytes(self._around[start:]) + piece
        found = next(
            (
                one
                for one in self._opening.finditer(seen)
                if not seen[: one.start()].endswith(b"\\")
            ),
            None,
        )
        if found is None:
            self._keep(piece)
            return b""
        rest = seen[found.end() :]
        del self._around[start:]
        self._keep(seen[: found.end()])
        self._at = _At.INSIDE
        return self._inside(rest)

    def _inside(self, piece: bytes) -> bytes:
        text = self._text + piece
        quote = text.find(b'"')
        if quote < 0:
            return self._decoded(text, last=False)
        self._at = _At.BEHIND
        self._keep(text[quote:])
        return self._decoded(text[:quote], last=True)

    def _decoded(self, text: bytes, *, last: bool) -> bytes:
        if not self._begun:
            if not last and len(text) < _MAX_PREFIX:
                self._text = text
                return b""
            text = self._without_prefix(text)
            self._begun = True
        plain = _BLANKS.sub(b"", text.replace(*_SLASH))
        held = b"\\" if plain.endswith(b"\\") and not last else b""
        plain = plain.removesuffix(b"\\") if held else plain
        usable = len(plain) if last else len(plain) // 4 * 4
        self._text = plain[usable:] + held
        try:
            return base64.b64decode(
                _padded(plain[:usable]) if last else plain[:usable], validate=True
            )
        except (binascii.Error, ValueError):
            where = f"/{self._long}"
            raise bad_member(where, "should be base64") from None

    def _without_prefix(self, text: bytes) -> bytes:
        found = _PREFIX.match(text.replace(*_SLASH))
        if found is None:
            return text
        self.content_type = found[1].decode("latin-1") or None
        return text.replace(*_SLASH)[found.end() :]


def _padded(text: bytes) -> bytes:
    """Add what some encoders leave out at the end."""
    return text + b"=" * (-len(text) % 4)


def _malformed(reason: str) -> MalformedBodyError:
    detail = f"The body is not usable JSON: {reason}."
    return MalformedBodyError(detail)
