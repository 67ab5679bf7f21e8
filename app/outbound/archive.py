"""The object store that results are kept in: S3 and what speaks like it, GCS, Azure, a directory.

obstore is imported only once an archive is opened: who has none needs no package for it. Objects
are written as streams, and appear whole or not at all.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from app.domain.files import DISPOSITION, SCHEMES, scheme_of

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

PART = 5 * 1024 * 1024
"""Bytes of a part of an upload: the least that S3 takes. So many are held, and as many on the way.
"""

LOCAL_PART = 1024 * 1024
"""The same for a directory, which takes any size."""

PIECE = 256 * 1024
"""Bytes that are read of an object at a time."""

LINK_LIFE = 900.0
"""Seconds for which a presigned URL is good."""

CONNECT = timedelta(seconds=5)
CALL = timedelta(seconds=60)
"""The longest that one request of the store's client may take: a part, not a file."""

_ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}
"""The variables that allow http. obstore's own are not in effect where it gets other bounds."""

GIVE_UP = 10.0
"""Seconds that a put which is called off has to take its parts back."""


class ArchiveError(Exception):
    """The store did not do it; the text names the kind of trouble, and no URL or key."""


class NoObjectError(ArchiveError):
    """The store has no object of this name."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object, or a range of it, as it is read."""

    size: int
    """Of the whole object, in bytes."""
    start: int
    end: int
    """The range is `start` up to, and without, `end`."""
    chunks: AsyncIterator[bytes]


class Archive:
    """One store, with everything below one prefix; opened when it is first used."""

    def __init__(self, url: str) -> None:
        """`url` is one of `SCHEMES`; credentials are in the environment, as its vendor has it."""
        self._url = url
        self.local = scheme_of(url) == "file"
        """Its objects are files: there are no presigned URLs."""
        self.part = LOCAL_PART if self.local else PART
        self._opened: ObjectStore | None = None

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the store at the URL now; no request is made.

        Raises `ArchiveError` where obstore is missing or refuses the URL.
        """
        archive = cls(url)
        _ = archive._store
        return archive

    @property
    def _store(self) -> "ObjectStore":
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> "ObjectStore":
        try:
            from obstore import store  # noqa: PLC0415  # only for those who have an archive
        except ImportError as error:
            message = "the package obstore is missing: install kie-gateway[archive]"
            raise ArchiveError(message) from error
        if scheme_of(self._url) not in SCHEMES:
            message = f"an archive's URL begins with one of {', '.join(SCHEMES)}"
            raise ArchiveError(message)
        try:
            if self.local:
                return store.from_url(self._url, mkdir=True, automatic_cleanup=True)
            bounds: ClientConfig = {"connect_timeout": CONNECT, "timeout": CALL}
            allowed = os.environ.get(_ALLOW_HTTP[scheme_of(self._url)], "")
            if allowed.lower() == "true":
                bounds["allow_http"] = True  # a store of one's own, as MinIO
            again: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(minutes=2)}
            return store.from_url(self._url, client_options=bounds, retry_config=again)
        except Exception as error:  # each store has errors of its own
            raise _named(error) from error

    async def put(self, name: str, chunks: AsyncIterable[bytes], content_type: str) -> None:
        """Write an object as its bytes come; what stood under the name is replaced, at the end.

        `chunks` is read in this task, so its timeouts and context hold. What it raises is raised
        here, and nothing is kept then. Raises `ArchiveError` for what the store does.
        """
        from obstore import put_async  # noqa: PLC0415

        feed = _Feed()
        kept = {"Content-Type": content_type, "Content-Disposition": DISPOSITION}
        attributes = None if self.local else kept
        bounds: dict[str, Any] = {"chunk_size": self.part, "max_concurrency": 1}
        try:
            put = put_async(self._store, name, feed, attributes=attributes, **bounds)
        except ValueError as error:
            raise _named(error) from error
        writing = asyncio.ensure_future(put)
        try:
            async for chunk in chunks:
                await feed.give(chunk, writing)
            await feed.give(None, writing)
            await writing
        except BaseException as error:
            await _called_off(feed, writing)
            if writing.done() and not writing.cancelled() and writing.exception() is error:
                raise _named(error) from error
            raise

    async def get(self, name: str, start: int = 0, end: int | None = None) -> Found:
        """Read an object from byte `start` up to `end`; raises `NoObjectError`, `ArchiveError`."""
        from obstore import get_async  # noqa: PLC0415

        try:
            if start == 0 and end is None:
                result = await get_async(self._store, name)
            elif end is None:
                result = await get_async(self._store, name, options={"range": {"offset": start}})
            else:
                result = await get_async(self._store, name, options={"range": (start, end)})
        except Exception as error:
            raise _named(error) from error
        first, last = result.range
        pieces = _pieces(result.stream(min_chunk_size=PIECE))
        return Found(size=result.meta["size"], start=first, end=last, chunks=pieces)

    async def size(self, name: str) -> int | None:
        """Return the object's size in bytes; None: there is none. Raises `ArchiveError`."""
        from obstore import head_async  # noqa: PLC0415

        try:
            return (await head_async(self._store, name))["size"]
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _named(error) from error

    async def delete(self, name: str) -> None:
        """Remove the object, if there is one; raises `ArchiveError`."""
        from obstore import delete_async  # noqa: PLC0415

        try:
            with suppress(FileNotFoundError):
                await delete_async(self._store, name)
        except Exception as error:
            raise _named(error) from error

    async def presign(self, name: str, seconds: float = LINK_LIFE) -> str | None:
        """Return a URL by which anyone may read the object for so long; None: it is a file."""
        if self.local:
            return None
        from obstore import sign_async  # noqa: PLC0415

        store: Any = self._store
        try:
            return await sign_async(store, "GET", name, timedelta(seconds=seconds))
        except Exception as error:
            raise _named(error) from error

    async def probe(self) -> None:
        """Write, read and remove an object of a name that no result has; raises `ArchiveError`."""
        name, said = f".probe/{secrets.token_hex(8)}", secrets.token_bytes(32)
        await self.put(name, _once(said), "application/octet-stream")
        try:
            found = await self.get(name)
            if b"".join([chunk async for chunk in found.chunks]) != said:
                message = "it returned other bytes than it was given"
                raise ArchiveError(message)
        finally:
            await self.delete(name)
        if await self.size(name) is not None:
            message = "it still has an object that it was told to remove"
            raise ArchiveError(message)


class _Feed:
    """Hands chunks from the task that reads them to the store's client, which runs elsewhere.

    A client that is cancelled while it waits for a chunk would go on waiting. So it is never
    cancelled: it is told that there is no more to come.
    """

    def __init__(self) -> None:
        self._given: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._off = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._given.get()
        if self._off.is_set():
            message = "called off"
            raise ArchiveError(message)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def give(self, chunk: bytes | None, writing: "asyncio.Future[Any]") -> None:
        """Wait until there is room; raises what ended the writing meanwhile."""
        if not (self._given.full() or writing.done()):
            self._given.put_nowait(chunk)
            return
        giving = asyncio.ensure_future(self._given.put(chunk))
        try:
            await asyncio.wait({giving, writing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            giving.cancel()
        if writing.done() and chunk is not None:
            writing.result()

    def call_off(self) -> None:
        self._off.set()
        with suppress(asyncio.QueueEmpty):
            self._given.get_nowait()
        with suppress(asyncio.QueueFull):
            self._given.put_nowait(None)


async def _called_off(feed: _Feed, writing: "asyncio.Future[Any]") -> None:
    """Have the client take back what it wrote, and wait for it."""
    feed.call_off()
    with suppress(BaseException):
        await asyncio.wait({writing}, timeout=GIVE_UP)


async def _pieces(stream: Any) -> AsyncIterator[bytes]:  # noqa: ANN401  # obstore's own kind
    try:
        async for chunk in stream:
            yield bytes(chunk)
    except Exception as error:
        raise _named(error) from error


async def _once(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


_SAID = {
    "FileNotFoundError": "it has no such bucket, container or directory",
    "PermissionDeniedError": "it refuses these credentials' rights (403)",
    "UnauthenticatedError": "it refuses the credentials (401)",
    "UnknownConfigurationKeyError": "it does not know a configuration key of its own",
    "NotSupportedError": "it does not support this",
}


def _named(error: BaseException) -> ArchiveError:
    """Say what kind of trouble it is: the client's own words hold URLs and the store's answers."""
    name = type(error).__name__
    kind = NoObjectError if isinstance(error, FileNotFoundError) else ArchiveError
    return kind(_SAID.get(name, f"it did not answer as expected ({name})"))
