"""Compares two documents by structure: what each run makes up anew is named, the rest compared."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

ID = re.compile(r"[0-9a-f]{32}")
NOTHING = "<nothing>"
"""Stands where one side has no such member."""
MILLISECONDS = range(10**12, 10**13)
"""Numbers that are instants, unix time: from 2001 to 2286."""


@dataclass(frozen=True, slots=True)
class JsonText:
    """A text that holds this document: another thing than the document itself."""

    held: object


@dataclass
class Names:
    """What one side makes up: its ids by the order that they come in, URLs, instants.

    The same id has the same name everywhere, so two sides are alike only if they repeat an id in
    the same places.
    """

    known: Mapping[str, str] = field(default_factory=dict)
    """Names of texts that are to be told from others of their kind: the caller's own URL."""
    _ids: dict[str, str] = field(default_factory=dict)

    def name(self, value: Any) -> Any:
        """Put names into a document; texts that hold JSON are read, and named within."""
        match value:
            case dict():
                return {member: self.name(each) for member, each in value.items()}
            case list():
                return [self.name(each) for each in value]
            case str():
                return self._text(value)
            case int() if value in MILLISECONDS:
                return "<instant>"
            case _:
                return value

    def _text(self, text: str) -> Any:
        if text in self.known:
            return self.known[text]
        if ID.fullmatch(text):
            return self._ids.setdefault(text, f"<id {len(self._ids) + 1}>")
        if text.startswith(("http://", "https://")):
            return "<URL>"
        held = _held(text)
        return text if held is None else JsonText(self.name(held))


@dataclass(frozen=True, slots=True)
class Diff:
    """One place where two documents differ."""

    path: str
    """Names of members and numbers of items, joined by dots."""
    direct: object
    through: object

    @override
    def __str__(self) -> str:
        return f"{self.path}: {self.direct!r} directly, {self.through!r} through the gateway"


def diffs(direct: Any, through: Any, path: str = "") -> Iterator[Diff]:
    """Yield every difference between two documents, both with names in them."""
    if isinstance(direct, JsonText) and isinstance(through, JsonText):
        yield from diffs(direct.held, through.held, path)
    elif isinstance(direct, dict) and isinstance(through, dict):
        for member in direct | through:
            ours, theirs = through.get(member, NOTHING), direct.get(member, NOTHING)
            yield from diffs(theirs, ours, _below(path, member))
    elif isinstance(direct, list) and isinstance(through, list):
        pairs = itertools.zip_longest(direct, through, fillvalue=NOTHING)
        for number, (theirs, ours) in enumerate(pairs):
            yield from diffs(theirs, ours, _below(path, str(number)))
    elif not _same(direct, through):
        yield Diff(path, direct, through)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _same(one: object, other: object) -> bool:
    """Tell whether two values are equal as JSON: true is not 1, though 4.0 is 4."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _held(text: str) -> object:
    """Read the object or list that a text holds; None: it holds none."""
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
