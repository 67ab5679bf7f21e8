"""The connections of deliveries: names resolved anew, sockets vetted, what is open judged again."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from typing_extensions import override

from app.outbound.guard import CALL, Call, Guard

MAX_CONNECTIONS = 200


class Connector(aiohttp.TCPConnector):
    """Hands out what the call may use, and notes which address that is."""

    def __init__(self, guard: Guard, **settings: Any) -> None:  # noqa: ANN401  # aiohttp's
        super().__init__(socket_factory=guard.open_socket, **settings)
        self._guard = guard

    @override
    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Return a connection; raises `BlockedAddressError` for an open one that is not allowed."""
        call = CALL.get() or Call()
        connection = await super().connect(req, traces, timeout)
        while call.fresh and not call.dialed:  # ends: each turn takes one out of the pool
            connection.close()
            connection = await super().connect(req, traces, timeout)
        peer = _peer(connection)
        try:
            if peer is not None:
                self._guard.require(peer, call)
        except OSError:
            connection.release()  # of use to the client that opened it
            raise
        call.peer = peer
        return connection


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


def session(
    guard: Guard,
    *,
    connect: float,
    ca_bundle: str | None = None,
    resolver: AbstractResolver | None = None,
    fetches: bool = False,
) -> aiohttp.ClientSession:
    """Open the client session that `Sender` posts through; `connect` in seconds.

    `fetches`: `Fetcher` reads files through it.

    Receivers in the same house may have certificates of its own authority, others those of public
    ones: `ca_bundle`, a PEM file, is trusted beside the system's. Without it aiohttp's own context
    is used, which trusts the system's: each context has all their certificates, 0.8 MB.

    Each new connection resolves anew and opens its socket through the guard. Idle ones are closed
    before most servers do it: 5 s is usual.
    """
    connector = Connector(
        guard,
        ssl=_trusting(ca_bundle) if ca_bundle else True,
        limit=MAX_CONNECTIONS,
        resolver=resolver or Resolver(),
        use_dns_cache=False,
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
            "Accept-Encoding": "identity",
            **({} if fetches else {"Content-Type": "application/json"}),
        },
    )


def _trusting(ca_bundle: str) -> ssl.SSLContext:
    trusted = ssl.create_default_context(cafile=ca_bundle)
    trusted.load_default_certs()
    return trusted


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


def _peer(connection: Connection) -> str | None:
    transport = connection.transport
    peer = transport.get_extra_info("peername") if transport else None
    return str(peer[0]) if peer else None
