"""Reads a file from a stranger's URL as a stream: bounded, and from public addresses only."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from app.domain.files import Trouble, content_type_of
from app.outbound.guard import CALL, Call, Guard
from app.outbound.target import Target
from app.outbound.trouble import TROUBLE, obstacle_of, said

PIECE = 64 * 1024
"""Bytes that are read at a time."""

_IDENTITY = ("", "identity")


class FetchError(Exception):
    """The file could not be read; `reason` names the cause, and never the URL."""

    def __init__(self, trouble: Trouble, reason: str) -> None:
        super().__init__(reason)
        self.trouble = trouble
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file whose head has come."""

    content_type: str
    length: int | None
    """As it is announced, in bytes."""
    chunks: AsyncIterator[bytes]
    """Raises `FetchError` where it breaks off."""


class Fetcher:
    """Gets files: no redirects, no proxies, no cookies, nothing decoded."""

    def __init__(
        self, session: aiohttp.ClientSession, guard: Guard, *, stall: float, most: int
    ) -> None:
        """`stall`: seconds in which nothing may come; `most`: bytes of a file."""
        self._session = session
        self._guard = guard
        self._stall = stall
        self.most = most

    def objection(self, url: str) -> str | None:
        """Say what is wrong with the URL as far as it shows without resolving it."""
        return self._guard.objection_to_url(url)

    @asynccontextmanager
    async def fetch(self, url: str) -> AsyncIterator[Fetched]:
        """Lend the file at the URL; raises `FetchError`. The caller bounds the whole."""
        objection = self.objection(url)
        if objection is not None:
            raise FetchError(Trouble.BLOCKED, f"blocked: the URL {objection}")
        call = Call()
        CALL.set(call)
        response = await self._answered(Target.of(url), call)
        try:
            yield self._read(response)
        finally:
            response.close()

    async def _answered(self, target: Target, call: Call) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(self._stall):
                return await self._session.get(target.url, allow_redirects=False)
        except TROUBLE as trouble:
            connect = self._session.timeout.sock_connect
            blocked = obstacle_of(trouble, call, self._guard) is not None and call.dialed
            kind = Trouble.BLOCKED if blocked else Trouble.UNREACHABLE
            raise FetchError(kind, said(trouble, call, self._stall, connect)) from trouble

    def _read(self, response: aiohttp.ClientResponse) -> Fetched:
        """Judge the head; raises `FetchError`."""
        trouble = _of_status(response.status)
        if trouble is not None:
            raise FetchError(trouble, f"its source answered {response.status}")
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in _IDENTITY:
            raise FetchError(Trouble.REFUSED, "its source sends it encoded, though asked not to")
        length = response.content_length
        if length is not None and length > self.most:
            raise FetchError(Trouble.TOO_LARGE, self._larger(f"{length} bytes"))
        if length is None and "chunked" not in response.headers.get("Transfer-Encoding", ""):
            raise FetchError(Trouble.CUT, "its source does not say where it ends")
        kind = content_type_of(response.headers.get("Content-Type"))
        return Fetched(kind, length, self._chunks(response, length))

    async def _chunks(
        self, response: aiohttp.ClientResponse, length: int | None
    ) -> AsyncIterator[bytes]:
        came = 0
        while True:
            try:
                async with asyncio.timeout(self._stall):
                    chunk = await response.content.read(PIECE)
            except TimeoutError as error:
                reason = f"nothing came for {self._stall:g} s, after {came} bytes"
                raise FetchError(Trouble.SLOW, reason) from error
            except TROUBLE as error:
                raise FetchError(Trouble.CUT, f"it broke off after {came} bytes") from error
            if not chunk:
                break
            came += len(chunk)
            if came > self.most:
                raise FetchError(Trouble.TOO_LARGE, self._larger("it goes on"))
            yield chunk
        if length is not None and came != length:
            raise FetchError(Trouble.CUT, f"{came} bytes came of {length}")

    def _larger(self, how: str) -> str:
        return f"it is larger than {self.most} bytes: {how}"


_GONE = frozenset({404, 410})
_FOR_NOW = frozenset({408, 425, 429})


def _of_status(status: int) -> Trouble | None:
    """Say what an answer of this status is; None: the file."""
    if status == 200:  # noqa: PLR2004  # HTTP's own
        return None
    if status in _GONE:
        return Trouble.GONE
    if status // 100 == 3:  # noqa: PLR2004  # as above
        return Trouble.REDIRECTED
    return Trouble.REFUSED if status // 100 == 4 and status not in _FOR_NOW else Trouble.UNREACHABLE  # noqa: PLR2004
