"""A second way for the bytes of an upload: into the archive, where there is one.

The archive is a help and no condition: what it does not take is uploaded all the same, and has no
copy then.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import structlog

GIVE_UP_AFTER = 10.0
"""Seconds that an upload waits for the archive to take a piece."""

log = structlog.get_logger(__name__)


class Object(Protocol):
    """An object as it is read."""

    @property
    def chunks(self) -> AsyncIterator[bytes]: ...


class Archive(Protocol):
    """The store of objects, as far as uploads need it."""

    async def put(self, name: str, chunks: AsyncIterator[bytes], content_type: str) -> None: ...

    async def get(self, name: str) -> Object: ...

    async def delete(self, name: str) -> None: ...


class _CutOffError(Exception):
    """The upload did not come whole: nothing of the copy may be kept."""


class Copy:
    """The copy of one upload while it comes; `name` is the object's."""

    def __init__(self, archive: Archive, name: str, content_type: str) -> None:
        self.name = name
        self._archive = archive
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._cut_off = False
        self._writing = asyncio.create_task(archive.put(name, self._chunks(), content_type))

    async def give(self, piece: bytes | None) -> None:
        """Hand a piece on, None at the end; never raises for what the archive does."""
        giving = asyncio.ensure_future(self._pieces.put(piece))
        waiting = {giving, self._writing}
        await asyncio.wait(waiting, timeout=GIVE_UP_AFTER, return_when=asyncio.FIRST_COMPLETED)
        if not giving.done():
            giving.cancel()
            self._writing.cancel()

    async def is_kept(self) -> bool:
        """Wait until the archive has it all; False: it has nothing of it."""
        await self.give(None)
        await asyncio.wait({self._writing}, timeout=GIVE_UP_AFTER)
        if self._writing.done() and not self._writing.cancelled():
            trouble = self._writing.exception()
            if trouble is None:
                return True
            log.warning("upload.not_archived", error=type(trouble).__name__)
        self._writing.cancel()
        return False

    async def forget(self) -> None:
        """Keep nothing of it: the upload was cut off, or is not recorded."""
        self._cut_off = True
        if self._writing.done():
            if not self._writing.cancelled() and self._writing.exception() is None:
                await self._archive.delete(self.name)
            return
        await self.give(None)
        await asyncio.wait({self._writing}, timeout=GIVE_UP_AFTER)
        self._writing.cancel()

    async def _chunks(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            yield piece
        if self._cut_off:
            raise _CutOffError
