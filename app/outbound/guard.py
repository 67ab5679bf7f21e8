"""Where a delivery may go: never to what only this machine, or its cloud, should reach.

Callers choose the URLs and live in private networks, so those are open. What is closed is what
gives this process's own trust away: loopback, link-local and with it the metadata services of
clouds, in every spelling an address can have. The address is judged when its socket is made, so
that the one that was vetted is the one that is connected to.
"""

import ipaddress
import socket
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from app.domain.client import url_objection

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "100.100.100.200/32",  # Alibaba Cloud
        "168.63.129.16/32",  # Azure's wire server
        "192.0.0.192/32",  # Oracle Cloud
        "fd00:ec2::/32",  # AWS: metadata, time, DNS
        "fd20:ce::254/128",  # Google Cloud
        "fd00:c1::a9fe:a9fe/128",  # Oracle Cloud
        "fd00:100::100:200/128",  # Alibaba Cloud
        "fd00:a9fe:a9fe::1/128",  # Akamai
        "fd00:42::42/128",  # Scaleway
    )
)
"""Metadata services outside 169.254.0.0/16, which is link-local."""

NEVER: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # "this network" (RFC 1122); Linux takes 0.0.0.0 for loopback
        "240.0.0.0/4",  # reserved, and limited broadcast
        "::/128",
        "fec0::/10",  # site-local (RFC 3879)
    )
)

USUAL_PORTS = frozenset({80, 443})
HIGHEST_SYSTEM_PORT = 1023

DIALED: ContextVar[list[str]] = ContextVar("dialed")
"""The addresses that a call has tried so far; the caller sets the list it will look at."""


class BlockedAddressError(OSError):
    """The name stands for an address that deliveries must not go to."""


class Guard:
    """Judges URLs as far as they can be judged before, and addresses when they are used."""

    def __init__(self, *, allow_loopback: bool, blocked: Sequence[Network]) -> None:
        self._allow_loopback = allow_loopback
        self._blocked = tuple(blocked)

    def objection_to_url(self, url: str, hosts: Sequence[str] | None = None) -> str | None:
        """Say what is wrong with the URL as far as it shows without resolving it; None: nothing.

        `hosts`: the only ones that the client may use; None: any.
        """
        malformed = url_objection(url)
        if malformed is not None:
            return malformed
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if parts.username is not None or parts.password is not None:
            return "should have no user or password in it"
        if port is not None and port <= HIGHEST_SYSTEM_PORT and port not in USUAL_PORTS:
            return "should have port 80, 443, or one above 1023"
        if hosts is not None and host not in {allowed.lower() for allowed in hosts}:
            return "has a host that is not among this client's webhook hosts"
        return self._objection_to_host(host.rstrip("."))

    def objection_to_address(self, text: str) -> str | None:
        """Say why a resolved address is forbidden; None: it is not."""
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return "is no IP address"
        found = (self._objection(meant) for meant in meanings(address))
        return next((objection for objection in found if objection), None)

    def open_socket(self, info: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
        """Make the socket for one resolved address; raises `BlockedAddressError`.

        Everything that is connected to passes here, whatever the URL spelled and the resolver said.
        """
        family, kind, protocol, _, where = info
        DIALED.get([]).append(str(where[0]))
        objection = self.objection_to_address(str(where[0]))
        if objection is not None:
            message = f"{where[0]} {objection}"
            raise BlockedAddressError(message)
        return socket.socket(family, kind, protocol)

    def _objection_to_host(self, host: str) -> str | None:
        if not self._allow_loopback and (host == "localhost" or host.endswith(".localhost")):
            return "leads to this machine itself"
        literal = _literal(host)
        return None if literal is None else self.objection_to_address(str(literal))

    def _objection(self, address: Address) -> str | None:
        if address.is_loopback and not self._allow_loopback:
            return "leads to this machine itself"
        if address.is_link_local or _within(address, METADATA):
            return "is link-local or a cloud's metadata service"
        if address.is_multicast or address.is_unspecified or _within(address, NEVER):
            return "is no address of a host"
        if _within(address, self._blocked):
            return "is in GATEWAY_DELIVERY_BLOCKED_NETWORKS"
        return None


def meanings(address: Address) -> Iterator[Address]:
    """Yield the address and every IPv4 address that it carries inside.

    Mapped, compatible (RFC 4291) and translated (RFC 2765), NAT64 (RFC 6052, 8215), 6to4
    (RFC 3056), Teredo (RFC 4380; the client's is stored inverted) and ISATAP (RFC 5214).
    """
    yield address
    if not isinstance(address, ipaddress.IPv6Address):
        return
    bits = int(address)
    carries = _within(address, _WITH_LAST) or (bits >> 32) & 0xFDFF_FFFF == _ISATAP
    if carries and address not in _BARE:
        yield ipaddress.IPv4Address(bits & 0xFFFF_FFFF)
    if _within(address, _NAT64_LOCAL):
        yield from _translated(bits)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo


def _translated(bits: int) -> Sequence[ipaddress.IPv4Address]:
    """Read the IPv4 address behind a NAT64 prefix of 48, 56, 64 or 96 bits (RFC 6052, 2.2).

    Which one a network uses cannot be told from outside, so all readings count, but for those
    that fell beside the address: they are in 0.0.0.0/8.
    """
    packed = bits.to_bytes(16)
    around = packed[:8] + packed[9:]  # the byte between is zero, and no part of the address
    spelled = (around[6:10], around[7:11], around[8:12], packed[12:])
    readings = [ipaddress.IPv4Address(four) for four in spelled]
    return [one for one in readings if one.packed[0]] or readings


_WITH_LAST: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96")
)
_NAT64_LOCAL: tuple[Network, ...] = (ipaddress.ip_network("64:ff9b:1::/48"),)
_ISATAP = 0x0000_5EFE
_BARE = frozenset({ipaddress.IPv6Address("::"), ipaddress.IPv6Address("::1")})
"""In ::/96 by their bits, and no spelling of an IPv4 address."""


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _literal(host: str) -> Address | None:
    """Read a host as an address in any spelling that a resolver takes: 0x7f.1, 2130706433, ::1."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None
