"""Writes every page of `PAGES` into `docs/`, or into the folder that is given."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tools.docs import PAGES

DOCS = Path(__file__).parents[2] / "docs"


def main(arguments: Sequence[str]) -> None:
    folder = Path(arguments[0]) if arguments else DOCS
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
