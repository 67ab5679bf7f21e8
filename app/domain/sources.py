"""Where the files of a result are: its URLs, data within it, or, of one without any, itself."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any
from urllib.parse import unquote_to_bytes

from app.domain.exact_json import render
from app.domain.files import UNKNOWN_TYPE, content_type_of
from app.domain.report import Facts

MOST = 200
"""Files of one task that are kept: a result of more is a list of something else."""

MAX_HEAD = 200
"""Characters of a `data:` URL before its comma."""

_DATA = re.compile(rf"data:([^,]{{0,{MAX_HEAD}}}),")

_TEXTS = ("text", "content", "resultJson", "result", "resultObject", "data")
"""The one member of a result that is a text, and is kept as text."""


class Kind(StrEnum):
    """What a file is made of."""

    URL = "url"
    DATA = "data"
    """A `data:` URL within the result."""
    RESULT = "result"
    """The result itself: it names no file."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file of a result."""

    kind: Kind
    url: str | None
    """The URL; of `data:` only what stands before the comma; None: there is none."""
    digest: bytes
    """What tells it from the others of its task."""


@dataclass(frozen=True, slots=True)
class Inline:
    """A file that came with the result."""

    content_type: str
    content: bytes


def sources_of(facts: Facts) -> Sequence[Source]:
    """List the files of a result, each once, at most `MOST`."""
    if not facts.result:
        return ()
    found = {_digest(url): Source(Kind.URL, url, _digest(url)) for url in facts.result_urls}
    for url in _data_urls(facts.result):
        key = _digest(url)
        found.setdefault(key, Source(Kind.DATA, url.partition(",")[0], key))
    if not found:
        return (Source(Kind.RESULT, None, _digest(Kind.RESULT)),)
    return list(found.values())[:MOST]


def inline(result: Mapping[str, Any], digest: bytes) -> Inline | None:
    """Read the file with this digest out of a result; None: it is not there, or no file."""
    if digest == _digest(Kind.RESULT):
        return _itself(result)
    for url in _data_urls(result):
        if _digest(url) == digest:
            return _decoded(url)
    return None


def _itself(result: Mapping[str, Any]) -> Inline:
    """Keep a result that is one text as text, and any other as JSON."""
    if len(result) == 1:
        [(name, value)] = result.items()
        if name in _TEXTS and isinstance(value, str):
            return Inline("text/plain", value.encode(errors="replace"))
    return Inline("application/json", render(result).encode())


def _decoded(url: str) -> Inline | None:
    """Decode a `data:` URL (RFC 2397)."""
    head, _, body = url.partition(",")
    kind, *parameters = head.removeprefix("data:").split(";")
    content = unquote_to_bytes(body)
    if "base64" in (one.strip().lower() for one in parameters):
        try:
            content = base64.b64decode(content.translate(None, b" \t\r\n"), validate=True)
        except binascii.Error:
            return None
    known = content_type_of(kind) if kind else "text/plain"
    return Inline(known or UNKNOWN_TYPE, content)


def _data_urls(result: Any) -> Iterator[str]:  # noqa: ANN401  # JSON
    """Yield every text in the document that is a `data:` URL, in order."""
    pending = [result]
    while pending:
        found = pending.pop()
        if isinstance(found, str):
            if _DATA.match(found):
                yield found
        elif isinstance(found, Mapping):
            pending += reversed(list(found.values()))
        elif isinstance(found, list | tuple):
            pending += reversed(found)


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="surrogatepass")).digest()
