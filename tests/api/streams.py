"""Server-sent events, read as a browser reads them (WHATWG HTML, section 9.2)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.gateway import Gateway
from tests.stage import PATIENCE


@dataclass
class Sent:
    """One event as it stood on the wire; `comment` where it was one."""

    id: str = ""
    event: str = ""
    data: Any = None
    comment: str = ""


@dataclass
class Stream:
    """An open stream."""

    answer: httpx.Response
    _lines: AsyncIterator[str] = field(init=False)

    def __post_init__(self) -> None:
        self._lines = self.answer.aiter_lines()

    async def block(self) -> Sent | None:
        """Return the next event or comment; None: the stream has ended."""
        sent, empty = Sent(), True
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                if not line:
                    if not empty:
                        return sent
                    continue
                empty = False
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if not name:
                    sent.comment = value
                else:
                    setattr(sent, name, json.loads(value) if name == "data" else value)
        return None

    async def events(self, count: int) -> list[Sent]:
        """Return the next events, whatever comments stand between."""
        found: list[Sent] = []
        while len(found) < count:
            block = await self.block()
            assert block is not None, found
            if not block.comment:
                found.append(block)
        return found

    async def rest(self) -> list[Sent]:
        """Return what comes until the stream ends, without comments."""
        found = []
        while (block := await self.block()) is not None:
            if not block.comment:
                found.append(block)
        return found


@asynccontextmanager
async def streaming(gateway: Gateway, path: str, **headers: str) -> AsyncIterator[Stream]:
    """Open a stream; the connection is closed at the end."""
    wanted = {"Accept": "text/event-stream", **headers}
    async with gateway.http.stream("GET", path, headers=wanted) as answer:
        yield Stream(answer)
