"""The attacker's process: `python -m tests.attacks.attacker NAME`, with the target as JSON."""

import asyncio
import json
import os
import sys

from tests.attacks.attack import Target
from tests.attacks.catalogue import ATTACKS

NICE = 10
"""A real attacker's work is done elsewhere: it gives way to the gateway's and to the client's."""


def main(name: str) -> None:
    os.nice(NICE)
    target = Target(**json.load(sys.stdin))
    sys.stdout.write(asyncio.run(ATTACKS[name].act(target)))


if __name__ == "__main__":
    main(sys.argv[1])
