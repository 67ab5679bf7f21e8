"""Stands between the gateway and PostgreSQL and cuts the line at a chosen message."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

from tests.stage import closed

CHUNK = 65536


class Cutter:
    """Passes everything on, but for what it is armed for."""

    def __init__(self) -> None:
        self.cuts = 0
        self.held = 0
        self._armed: bytes | None = None
        self._answers = asyncio.Event()
        self._answers.set()
        self._holding = False
        self._dark = False
        self._lines: set[asyncio.Task[None]] = set()

    def goes_dark(self) -> None:
        """Hang up on everyone, and on whoever comes."""
        self._dark = True
        for line in self._lines:
            line.cancel()

    def comes_back(self) -> None:
        self._dark = False

    def loses_the_answer_to(self, message: bytes) -> None:
        """Pass the next `message` on to the server, and hang up when its answer comes."""
        self._armed = message

    def holds_the_answers_to(self, message: bytes) -> None:
        """Pass on each `message`, and hold what its server says on that line until `lets_go`."""
        self._armed = message
        self._holding = True
        self._answers.clear()

    def lets_go(self) -> None:
        self._armed, self._holding = None, False
        self._answers.set()

    async def serve(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Carry messages until either end, or the cutter, hangs up."""
        if self._dark:
            return
        lost = asyncio.Event()
        lines = {
            asyncio.create_task(self._there(client[0], server[1], lost)),
            asyncio.create_task(self._back(server[0], client[1], lost)),
        }
        self._lines |= lines
        try:
            await asyncio.wait(lines, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._lines -= lines
            for line in lines:
                line.cancel()
            await asyncio.gather(*lines, return_exceptions=True)

    async def _there(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        while chunk := await source.read(CHUNK):
            if self._armed is not None and self._armed in chunk:
                if not self._holding:
                    self._armed = None
                lost.set()
            target.write(chunk)
            await target.drain()

    async def _back(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        while chunk := await source.read(CHUNK):
            if lost.is_set() and not self._answers.is_set():
                self.held += 1
                await self._answers.wait()
                lost.clear()
            elif lost.is_set():
                self.cuts += 1
                return
            target.write(chunk)
            await target.drain()


@contextlib.asynccontextmanager
async def between(dsn: str) -> AsyncIterator[tuple[Cutter, str]]:
    """Yield a cutter, and the DSN that leads through it."""
    parts = urlsplit(dsn)
    query = parse_qs(parts.query)
    cutter = Cutter()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if parts.hostname:
            server = await asyncio.open_connection(parts.hostname, parts.port or 5432)
        else:
            path = f"{query['host'][0]}/.s.PGSQL.{query.get('port', ['5432'])[0]}"
            server = await asyncio.open_unix_connection(path)
        try:
            await cutter.serve((reader, writer), server)
        finally:
            for end in (writer, server[1]):
                end.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    account = parts.netloc.rpartition("@")[0]
    try:
        yield cutter, f"postgresql://{account}@127.0.0.1:{port}{parts.path}?sslmode=disable"
    finally:
        await closed(listener)
