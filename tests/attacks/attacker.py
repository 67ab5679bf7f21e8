"""The attacker's process: `python -m tests.attacks.attacker NAME`, with the target as JSON."""

import asyncio
import json
import sys

from tests.attacks.attack import Target
from tests.attacks.catalogue import ATTACKS


def main(name: str) -> None:
    target = Target(**json.load(sys.stdin))
    sys.stdout.write(asyncio.run(ATTACKS[name].act(target)))


if __name__ == "__main__":
    main(sys.argv[1])
