"""Sends one delivery once; what became of it comes back as a value."""

import asyncio
import io
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

import aiohttp

from app.domain.delivery import Obstacle
from app.domain.hosts import is_listed
from app.outbound.guard import CALL, Call, Guard
from app.outbound.target import Target
from app.outbound.trouble import TROUBLE, obstacle_of, said

MAX_ANSWER = 1024
"""Bytes of an answer that are kept for those who look for a fault."""

MAX_READ = 16 * 1024
"""Bytes of an answer that are read: what is short leaves its connection fit for the next."""

BODY_PATIENCE = 2.0
"""Seconds that an answer's body may take after its head: with the status all is said."""

WHOLE_UP_TO = 64 * 1024
"""Bytes of a request that a transport takes at once; of a longer one some may be left to write."""

PIECES_FROM = 256 * 1024
"""Bytes from which a body is written in pieces: aiohttp warns of a large one written at once."""

MAX_TYPE = 100

HUNG_UP = (
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientOSError,
    aiohttp.ClientConnectionResetError,
)
"""How a connection ends that its server has closed: before the request, while, or after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of one attempt."""

    seconds: float
    status: int | None = None
    """None: there was no answer."""
    retry_after: float | None = None
    """Seconds, where the receiver says so."""
    address: str | None = None
    """The address that was connected to, or last tried."""
    error: str | None = None
    obstacle: Obstacle | None = None
    """Why it could not even be sent, where that lies in the URL."""
    answer: bytes = field(default=b"", repr=False)
    """The first `MAX_ANSWER` bytes of its body."""
    answer_bytes: int | None = None
    """How many there were, `MAX_READ` at most; None: there was no answer."""
    answer_type: str | None = None


class Sender:
    """Posts to callers' URLs: no redirects, no proxies, no cookies, each call bounded."""

    def __init__(self, session: aiohttp.ClientSession, guard: Guard, timeout: float) -> None:
        """`timeout`: the most seconds that one call may take in all."""
        self._session = session
        self._guard = guard
        self._timeout = timeout

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        hosts: Sequence[str] | None = None,
        *,
        others: bool = False,
    ) -> Sent:
        """Post once. Raises for nothing that the network or the receiver does.

        `hosts`: the only ones that may be called, unless `others` may be too; None: any.
        """
        objection = self._guard.objection_to_url(url, hosts, others=others)
        if objection is not None:
            return Sent(seconds=0.0, error=f"blocked: the URL {objection}", obstacle=Obstacle.URL)
        target = Target.of(url)
        call = Call(listed=is_listed(target.name, hosts))
        CALL.set(call)
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout) as limit:
                response = await self._answered(target, body, headers, call)
        except TROUBLE as trouble:
            return Sent(
                seconds=time.monotonic() - started,
                error=said(trouble, call, self._timeout, self._session.timeout.sock_connect),
                obstacle=obstacle_of(trouble, call, self._guard),
                address=_address(call),
            )
        try:
            answer = await _beginning(response, limit.when())
        finally:
            _let_go(response, body)
        return Sent(
            status=response.status,
            retry_after=_seconds(response.headers.get("Retry-After")),
            address=_address(call),
            answer=answer[:MAX_ANSWER],
            answer_bytes=len(answer),
            answer_type=_type(response),
            seconds=time.monotonic() - started,
        )

    async def _answered(
        self, target: Target, body: bytes, headers: Mapping[str, str], call: Call
    ) -> aiohttp.ClientResponse:
        """Return an answer's head.

        Where an open connection turns out to be closed, before any byte of an answer, the request
        has most likely met the closing: it is sent again at once on a connection of its own.
        """
        try:
            return await self._request(target, body, headers)
        except HUNG_UP as trouble:
            if call.peer is None or call.dialed or _has_begun(trouble):
                raise
            call.fresh, call.peer = True, None
            return await self._request(target, body, headers)

    async def _request(
        self, target: Target, body: bytes, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        return await self._session.post(
            target.url, data=_payload(body), headers=headers, allow_redirects=False
        )


def _has_begun(trouble: Exception) -> bool:
    """Tell whether bytes of an answer had come; aiohttp then brings its head along."""
    return isinstance(trouble, aiohttp.ServerDisconnectedError) and not isinstance(
        trouble.message, str
    )


def _payload(body: bytes) -> bytes | io.BytesIO:
    return body if len(body) < PIECES_FROM else io.BytesIO(body)


async def _beginning(response: aiohttp.ClientResponse, deadline: float | None) -> bytes:
    """Read the beginning of a body that may be short, broken or without an end.

    `deadline` by the loop's clock. What goes wrong here changes nothing: the status was said.
    """
    found = bytearray()
    patience = asyncio.get_running_loop().time() + BODY_PATIENCE
    until = patience if deadline is None else min(deadline, patience)
    with suppress(*TROUBLE):
        async with asyncio.timeout_at(until):
            async for chunk in response.content.iter_any():
                found += chunk
                if len(found) >= MAX_READ:
                    break
    return bytes(found[:MAX_READ])


def _let_go(response: aiohttp.ClientResponse, body: bytes) -> None:
    """Keep the connection where both sides are through with it, and else close it."""
    if response.content.at_eof() and len(body) <= WHOLE_UP_TO:
        response.release()
    else:
        response.close()


def _address(call: Call) -> str | None:
    return call.peer or (call.dialed[-1] if call.dialed else None)


def _type(response: aiohttp.ClientResponse) -> str | None:
    """Return what the receiver calls its answer, as printable ASCII."""
    given = response.headers.get("Content-Type")
    if given is None:
        return None
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in given)[
        :MAX_TYPE
    ]


def _seconds(retry_after: str | None) -> float | None:
    """Read Retry-After (RFC 9110 section 10.2.3): seconds, or a date."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
