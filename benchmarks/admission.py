"""The account's limits under load: kept exactly, used fully, shared fairly, and foretold.

Real processes before a simulator that enforces kie.ai's limits and answers with jitter. Exit status
1 when a bound is missed; figures are noted with the machine's load, for they suffer from others'.
"""

import argparse
import sys
from collections.abc import Callable, Iterator

from benchmarks import asking, costs, creating, flood
from benchmarks.figures import Figure, table
from benchmarks.scene import say
from benchmarks.stand import database

CREATES = 100
IMAGES = 60
CROWD = 120
FLOOD = 10_000

Part = Callable[[str, argparse.Namespace], Iterator[Figure]]


def _scaled(server: str, given: argparse.Namespace) -> Iterator[Figure]:
    for processes in given.processes:
        yield from creating.scaled(server, given.tasks, processes, given.speed)


def _real(server: str, _: argparse.Namespace) -> Iterator[Figure]:
    yield from creating.real(server, CREATES)


def _asking(server: str, _: argparse.Namespace) -> Iterator[Figure]:
    yield from asking.images(server, IMAGES)
    yield from asking.crowd(server, CROWD)


def _newcomer(server: str, _: argparse.Namespace) -> Iterator[Figure]:
    yield from flood.newcomer(server, FLOOD)


def _cost(server: str, _: argparse.Namespace) -> Iterator[Figure]:
    yield from costs.costs(server)


PARTS: dict[str, Part] = {
    "scaled": _scaled,
    "real": _real,
    "asking": _asking,
    "newcomer": _newcomer,
    "cost": _cost,
}


def main() -> int:
    given = _arguments()
    found: list[Figure] = []
    with database() as server:
        for name in given.parts or PARTS:
            for figure in PARTS[name](server, given):
                say(f"{figure.part}: {figure.name} {figure.value}")
                found.append(figure)
    print(table(found))
    return 1 if any(figure.good is False for figure in found) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.admission", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which; none: all")
    parser.add_argument("--tasks", type=int, default=2000, help="tasks of `scaled`")
    parser.add_argument(
        "--speed", type=float, default=creating.SPEED, help="how many times as fast `scaled` is"
    )
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 3], help="gateway processes of `scaled`"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
