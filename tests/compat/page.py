"""Writes docs/compat.md: a conversation, with what differs from run to run made the same."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.compat.conversation import ID, Said
from tests.compat.install import PACKAGE

PAGE = Path(__file__).parents[2] / "docs" / "compat.md"

SHAPES: Mapping[str, str] = {
    r"/files/[0-9a-f]{32}\.png": "/files/picture.png",
    r"\b1\d{12}\b": "1790000000000",
    r"\b20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\b": "2026-09-21 13:33:20",
    r'("elapsed_seconds": )\d+': r"\g<1>4",
    r'("id": )\d+': r"\g<1>1",
}
"""What differs from run to run, by its shape, and what is written instead."""

HEAD = """# An unmodified client

`{package}` {version} is a public client of kie.ai: a server of the Model
Context Protocol whose tools create tasks and poll them. Here it runs as its authors published it.
Two variables of its environment name the gateway and a key of the gateway's:

```sh
export KIE_AI_BASE_URL=http://gateway:8000/api/v1
export KIE_AI_API_KEY=kgw_…
```

Others keep it to this machine and let it create tasks without a person's leave:
`KIE_AI_CALLBACK_URL` and `KIE_AI_CALLBACK_URL_FALLBACK`, `KIE_AI_DB_PATH`,
`KIE_AI_ALLOW_DIRECT_GENERATION`.

`make compat` installs it with npm and holds this conversation with it twice: through the gateway,
which makes this page, and with the stand-in kie.ai itself. It fails if the client answers anything
else the second time, but for the differences that [Migrating](migrating.md) lists. Ids, times and
addresses are replaced by made-up ones that stay; all else is as it was said.

The client calls itself `{name}` {version} and offers {tools_offered} tools. These take part:
{tools}.
Each `tools/call` is followed by the document that answers it.
"""

HEARD = """
## What its callback URL was told

The client sends a `callBackUrl` with each create. The gateway told it of every task there, in
kie.ai's own form; of the refused one as well, which kie.ai would not have done:
"""

KEPT = """
## What the gateway kept

`GET /v1/tasks` with the same key, some members of each task, the oldest first:
"""


def written(held: Mapping[str, Any], kept: object) -> str:
    """Write the page about a conversation; both as `tests.compat.bench` has them."""
    tools = dict.fromkeys(f"`{each['tool']}`" for each in held["turns"])
    head = HEAD.format(package=PACKAGE, tools=", ".join(tools), **held["about"])
    parts = (
        head,
        *map(_turn, held["turns"]),
        HEARD,
        *map(_block, held["heard"]),
        KEPT,
        _block(kept),
    )
    return "\n".join(f"{part.strip()}\n" for part in parts)


def _turn(said: Said) -> str:
    called = _block({"name": said["tool"], "arguments": said["arguments"]})
    return f"## {said['title']}\n\n{called}\n{_block(said['answer'])}"


def _block(document: object) -> str:
    return f"```json\n{json.dumps(document, indent=2, ensure_ascii=False)}\n```\n"


def stable(text: str, hosts: Mapping[str, str]) -> str:
    """Replace ids by numbers in the order that they come in, known hosts by name, times by one.

    Two runs that differ in nothing else read the same afterwards.
    """
    for host, name in hosts.items():
        text = text.replace(host, name)
    for shape, instead in SHAPES.items():
        text = re.sub(shape, instead, text)
    names: dict[str, str] = {}
    return ID.sub(lambda id_: names.setdefault(id_[0], f"{len(names) + 1:032x}"), text)
