"""Files that an input names: `kgw-file:{id}`, a whole text and never a part of one.

An input is kept as it was given. What is sent has the file's URL in place of the reference, and not
one other character is changed: numbers keep their digits.
"""

import re
from collections.abc import Mapping, Sequence
from uuid import UUID

from app.domain.errors import Flaw, InvalidRequestError
from app.domain.exact_json import Verbatim, pointer, render

SCHEME = "kgw-file:"
MAX_REFERENCES = 100
"""Places of one input that may name files."""
MAX_FLAWS = 20
"""Places that are named at once where they are wrong."""
MAX_SHOWN = 200
"""Characters of the pointer to each: names of members are as long as their caller likes."""

Path = tuple[str | int, ...]
"""A place in a document: the names and the numbers that lead there."""

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOKEN = re.compile(
    r'(?<!\\)"kgw-file:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"(?!\s*:)', re.ASCII
)
"""A whole text in JSON: outside of texts there is no backslash, so a quote without one before it
begins or ends a text, and one that is followed by the scheme begins it. Names of members are
followed by a colon."""


def reference(file_id: UUID) -> str:
    """Return what an input names the file by."""
    return f"{SCHEME}{file_id}"


def references(document: object) -> dict[Path, UUID]:
    """Return the files that a parsed input names, by the path to each place.

    Raises `InvalidRequestError` for a text that begins like a reference and is none.
    """
    found: dict[Path, UUID] = {}
    flaws: list[Flaw] = []
    pending: list[tuple[Path, object]] = [(("input",), document)]
    while pending and len(flaws) < MAX_FLAWS and len(found) <= MAX_REFERENCES:
        path, value = pending.pop()
        if isinstance(value, dict):
            pending.extend(((*path, name), member) for name, member in value.items())
        elif isinstance(value, list):
            pending.extend(((*path, index), item) for index, item in enumerate(value))
        elif isinstance(value, str) and value.startswith(SCHEME):
            named = value.removeprefix(SCHEME)
            if _ID.fullmatch(named):
                found[path] = UUID(named)
            else:
                flaws.append(flaw(path, f"should be {SCHEME} and the id of a file"))
    if len(found) > MAX_REFERENCES:
        flaws = [Flaw("/input", f"may name files in {MAX_REFERENCES} places")]
    if flaws:
        raise flawed(flaws)
    return found


def flaw(path: Path, detail: str) -> Flaw:
    """Say what is wrong at a place; of long names their beginning is shown."""
    shown = (part if isinstance(part, int) else part[:MAX_SHOWN] for part in path)
    return Flaw(pointer(*shown)[:MAX_SHOWN], detail)


def flawed(flaws: Sequence[Flaw]) -> InvalidRequestError:
    """Refuse an input for the places that name files; the first few are named."""
    flaws = flaws[:MAX_FLAWS]
    return InvalidRequestError("; ".join(f"{one.pointer} {one.detail}" for one in flaws), flaws)


def named_in(text: Verbatim) -> set[UUID]:
    """Return the files that a kept input names."""
    return {UUID(named) for named in _TOKEN.findall(text.encoded_json)}


def replaced(text: Verbatim, urls: Mapping[UUID, str]) -> Verbatim:
    """Put each file's URL in the place of its reference."""
    return Verbatim(_TOKEN.sub(lambda found: render(urls[UUID(found[1])]), text.encoded_json))
