"""Files of callers on their way to kie.ai: how they are called, of what type they are, who may.

Names and types come from outside. A name is cut to what no path, header or log can misread; a type
is what the first bytes show, and what is declared may not contradict it.
"""

import re
import unicodedata
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from app.domain.file_errors import UnsupportedFileTypeError

UPLOADS_LIVE = timedelta(days=3)
"""kie.ai's own words: uploaded files are deleted after it."""

HEAD = 512
"""Bytes by which a type is known."""

MAX_NAME = 120
"""Characters of a file's name."""
MAX_PATH = 8
"""Names of a path that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A file whose bytes are still to come."""

    name: str | None
    content_type: str | None
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a caller of kie.ai's own API wants a file to be called; complete once it has come."""

    members: Mapping[str, str]
    """The body's own texts, by kie.ai's names; filled while it is read."""

    @property
    def path(self) -> str | None:
        return self.members.get("uploadPath")

    @property
    def name(self) -> str | None:
        return self.members.get("fileName")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """kie.ai has the file, and anyone can fetch it by its URL."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """kie.ai does not take the file, in its own words."""

    code: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadTerms:
    """What one upload may be."""

    max_bytes: int
    stall: float
    """Seconds without any progress after which it ends."""
    types: Sequence[str]
    """Content types that are taken; `image/*` stands for a whole family."""


Digest = bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A file that kie.ai has, as it is recorded."""

    id: UUID
    client_id: UUID
    name: str
    content_type: str
    bytes: int
    sha256: Digest = field(repr=False)
    url: str = field(repr=False)
    lives: float
    """Seconds for which kie.ai keeps it."""
    object_name: str | None = None
    """Where the archive has a copy."""


# -- names

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_RESERVED = re.compile(r'[<>:"|?*%;`$]')
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}")


def clean_name(given: str | None, default: str = "file") -> str:
    """Return a file's name without path, control characters or what a header or shell reads.

    The ending stays where the name is cut.
    """
    last = re.split(r"[/\\]", (given or "")[-1024:])[-1]
    plain = _RESERVED.sub("_", _CONTROL.sub("", unicodedata.normalize("NFC", last))).strip(" .")
    if len(plain) > MAX_NAME:
        ending = ending_of(plain)
        plain = plain[: MAX_NAME - len(ending)] + ending
    return plain or default


def clean_path(given: str | None) -> str:
    """Return a relative path of clean names, without steps upwards; it may be empty."""
    names = (clean_name(part, "") for part in re.split(r"[/\\]", (given or "")[:1024]))
    return "/".join([name for name in names if name][:MAX_PATH])


def ending_of(name: str) -> str:
    """Return a name's ending with its dot, or nothing."""
    _, dot, last = name.rpartition(".")
    return dot + last if _ENDING.fullmatch(dot + last) else ""


# -- types

UNKNOWN = "application/octet-stream"
_SAY_NOTHING = frozenset({"", UNKNOWN, "binary/octet-stream", "application/x-www-form-urlencoded"})

_MAGIC: Sequence[tuple[int, bytes, str]] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypheix", "image/heic"),
    (4, b"ftypmif1", "image/heif"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
    (8, b"AVI ", "video/x-msvideo"),
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"\xff\xf2", "audio/mpeg"),
    (0, b"\xff\xf1", "audio/aac"),
    (0, b"\xff\xf9", "audio/aac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"\x7fELF", "application/x-executable"),
    (0, b"MZ", "application/x-msdownload"),
    (0, b"\xca\xfe\xba\xbe", "application/x-executable"),
    (0, b"\xcf\xfa\xed\xfe", "application/x-executable"),
    (0, b"#!", "application/x-sh"),
)
"""What files begin with, by offset; the first that fits counts."""

_MARKUP = re.compile(
    rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|script|iframe|\?xml|svg)\b",
    re.IGNORECASE,
)

_NEVER = frozenset(
    {
        "text/html",
        "text/xml",
        "text/javascript",
        "image/svg+xml",
        "application/xml",
        "application/xhtml+xml",
        "application/javascript",
        "application/ecmascript",
        "application/x-javascript",
        "application/x-executable",
        "application/x-msdownload",
        "application/x-sh",
    }
)
"""What a browser or a machine would run: never taken, whatever the settings say."""

_BY_ENDING: Mapping[str, str] = {
    ".txt": "text/plain",
    ".srt": "text/plain",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".json": "application/json",
}
"""What has no bytes to be known by."""

_ENDINGS: Mapping[str, str] = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "application/pdf": ".pdf",
    "text/plain": ".txt",
}
"""For files whose names have none: kie.ai's models look at the URL's."""

_KNOWN = frozenset(kind for _, _, kind in _MAGIC)
_MEDIA = frozenset({"audio", "video"})
"""Families whose containers are the same."""


def sniffed(head: bytes) -> str | None:
    """Return the type that a file's first bytes show; None: nothing is known by them."""
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            return kind
    return "text/html" if _MARKUP.match(head[:HEAD]) else None


def checked_type(declared: str | None, head: bytes, name: str, allowed: Collection[str]) -> str:
    """Return a file's content type; raises `UnsupportedFileTypeError`.

    `head`: its first `HEAD` bytes, or all of them.
    """
    said = (declared or "").partition(";")[0].strip().lower()
    said = "" if said in _SAY_NOTHING or not _is_type(said) else said
    found = sniffed(head)
    if found is None and said in _KNOWN - {"video/mp4", "audio/mpeg"}:
        trouble = f"it is said to be {said}, and its bytes are not"
        raise _unsupported(trouble)
    if found is not None and said and not _agree(said, found):
        trouble = f"it is said to be {said}, and its bytes are {found}"
        raise _unsupported(trouble)
    kind = found or said or _BY_ENDING.get(ending_of(name).lower(), UNKNOWN)
    if kind.startswith("text/") and b"\0" in head:
        trouble = f"it is said to be {kind}, and its bytes are no text"
        raise _unsupported(trouble)
    if kind in _NEVER or said in _NEVER or not is_allowed(kind, allowed):
        trouble = f"{kind} is not taken"
        raise _unsupported(trouble)
    return kind


def is_allowed(kind: str, allowed: Collection[str]) -> bool:
    """Tell whether a type is among those, by itself or by its family."""
    return kind in allowed or f"{kind.partition('/')[0]}/*" in allowed or "*/*" in allowed


def ending_for(name: str, kind: str) -> str:
    """Return the ending of a file's name, or the usual one of its type."""
    return ending_of(name) or _ENDINGS.get(kind, "")


def _is_type(said: str) -> bool:
    return re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,60}/[a-z0-9][a-z0-9.+-]{0,60}", said) is not None


def _agree(said: str, found: str) -> bool:
    families = {said.partition("/")[0], found.partition("/")[0]}
    if found == "application/zip":  # office documents are zip files
        return said.startswith("application/")
    return len(families) == 1 or families <= _MEDIA


def _unsupported(trouble: str) -> UnsupportedFileTypeError:
    return UnsupportedFileTypeError(f"The file cannot be taken: {trouble}.")
