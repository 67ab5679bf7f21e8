"""Where a delivery may go: never to what only this machine, or its cloud, should reach.

Callers choose the URLs and live in private networks, so those are open unless a setting says
otherwise. Closed is everything else that IANA's registries of special purposes hold, in every
spelling that an address can have. The address is judged when its socket is made, so that the one
that was vetted is the one that is connected to; and again when an open connection is used, since
the next client may not be let to it.
"""

import ipaddress
import socket
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from typing_extensions import override

from app.domain.hosts import is_listed
from app.outbound.registry import (
    LINK_LOCAL,
    LOOPBACK,
    METADATA,
    NAT64,
    PRIVATE,
    Address,
    Network,
    closed_name,
    networks,
    within,
)
from app.outbound.target import Target, objection_to_form

USUAL_PORTS = frozenset({80, 443})
HIGHEST_SYSTEM_PORT = 1023


class PrivateNetworks(StrEnum):
    """Who is let to RFC 1918 and RFC 4193."""

    OPEN = "open"
    LISTED = "listed"
    """Only to hosts that its client's webhook hosts name."""
    CLOSED = "closed"


@dataclass(slots=True)
class Call:
    """One attempt, as its sockets see it."""

    listed: bool = False
    """Its host is one of those that its client's webhook hosts name."""
    fresh: bool = False
    """It may not use a connection that is open already."""
    dialed: list[str] = field(default_factory=list)
    """The addresses that it has tried so far; empty, once it has a `peer`: that was open before."""
    peer: str | None = None
    """The address that it is connected to."""


CALL: ContextVar[Call | None] = ContextVar("call", default=None)
"""The attempt that is under way; its maker looks at what became of it."""


class BlockedAddressError(OSError):
    """The name stands for an address that deliveries must not go to."""


class Guard:
    """Judges URLs as far as they can be judged before, and addresses when they are used."""

    def __init__(
        self,
        *,
        allow_loopback: bool,
        blocked: Sequence[Network],
        private: PrivateNetworks = PrivateNetworks.OPEN,
    ) -> None:
        self._allow_loopback = allow_loopback
        self._blocked = tuple(blocked)
        self._private = private

    def objection_to_url(
        self, url: str, hosts: Sequence[str] | None = None, *, others: bool = False
    ) -> str | None:
        """Say what is wrong with the URL as far as it shows without resolving it; None: nothing.

        `hosts`: the only ones that the client may use, unless `others` may be too; None: any.
        """
        malformed = objection_to_form(url)
        if malformed is not None:
            return malformed
        target = Target.of(url)
        if target.has_user:
            return "should have no user or password in it"
        port = target.port
        if port is not None and port <= HIGHEST_SYSTEM_PORT and port not in USUAL_PORTS:
            return "should have port 80, 443, or one above 1023"
        listed = is_listed(target.name, hosts)
        if hosts is not None and not (listed or others):
            return "has a host that is not among this client's webhook hosts"
        return self._objection_to_host(target.name, listed=listed)

    def objection_to_address(self, text: str, *, listed: bool = False) -> str | None:
        """Say why a resolved address is forbidden; None: it is not.

        `listed`: the client's webhook hosts name the host that it belongs to.
        """
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return "is no IP address"
        found = (self._objection(meant, listed=listed) for meant in meanings(address))
        return next((objection for objection in found if objection), None)

    def open_socket(self, info: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
        """Make the socket for one resolved address; raises `BlockedAddressError`.

        Everything that is connected to passes here, whatever the URL spelled and the resolver said.
        """
        family, kind, protocol, _, where = info
        call = CALL.get() or Call()
        call.dialed.append(str(where[0]))
        self.require(str(where[0]), call)
        return socket.socket(family, kind, protocol)

    def require(self, address: str, call: Call) -> None:
        """Let nothing pass that is forbidden to the call; raises `BlockedAddressError`."""
        objection = self.objection_to_address(address, listed=call.listed)
        if objection is not None:
            message = f"{address} {objection}"
            raise BlockedAddressError(message)

    def _objection_to_host(self, host: str, *, listed: bool) -> str | None:
        if not self._allow_loopback and (host == "localhost" or host.endswith(".localhost")):
            return "leads to this machine itself"
        literal = _literal(host)
        if literal is not None:
            return self.objection_to_address(str(literal), listed=listed)
        return "has a host that is no address, though it ends in a number" if _ends(host) else None

    def _objection(self, address: Address, *, listed: bool) -> str | None:
        if within(address, LOOPBACK):
            blocked = within(address, self._blocked)
            return None if self._allow_loopback and not blocked else _LOOPBACK_SAID[blocked]
        if within(address, LINK_LOCAL) or within(address, METADATA):
            return "is link-local or a cloud's metadata service"
        name = closed_name(address)
        if name is not None:
            return f"is in a network for special purposes ({name})"
        if within(address, self._blocked):
            return _BLOCKED_SAID
        return self._objection_to_private(listed=listed) if within(address, PRIVATE) else None

    def _objection_to_private(self, *, listed: bool) -> str | None:
        if self._private is PrivateNetworks.OPEN:
            return None
        if self._private is PrivateNetworks.CLOSED:
            return "is in a private network, and GATEWAY_DELIVERY_PRIVATE_NETWORKS=closed"
        return None if listed else "is in a private network, and not among the webhook hosts"


class PublicGuard(Guard):
    """Lets nothing pass but public addresses, whatever is set: for files that are fetched."""

    def __init__(self, *, allow_loopback: bool, blocked: Sequence[Network]) -> None:
        super().__init__(
            allow_loopback=allow_loopback, blocked=blocked, private=PrivateNetworks.CLOSED
        )

    @override
    def _objection_to_private(self, *, listed: bool) -> str | None:
        return "is in a private network"


_BLOCKED_SAID = "is in GATEWAY_DELIVERY_BLOCKED_NETWORKS"
_LOOPBACK_SAID = {False: "leads to this machine itself", True: _BLOCKED_SAID}


def meanings(address: Address) -> Iterator[Address]:
    """Yield the address and every IPv4 address that it carries inside.

    Mapped, compatible (RFC 4291) and translated (RFC 2765), NAT64 (RFC 6052, 8215), 6to4
    (RFC 3056), Teredo (RFC 4380; the client's is stored inverted) and ISATAP (RFC 5214).
    """
    yield address
    if not isinstance(address, ipaddress.IPv6Address):
        return
    bits = int(address)
    carries = within(address, _WITH_LAST) or (bits >> 32) & 0xFDFF_FFFF == _ISATAP
    if carries and address not in _BARE:
        yield ipaddress.IPv4Address(bits & 0xFFFF_FFFF)
    if within(address, _NAT64_LOCAL):
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


_NAT64_WELL_KNOWN, _NAT64_LOCAL = NAT64[:1], NAT64[1:]
_WITH_LAST = networks("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96") + _NAT64_WELL_KNOWN
_ISATAP = 0x0000_5EFE
_BARE = frozenset({ipaddress.IPv6Address("::"), ipaddress.IPv6Address("::1")})
"""In ::/96 by their bits, and no spelling of an IPv4 address."""


def _literal(host: str) -> Address | None:
    """Read a host as an address in any spelling that a resolver takes: 0x7f.1, 2130706433, ::1."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _ends(host: str) -> bool:
    """Tell whether the last label is a number: no such top-level domain will ever be."""
    last = host.rpartition(".")[2]
    return last.isdigit() or (last.startswith("0x") and _is_hex(last[2:]))


def _is_hex(text: str) -> bool:
    return all(char in "0123456789abcdef" for char in text)
