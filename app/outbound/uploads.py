"""Fetches files that callers name by URL: from public addresses only, and as they come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from app.outbound.guard import CALL, BlockedAddressError, Call, Guard
from app.outbound.target import Target
from app.outbound.trouble import TROUBLE

OK = 200
PIECE = 64 * 1024
"""Bytes that are read at once."""

PLAIN = frozenset({"", "identity"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A file whose bytes are still to come."""

    content_type: str | None
    length: int | None
    """Bytes, where the host says so."""
    chunks: AsyncIterator[bytes]


class InterruptedFetchError(Exception):
    """The file's host has not sent all of it."""


class Fetcher:
    """Gets from callers' URLs: no redirects, no proxies, no cookies."""

    def __init__(self, session: aiohttp.ClientSession, guard: Guard) -> None:
        """`guard` closes private networks, whatever deliveries may reach."""
        self._session = session
        self._guard = guard

    def objection(self, url: str) -> str | None:
        """Say what is wrong with the URL as far as it shows without resolving it."""
        return self._guard.objection_to_url(url)

    @asynccontextmanager
    async def fetched(self, url: str, *, within: float) -> AsyncIterator[Fetched | str]:
        """Lend the file behind a URL that has no objection, or the reason why there is none.

        `within`: seconds until its host has to answer; the caller bounds the size, and the time
        that the bytes take. They raise `InterruptedFetchError`.
        """
        CALL.set(Call())
        try:
            async with asyncio.timeout(within):
                response = await self._session.get(Target.of(url).url, allow_redirects=False)
        except TROUBLE as trouble:
            yield _said(trouble)
            return
        try:
            yield _refused(response) or Fetched(
                content_type=response.headers.get("Content-Type"),
                length=response.content_length,
                chunks=_chunks(response),
            )
        finally:
            response.close()


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_chunked(PIECE):
            yield chunk
    except TROUBLE as trouble:
        raise InterruptedFetchError from trouble


def _refused(response: aiohttp.ClientResponse) -> str | None:
    if response.status != OK:
        return f"its host answered {response.status}"  # also a redirect: nobody vets where to
    if response.headers.get("Content-Encoding", "").strip().lower() not in PLAIN:
        return "its host sent it compressed, unasked"
    return None


def _said(trouble: BaseException) -> str:
    """Say no address: where a name leads inside is not for callers."""
    cause: BaseException | None = trouble
    while cause is not None:
        if isinstance(cause, BlockedAddressError):
            return "leads to an address that is not public"
        cause = cause.__cause__
    return "its host cannot be reached"
