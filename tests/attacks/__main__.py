"""`python -m tests.attacks [NAME…]`: make attacks, and say what each did to the gateway."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.attacks import page
from tests.attacks.catalogue import ATTACKS
from tests.attacks.scene import play

ROOT = Path(__file__).parents[2]
KEPT = Path(__file__).with_name("figures.json")
PAGE = ROOT / "docs" / "attacks.md"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.attacks",
        description="Attack a gateway of this machine, and look on: /livez, another client's reads "
        "and webhooks, memory, rows, queries to kie.ai. Exits 1 where a bound was broken.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(ATTACKS)}; default all"
    )
    parser.add_argument(
        "--checkout", type=Path, default=ROOT, help="attack the gateway of another checkout"
    )
    parser.add_argument(
        "--keep", choices=("before", "after"), help=f"write the figures into {PAGE.name}, as this"
    )
    given = parser.parse_args(arguments)
    unknown = set(given.names) - set(ATTACKS)
    if unknown:
        parser.error(f"no such attack: {', '.join(sorted(unknown))}")
    broken = 0
    for name in given.names or ATTACKS:
        attack = ATTACKS[name]
        figures = asyncio.run(play(attack, given.checkout.resolve()))
        _say(f"{name}: {page.cell(figures)}")
        for line in page.broken(attack, figures):
            broken += 1
            _say(f"    {line}")
        if given.keep:
            kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
            kept.setdefault(name, {})[given.keep] = figures.as_json()
            KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
            PAGE.write_text(page.written(kept), encoding="utf-8")
    return 1 if broken else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
