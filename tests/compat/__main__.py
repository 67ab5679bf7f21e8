"""`make compat`: a public client of kie.ai, unmodified, creates tasks through the gateway.

Needs node and npm; all else is started here. Writes docs/compat.md. Exits 1 where something is
missing, and where the client can tell the gateway from kie.ai by more than what is listed.
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.compat import install
from tests.compat.bench import bench
from tests.compat.page import PAGE, written
from tests.dropin.compare import Diff, Names, diffs
from tests.dropin.differences import unlisted


def told_apart(direct: Any, through: Any) -> Iterator[Diff]:
    """Yield what the client answered otherwise, unless that is listed."""
    one, other = (
        {said["title"]: said["answer"] for said in each["turns"]} for each in (direct, through)
    )
    yield from unlisted("client", diffs(Names().name(one), Names().name(other)))


async def _run(command: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="kie-compat-") as folder:
        async with bench(command, Path(folder)) as stage:
            through = await stage.held(stage.gateway)
            kept = await stage.kept()
            direct = await stage.held(stage.direct)
    PAGE.write_text(written(through, kept))
    _say(f"wrote docs/{PAGE.name}")
    found = list(told_apart(direct, through))
    _say("\n".join(map(str, found)) or "the client could not tell the gateway from kie.ai")
    return 1 if found else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def main() -> int:
    if not install.is_installed(install.ROOM):
        _say("npm installs the client; where it has to be compiled this takes minutes")
    try:
        command = install.client()
    except install.NotInstalledError as error:
        _say(str(error))
        return 1
    return asyncio.run(_run(command))


if __name__ == "__main__":
    sys.exit(main())
