"""Files that outlive their source: their names in the archive, kinds, states, and retries."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

SCHEMES = ("s3", "gs", "az", "file")
"""Where an archive may be."""

DISPOSITION = "attachment"
"""Results are strangers' files: a browser saves them, and opens none."""


def scheme_of(url: str) -> str:
    return url.partition(":")[0].lower()


class ArtifactState(StrEnum):
    """Where a result file stands."""

    WAITING = "waiting"
    """It is to be copied, at once or again."""
    STORED = "stored"
    FAILED = "failed"
    """It could not be copied, and is not tried any more."""
    DELETING = "deleting"
    """Its object is to be removed."""
    DELETED = "deleted"
    """Its object is gone: it was older than its client has files kept."""


SETTLED = frozenset({ArtifactState.STORED, ArtifactState.FAILED})
"""The copies that have come to their end."""

EXTENSIONS: Mapping[str, str] = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/tiff": "tiff",
    "image/svg+xml": "svg",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/quicktime": "mov",
    "video/x-matroska": "mkv",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/aac": "aac",
    "audio/ogg": "ogg",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/flac": "flac",
    "audio/webm": "weba",
    "application/json": "json",
    "application/pdf": "pdf",
    "application/zip": "zip",
    "application/x-subrip": "srt",
    "text/plain": "txt",
    "text/csv": "csv",
    "text/html": "html",
    "text/vtt": "vtt",
    "model/gltf-binary": "glb",
    "model/gltf+json": "gltf",
    "model/obj": "obj",
}
"""The end of an object's name, by its content type; never by its URL."""

UNKNOWN_TYPE = "application/octet-stream"
UNKNOWN_EXTENSION = "bin"

_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")


def content_type_of(said: str | None) -> str:
    """Return the type without its parameters; `UNKNOWN_TYPE` for what is none (RFC 6838)."""
    name = (said or "").partition(";")[0].strip().lower()[:200]
    return name if _TYPE.fullmatch(name) else UNKNOWN_TYPE


_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


def object_name(client: str, created_at: datetime, task_id: UUID, n: int, content_type: str) -> str:
    """Return `{client}/{yyyy}/{mm}/{task}/{n}.{ext}`: no two files have the same name.

    Nothing of it comes from a URL. A client's name has no slash and does not begin with a dot; one
    that did would be spelled otherwise here.
    """
    who = _UNSAFE.sub("_", client).lstrip(".") or "_"
    extension = EXTENSIONS.get(content_type, UNKNOWN_EXTENSION)
    return f"{who}/{created_at:%Y}/{created_at:%m}/{task_id}/{n}.{extension}"


class Trouble(StrEnum):
    """Why a file was not copied."""

    BLOCKED = "blocked"
    """Its URL, or the address behind it, is none that is fetched from."""
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    """A `data:` URL, or a result, that cannot be read."""
    REDIRECTED = "redirected"
    GONE = "gone"
    """404 or 410."""
    REFUSED = "refused"
    """Another 4xx."""
    CUT = "cut"
    """Fewer or more bytes came than were announced, or the connection broke."""
    SLOW = "slow"
    """Too slow as a whole, or nothing came for too long."""
    UNREACHABLE = "unreachable"
    """No answer, or 5xx."""
    STORE = "store"
    """The archive did not take it."""


TRIES: Mapping[Trouble, int] = {
    **dict.fromkeys((Trouble.BLOCKED, Trouble.TOO_LARGE, Trouble.UNREADABLE), 1),
    **dict.fromkeys((Trouble.REDIRECTED, Trouble.GONE, Trouble.REFUSED), 6),
}
"""After how many tries a trouble counts as lasting; others are tried through the schedule."""

JITTER = 0.1


def next_try(trouble: Trouble, tries: int, schedule: Sequence[float], share: float) -> float | None:
    """Return the seconds until the file is tried again after try number `tries`; None: it is not.

    `schedule`: the wait before each try. `share` in [0, 1): the caller's draw.
    """
    if tries >= min(TRIES.get(trouble, len(schedule)), len(schedule)):
        return None
    return schedule[tries] * (1 + JITTER * share)
