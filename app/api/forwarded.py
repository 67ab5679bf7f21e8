"""Whose request it is, where a trusted proxy forwards it: `scope["client"]` becomes the caller's.

uvicorn's `ProxyHeadersMiddleware` does the reading: only of trusted peers, from the right, up to
the first address that is not trusted. Around it stands what it leaves open: an IPv4 peer that a
dual-stack listener writes as IPv6, and words that are no address.
"""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_PEER = "kie_gateway.peer"


LONGEST = 64
"""Characters of an address with its zone; what is longer is none."""


def plain(host: str) -> str | None:
    """Return an address in its shortest spelling, without its zone; None: it is no address."""
    return _plain(host) if len(host) <= LONGEST else None


@lru_cache(maxsize=4096)
def _plain(host: str) -> str | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


class TrustedProxies:
    """Pure ASGI; a peer without an address, as on a Unix socket, is not trusted."""

    def __init__(self, app: ASGIApp, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusts = bool(trusted)
        hosts = [str(network) for network in trusted]
        self._reading = ProxyHeadersMiddleware(cast("Any", self._checked), hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if client is not None:
            scope["client"] = (plain(client[0]) or client[0], client[1])
        if not self._trusts:
            await self._app(scope, receive, send)
            return
        scope[_PEER] = scope.get("client")
        await self._reading(cast("Any", scope), cast("Any", receive), cast("Any", send))

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Rather show the proxy's address than a word that somebody wrote."""
        client = scope.get("client")
        if client is not None:
            found = plain(client[0])
            scope["client"] = scope[_PEER] if found is None else (found, client[1])
        await self._app(scope, receive, send)
