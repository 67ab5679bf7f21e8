"""All events, or some: `python -m tests.faults.database [NAME…]` writes the table of what came."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.faults.database import table
from tests.faults.database.drill import Outcome, drill
from tests.faults.database.events import EVENTS, NO_LOSS, Event
from tests.faults.database.grounds import NotHereError

ROOT = Path(__file__).parents[3]
BUILT = "build/database-events.md"
PAGE = "docs/database-events.md"


def main(arguments: Sequence[str]) -> int:
    logging.getLogger("simulator").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.database",
        description="Restart, stop, fill and cut off PostgreSQL under load; audit what is left. "
        f"Writes the table to {BUILT}; exits 1 where a promise was broken.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"{', '.join(EVENTS)}; default all in which PostgreSQL loses nothing",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is chosen by chance")
    parser.add_argument("--docs", action="store_true", help=f"write {PAGE} too")
    given = parser.parse_args(arguments)
    unknown = set(given.names) - set(EVENTS)
    if unknown:
        parser.error(f"no such event: {', '.join(sorted(unknown))}")
    chosen = [EVENTS[name] for name in given.names or NO_LOSS]
    outcomes, absent = asyncio.run(_play(chosen, given.seed))
    for path in (ROOT / name for name in (BUILT, *([PAGE] if given.docs else []))):
        path.parent.mkdir(exist_ok=True)
        kept = table.rows(path.read_text(encoding="utf-8")) if path.exists() else {}
        titles = [event.title for event in EVENTS.values()]
        path.write_text(table.page(titles, outcomes, absent, kept), encoding="utf-8")
    return 1 if any(table.broken(each) for each in outcomes) else 0


async def _play(events: Sequence[Event], seed: int) -> tuple[list[Outcome], dict[str, str]]:
    """Play them in turn; returns what came, and why others could not be played here."""
    outcomes, absent = [], {}
    for event in events:
        try:
            outcomes.append(await drill(event, seed))
        except NotHereError as error:
            absent[event.title] = str(error)
            _say(f"{event.name}: {error}")
            continue
        _say(f"{event.name}: {table.row(outcomes[-1])}")
        for line in table.broken(outcomes[-1]):
            _say(f"    {line}")
    return outcomes, absent


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
