"""Says what breaks callers of the last release: `python -m tools.openapi`.

With `--release` it keeps the document of this version, to compare later ones with.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.docs.openapi import document
from tools.openapi.compare import breaks
from tools.openapi.outline import outline

RELEASES = Path(__file__).parents[2] / "docs" / "openapi"


def newest() -> Path:
    """Return the file of the last release, by its version."""
    return max(RELEASES.glob("*.json"), key=lambda path: [int(n) for n in path.stem.split(".")])


def against(release: Path) -> list[str]:
    old: dict[str, Any] = json.loads(release.read_text(encoding="utf-8"))
    return breaks(old, document())


def main(arguments: Sequence[str]) -> None:
    if list(arguments) == ["--release"]:
        now = document()
        path = RELEASES / f"{now['info']['version']}.json"
        path.write_text(json.dumps(outline(now), indent=0) + "\n", encoding="utf-8")
        sys.stdout.write(f"wrote {path.name}\n")
        return
    release = newest()
    found = against(release)
    sys.stdout.write("".join(f"{one}\n" for one in found))
    if found:
        sys.exit(f"{len(found)} changes break callers of {release.stem}")
    sys.stdout.write(f"compatible with {release.stem}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
