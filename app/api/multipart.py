"""Reading `multipart/form-data` with one file as it comes: bounded, and nothing of the file held.

The parser is python-multipart's; what may come, how much and in which order is decided here.
"""

import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.domain.errors import bad_member
from app.domain.exact_json import pointer
from app.domain.file_errors import MalformedMultipartError
from app.services.limits.under_way import give_back

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FILE = "file"
MAX_FIELDS = 8
MAX_VALUE = 2048
"""Bytes of a field beside the file."""
MAX_EPILOGUE = 64 * 1024
"""Bytes around the form that mean nothing."""

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
"""RFC 2046 section 5.1.1."""

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it logs what anybody sends


@dataclass(frozen=True, slots=True)
class _Head:
    """A part begins."""

    name: str
    file_name: str | None
    content_type: str | None


_END = object()


class FileForm:
    """A form of which one part is the file; the fields are known once all of it was read."""

    def __init__(self, request: Request, *, fields: Collection[str], strict: bool = True) -> None:
        """`fields`: the parts that count beside it; `strict`: no others, and none behind it."""
        self._strict = strict
        self._stream = request.stream()
        self._allowed = fields
        self._events: deque[_Head | bytes | object] = deque()
        self._parser = MultipartParser(_boundary(request), _Listener(self._events).callbacks())
        self._ended = False
        self._is_behind = False
        self._spare = 0
        self._begun: _Head | None = None
        self.fields: dict[str, str] = {}

    async def file(self) -> _Head:
        """Read up to the file's own bytes; raises `MalformedMultipartError` where there is none."""
        found = await self._up_to_a_file()
        if found is None:
            detail = (
                f"The form has no part `{FILE}` with a file name: send it as `curl -F "
                f"{FILE}=@a.png` does."
            )
            raise MalformedMultipartError(detail)
        self._begun = found
        return found

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the file, and read the rest of the form before that ends."""
        while (event := await self._next()) is not _END:
            if isinstance(event, bytes):
                yield event
        self._is_behind = True
        if await self._up_to_a_file() is not None:
            raise _one_file()

    async def _up_to_a_file(self) -> _Head | None:
        """Read fields until a file begins; None: the form is over."""
        while (event := await self._next()) is not None:
            if not isinstance(event, _Head):
                continue
            if event.name == FILE and event.file_name is None:
                detail = f"The part `{FILE}` has no file name."
                raise MalformedMultipartError(detail)
            if event.name == FILE:
                return event
            await self._field(event)
        return None

    async def _field(self, head: _Head) -> None:
        name = head.name
        is_known = name in self._allowed
        if head.file_name is not None or not (is_known or not self._strict):
            raise bad_member(pointer(name[:100]), "is no part of this form")
        if self._strict and self._is_behind:
            raise bad_member(pointer(name), "should come before the file")
        value = bytearray()
        while (event := await self._next()) is not _END:
            value += event if isinstance(event, bytes) else b""
            if len(value) > MAX_VALUE:
                raise bad_member(pointer(name[:100]), f"may have {MAX_VALUE} bytes")
        if not is_known:
            return
        if name in self.fields or len(self.fields) >= MAX_FIELDS:
            raise bad_member(pointer(name), "comes twice")
        self.fields[name] = value.decode("utf-8", "replace").replace("\0", "\ufffd")

    async def _next(self) -> _Head | bytes | object | None:
        """Return what comes next; None: the form is over."""
        while not self._events:
            if not await self._read():
                return None
        return self._events.popleft()

    async def _read(self) -> bool:
        """Read one piece of the body; False: there is no more. Raises for one that is cut off."""
        piece = await anext(self._stream, None)
        if piece is not None:
            give_back(len(piece))  # it is handed on, not kept
            self._write(piece)
            return True
        if not self._ended:
            detail = "The form ends before its last boundary."
            raise MalformedMultipartError(detail)
        return False

    def _write(self, piece: bytes) -> None:
        if not piece:
            return
        before = len(self._events)
        try:
            self._parser.write(piece)
        except FormParserError as error:
            detail = f"The form cannot be read: {_plain(error)}."
            raise MalformedMultipartError(detail) from None
        if self._events and self._events[-1] is None:
            self._events.pop()
            self._ended = True
        self._spare = self._spare + len(piece) if len(self._events) == before else 0
        if self._spare > MAX_EPILOGUE:
            detail = "The form has too much around its parts."
            raise MalformedMultipartError(detail)


class _Listener:
    """Turns the parser's calls into events: a head, the bytes of a part, its end, the form's."""

    def __init__(self, events: deque[_Head | bytes | object]) -> None:
        self._events = events
        self._headers: dict[bytes, bytes] = {}
        self._name = b""
        self._value = b""
        self._parts = 0

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._part_begins,
            "on_header_field": self._field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_ends,
            "on_headers_finished": self._head,
            "on_part_data": self._data,
            "on_part_end": lambda: self._events.append(_END),
            "on_end": lambda: self._events.append(None),
        }

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > MAX_FIELDS + 1:
            detail = f"The form may have {MAX_FIELDS + 1} parts."
            raise MalformedMultipartError(detail)
        self._headers = {}

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _head(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if kind != b"form-data" or b"name" not in options:
            detail = "A part of the form has no name."
            raise MalformedMultipartError(detail)
        if b"content-transfer-encoding" in self._headers:
            detail = "A part of the form is encoded: send it as it is."
            raise MalformedMultipartError(detail)
        declared = self._headers.get(b"content-type")
        named = options.get(b"filename", _extended(self._headers[b"content-disposition"]))
        self._events.append(
            _Head(
                name=options[b"name"].decode("utf-8", "replace"),
                file_name=None if named is None else named.decode("utf-8", "replace"),
                content_type=None if declared is None else declared.decode("latin-1"),
            )
        )

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])


_EXTENDED = re.compile(rb";\s*filename\*=utf-8'[^';]*'([^;\s]+)", re.IGNORECASE)


def _extended(disposition: bytes) -> bytes | None:
    """Return a file name as RFC 8187 has it: RFC 7578 forbids it, and urllib3 1 sends no other."""
    found = _EXTENDED.search(disposition)
    return None if found is None else unquote_to_bytes(found[1])


def is_form(request: Request) -> bool:
    """Tell whether the body says that it is a form with files."""
    return _media_type(request) == "multipart/form-data"


_FILES = ("image/", "video/", "audio/", "multipart/", "application/octet-stream", "application/pdf")


def refuse_a_file_as_body(request: Request) -> None:
    """Raise `MalformedMultipartError` for a body that is a file, where a form or JSON may come."""
    if _media_type(request).startswith(_FILES):
        detail = (
            f"The file came as the whole body: send it as a form, as `curl -F {FILE}=@a.png` does, "
            "or JSON with a `url`."
        )
        raise MalformedMultipartError(detail)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _boundary(request: Request) -> bytes:
    """Return the form's boundary; raises `MalformedMultipartError`."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"").decode("latin-1")
    if not is_form(request) or not _BOUNDARY.fullmatch(boundary):
        detail = "Content-Type should be multipart/form-data with a boundary (RFC 7578)."
        raise MalformedMultipartError(detail)
    return boundary.encode()


def _one_file() -> MalformedMultipartError:
    detail = "The form has two files: send one with each request."
    return MalformedMultipartError(detail)


def _plain(error: Exception) -> str:
    """Say what the parser found; its text quotes no more than one byte."""
    return str(error)[:100].rstrip(".").lower()
