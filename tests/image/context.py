"""Which files an engine would be sent to build from: what `.dockerignore` leaves."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ignored:
    """The patterns of a `.dockerignore`, by the engine's rules.

    The last pattern that matches a path, or a directory above it, decides; `!` takes back in.
    """

    patterns: tuple[tuple[bool, re.Pattern[str]], ...]

    @classmethod
    def read(cls, text: str) -> "Ignored":
        lines = [line.strip() for line in text.splitlines()]
        return cls(
            tuple(
                (line.startswith("!"), _expression(line.removeprefix("!").strip("/")))
                for line in lines
                if line and not line.startswith("#")
            )
        )

    def __contains__(self, path: str) -> bool:
        parts = path.split("/")
        above = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        ignored = False
        for back, pattern in self.patterns:
            if any(map(pattern.fullmatch, above)):
                ignored = not back
        return ignored


def _expression(pattern: str) -> re.Pattern[str]:
    if set(pattern) & set("[]\\"):
        message = f".dockerignore: {pattern} has a class or an escape, which is not read here"
        raise ValueError(message)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(known.get(part, re.escape(part)) for part in parts))


def sent(root: Path) -> Iterator[str]:
    """Yield the files under `root` that the engine would be sent, relative to it."""
    text = (root / ".dockerignore").read_text(encoding="utf-8")
    ignored = Ignored.read(text)
    back = {line[1:].split("/")[0] for line in text.splitlines() if line.startswith("!")}
    for entry in sorted(root.iterdir()):
        if entry.name in ignored and entry.name not in back:  # nothing below it is taken back in
            continue
        for path in [entry, *sorted(entry.rglob("*"))]:
            name = path.relative_to(root).as_posix()
            if path.is_file() and name not in ignored:
                yield name


def copy_sent(root: Path, to: Path) -> int:
    """Copy them; returns how many there were."""
    count = 0
    for name in sent(root):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, to / name)
        count += 1
    return count
