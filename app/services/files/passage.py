"""The bytes of one upload on their way through: counted, hashed, bounded, and never held."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.domain.errors import BodyTooLargeError, KieNotAnsweringError
from app.domain.file_errors import UploadStalledError
from app.domain.uploads import HEAD, Digest
from app.services.files.copies import Copy

GRAIN = 0.01
"""Share of the time without progress by which it may end later: its clock is not set by each piece,
of which there may be thousands in a second."""


def stalled(seconds: float) -> UploadStalledError:
    """Say that its sender stands still."""
    detail = f"No byte of the file came for {seconds:g} s. Nothing was stored."
    return UploadStalledError(detail)


def too_large(most: int) -> BodyTooLargeError:
    """Say how many bytes a file may have."""
    detail = f"A file may have {most} bytes (GATEWAY_MAX_UPLOAD_BYTES), and this one has more."
    return BodyTooLargeError(detail)


class Passage:
    """One upload: what comes from its source is handed on before more is asked for.

    `trouble` is what the source raised: who takes the bytes may only see that they ended.
    """

    def __init__(self, source: AsyncIterator[bytes], *, max_bytes: int, stall: float) -> None:
        """`stall`: seconds without progress, of either side, after which it ends."""
        self._source = source
        self._max_bytes = max_bytes
        self._stall = stall
        self._digest = hashlib.sha256()
        self._head: list[bytes] = []
        self._timeout: asyncio.Timeout | None = None
        self._set_again = 0.0
        self._waits_for_source = False
        self.bytes = 0
        self.is_whole = False
        """All of it was handed on."""
        self.trouble: Exception | None = None
        self.copy: Copy | None = None
        """Who gets the bytes too."""

    @property
    def sha256(self) -> Digest:
        return self._digest.digest()

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Bound the time without progress; raises by whom it waited for.

        Raises `UploadStalledError` or `KieNotAnsweringError`.
        """
        try:
            async with asyncio.timeout(self._stall) as self._timeout:
                yield
        except TimeoutError:
            if self._waits_for_source:
                raise stalled(self._stall) from None
            detail = "kie.ai does not take the file now; please try again later."
            raise KieNotAnsweringError(detail) from None

    async def head(self) -> bytes:
        """Read as many bytes as show the type, fewer where the file has fewer."""
        while sum(map(len, self._head)) < HEAD:
            try:
                self._head.append(await self._next())
            except StopAsyncIteration:
                break
        return b"".join(self._head)[:HEAD]

    async def through(self) -> AsyncIterator[bytes]:
        """Yield the whole file; what its source raises is kept as `trouble`."""
        try:
            while True:
                chunk = self._head.pop(0) if self._head else await self._next()
                self._digest.update(chunk)
                yield chunk
                if self.copy is not None:
                    await self.copy.give(chunk)
                self._moved()
        except StopAsyncIteration:
            self.is_whole = True
        except Exception as error:
            self.trouble = error
            raise

    async def _next(self) -> bytes:
        self._waits_for_source = True
        try:
            chunk = await anext(self._source)
        except Exception:  # when time runs out it is cancelled, and was waited for
            self._waits_for_source = False
            raise
        self._waits_for_source = False
        self._moved()
        self.bytes += len(chunk)
        if self.bytes > self._max_bytes:
            raise too_large(self._max_bytes)
        return chunk

    def _moved(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._timeout is None or now < self._set_again or self._timeout.expired():
            return
        late = GRAIN * self._stall
        self._set_again = now + late
        self._timeout.reschedule(now + self._stall + late)
