"""Sends one delivery once; what became of it comes back as a value."""

import asyncio
import io
import os
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from importlib import metadata
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

from app.domain.delivery import Obstacle
from app.outbound.guard import DIALED, BlockedAddressError, Guard

MAX_ANSWER = 16 * 1024
"""Bytes of an answer that are read, and kept for whoever looks for a fault."""

PIECES_FROM = 256 * 1024
"""Bytes from which a body is written in pieces: aiohttp warns of a large one written at once."""

MAX_CONNECTIONS = 200

NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
"""The resolver's definite answers; that it has none just now is another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of one attempt."""

    seconds: float
    status: int | None = None
    """None: there was no answer."""
    retry_after: float | None = None
    """Seconds, where the receiver says so."""
    address: str | None = None
    """The address that was connected to."""
    error: str | None = None
    obstacle: Obstacle | None = None
    """Why it could not even be sent, where that lies in the URL."""
    answer: bytes = field(default=b"", repr=False)


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
    ) -> Sent:
        """Post once. Raises for nothing that the network or the receiver does.

        `hosts`: the only ones that may be called; None: any.
        """
        started = time.monotonic()
        objection = self._guard.objection_to_url(url, hosts)
        if objection is not None:
            return Sent(seconds=0.0, error=f"blocked: the URL {objection}", obstacle=Obstacle.URL)
        dialed: list[str] = []
        DIALED.set(dialed)
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._session.post(
                    url, data=_payload(body), headers=headers, allow_redirects=False
                ) as response,
            ):
                return Sent(
                    status=response.status,
                    retry_after=_seconds(response.headers.get("Retry-After")),
                    address=_peer(response) or _last(dialed),
                    answer=await _read(response),
                    seconds=time.monotonic() - started,
                )
        except TimeoutError:
            error, obstacle = f"no answer within {self._timeout:g} s", None
        except (aiohttp.ClientError, OSError, ValueError) as trouble:
            error, obstacle = _said(trouble), self._obstacle(trouble, dialed)
        return Sent(
            seconds=time.monotonic() - started,
            error=error,
            obstacle=obstacle,
            address=_last(dialed),
        )

    def _obstacle(self, trouble: BaseException, dialed: Sequence[str]) -> Obstacle | None:
        """Tell what lies in the URL; a failure to connect, or to resolve just now, does not."""
        if dialed and all(map(self._guard.objection_to_address, dialed)):
            return Obstacle.ADDRESS
        if isinstance(trouble, aiohttp.ClientConnectorDNSError):
            return Obstacle.NAME if trouble.os_error.errno in NO_SUCH_NAME else None
        return None


class Resolver(AbstractResolver):
    """Asks the system, in threads of its own.

    A name that nobody answers for holds its thread for many seconds. In the loop's own pool a few
    such names would keep all others waiting, and PostgreSQL's and kie.ai's with them.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="resolve")

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        infos = await asyncio.get_running_loop().run_in_executor(
            self._threads, _looked_up, host, port, family
        )
        return [
            ResolveResult(
                hostname=host,
                host=_numeric(address),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in infos
        ]

    @override
    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


_Info = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]


def _looked_up(host: str, port: int, family: socket.AddressFamily) -> Sequence[_Info]:
    return socket.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )


def _numeric(address: tuple[Any, ...]) -> str:
    """Spell a resolved address, with its zone where it has one."""
    host = str(address[0])
    scope = address[3] if len(address) > 3 else 0  # noqa: PLR2004  # IPv6's fourth is its zone
    return f"{host}%{scope}" if scope and "%" not in host else host


def session(
    guard: Guard,
    *,
    connect: float,
    ca_bundle: str | None = None,
    resolver: AbstractResolver | None = None,
) -> aiohttp.ClientSession:
    """Open the client session that `Sender` posts through; `connect` in seconds.

    Receivers in the same house may have certificates of its own authority, others those of public
    ones: `ca_bundle`, a PEM file, is trusted beside the system's.

    Each new connection resolves anew and opens its socket through the guard. Idle ones are closed
    before servers do it (5 s is usual): a request that meets the closing counts as a failure.
    """
    trusted = ssl.create_default_context(cafile=ca_bundle)
    if ca_bundle is not None:
        trusted.load_default_certs()
    connector = aiohttp.TCPConnector(
        ssl=trusted,
        limit=MAX_CONNECTIONS,
        resolver=resolver or Resolver(),
        use_dns_cache=False,
        socket_factory=guard.open_socket,
        keepalive_timeout=2.0,
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        headers={
            "User-Agent": f"kie-gateway/{metadata.version('kie-gateway')}",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
        },
    )


def _payload(body: bytes) -> bytes | io.BytesIO:
    return body if len(body) < PIECES_FROM else io.BytesIO(body)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read the beginning of an answer; the rest is left, and its connection with it."""
    found = bytearray()
    async for chunk in response.content.iter_any():
        found += chunk
        if len(found) >= MAX_ANSWER:
            break
    return bytes(found[:MAX_ANSWER])


def _last(dialed: Sequence[str]) -> str | None:
    return dialed[-1] if dialed else None


def _peer(response: aiohttp.ClientResponse) -> str | None:
    transport = response.connection.transport if response.connection else None
    peer = transport.get_extra_info("peername") if transport else None
    return str(peer[0]) if peer else None


def _said(trouble: BaseException) -> str:
    """Name the error with the system's words; never a URL, which may hold a caller's secret."""
    blocked: BaseException | None = trouble
    while blocked is not None:
        if isinstance(blocked, BlockedAddressError):
            return f"blocked: {blocked}"
        blocked = blocked.__cause__
    words = None
    if isinstance(trouble, OSError):
        number = trouble.errno or 0
        words = os.strerror(number) if number > 0 else trouble.strerror  # resolvers' are negative
    name = type(trouble).__name__
    return f"{name}: {words}"[:200] if words else name


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
