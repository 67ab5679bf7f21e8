"""Every way there is to write an address, forbidden ones and others."""

import ipaddress
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

from hypothesis import strategies as st

from app.outbound.guard import Guard
from app.outbound.registry import CLOSED, Network

BLOCKED: tuple[Network, ...] = (ip_network("9.9.9.0/24"), ip_network("2a0a:bad::/48"))
"""GATEWAY_DELIVERY_BLOCKED_NETWORKS of these tests."""

GUARD = Guard(allow_loopback=False, blocked=BLOCKED)

FORBIDDEN_V4: Mapping[str, tuple[str, ...]] = {
    "loopback": ("127.0.0.0/8",),
    "link-local": ("169.254.0.0/16",),
    "metadata": (
        *("169.254.169.254/32", "169.254.170.2/32", "169.254.42.42/32", "169.254.0.23/32"),
        *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
    ),
    "multicast": ("224.0.0.0/4",),
    "unspecified": ("0.0.0.0/32", "0.0.0.0/8"),
    "broadcast": ("255.255.255.255/32", "240.0.0.0/4"),
    "special": tuple(str(one) for one in CLOSED if one.version == 4),
    "blocked": ("9.9.9.0/24",),
}
FORBIDDEN_V6: Mapping[str, tuple[str, ...]] = {
    "loopback": ("::1/128",),
    "link-local": ("fe80::/10", "fe80::a9fe:a9fe/128", "fec0::/10"),
    "metadata": (
        *("fd00:ec2::254/128", "fd00:ec2::/32", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128"),
        *("fd00:100::100:200/128", "fd00:a9fe:a9fe::1/128", "fd00:42::42/128"),
    ),
    "multicast": ("ff00::/8", "ff02::1/128"),
    "unspecified": ("::/128",),
    "special": tuple(str(one) for one in CLOSED if one.version == 6),
    "blocked": ("2a0a:bad::/48",),
}
ALLOWED_V4 = (
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),  # callers live in private networks
    *("1.0.0.0/8", "8.8.8.8/32", "198.20.0.0/15", "203.0.112.0/24", "100.128.0.0/10"),
)
ALLOWED_V6 = ("fd12::/16", "fc00::/8", "2606:4700::/32", "2a00:1450::/32", "2001:4860::/32")


# -- IPv4 in text


def _parts(address: IPv4Address) -> list[int]:
    return list(address.packed)


def _joined(parts: list[int], spell: Callable[[int], str]) -> str:
    return ".".join(spell(part) for part in parts)


def _shortened(address: IPv4Address, kept: int) -> list[int]:
    """Join the last parts into one number, as inet_aton(3) reads `127.1`."""
    parts = _parts(address)
    return [*parts[:kept], int.from_bytes(bytes(parts[kept:]))]


SPELLED: Mapping[str, Callable[[IPv4Address], str]] = {
    "dotted": str,
    "decimal": lambda address: str(int(address)),
    "hex": lambda address: hex(int(address)),
    "octal": lambda address: f"0{int(address):o}",
    "dotted hex": lambda address: _joined(_parts(address), hex),
    "dotted octal": lambda address: _joined(_parts(address), lambda part: f"0{part:03o}"),
    "two parts": lambda address: _joined(_shortened(address, 1), str),
    "three parts": lambda address: _joined(_shortened(address, 2), str),
    "two parts, hex": lambda address: _joined(_shortened(address, 1), hex),
}
"""As a URL may have it and a resolver reads it."""


# -- IPv4 in IPv6


def _behind(prefix: str) -> Callable[[IPv4Address], IPv6Address]:
    return lambda address: IPv6Address(int(IPv6Address(prefix)) | int(address))


def _nat64(length: int) -> Callable[[IPv4Address], IPv6Address]:
    """Embed as RFC 6052 section 2.2 has it: around the byte of bits 64 to 71."""

    def embed(address: IPv4Address) -> IPv6Address:
        packed = bytearray(IPv6Address("64:ff9b:1::").packed)
        places = [place for place in range(length // 8, 16) if place != 8 or length == 96]
        for place, part in zip(places, address.packed, strict=False):
            packed[place] = part
        return IPv6Address(bytes(packed))

    return embed


def _teredo(address: IPv4Address) -> IPv6Address:
    """The client's is stored inverted (RFC 4380); the server's is an allowed one."""
    server = int(IPv4Address("65.54.227.120"))
    return IPv6Address(0x2001_0000 << 96 | server << 64 | 0xFFFF_FFFF ^ int(address))


AMBIGUOUS: Mapping[str, Callable[[IPv4Address], IPv6Address]] = {
    f"NAT64 local-use /{length}": _nat64(length) for length in (48, 56, 64, 96)
}
CARRIED: Mapping[str, Callable[[IPv4Address], IPv6Address]] = {
    "mapped": _behind("::ffff:0:0"),
    "compatible": _behind("::"),
    "translated": _behind("::ffff:0:0:0"),
    "NAT64": _behind("64:ff9b::"),
    "6to4": lambda address: IPv6Address(0x2002 << 112 | int(address) << 80 | 1),
    "Teredo": _teredo,
    "ISATAP": _behind("2a00:1450:4001:800:0:5efe::"),
    "ISATAP, unique": _behind("2a00:1450:4001:800:200:5efe::"),
}
CLOSED_WAYS = ("mapped", "compatible", "translated", "6to4", "Teredo")
"""Special purposes of their own, whatever they carry."""


# -- strategies


def within(text: str) -> st.SearchStrategy[IPv4Address | IPv6Address]:
    """Draw an address of the network, its first and last among them."""
    network = ip_network(text)
    make = IPv6Address if isinstance(network, IPv6Network) else IPv4Address
    ends = int(network.network_address), int(network.broadcast_address)
    return (st.sampled_from(ends) | st.integers(*ends)).map(make)


def _v4(networks: tuple[str, ...]) -> st.SearchStrategy[IPv4Address]:
    drawn = st.sampled_from(networks).flatmap(within)
    return drawn.map(lambda address: IPv4Address(int(address)))


def _v6_texts(address: IPv6Address) -> st.SearchStrategy[str]:
    """The same address short, long, in capitals, with an IPv4 tail, and with a zone."""
    tail = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    head = address.exploded.rsplit(":", 2)[0]
    texts = (
        *(str(address), address.exploded, str(address).upper(), f"{head}:{tail}"),
        *(f"{address}%eth0", f"{address}%1"),
    )
    return st.sampled_from(texts)


def forbidden(kind: str) -> st.SearchStrategy[str]:
    """Draw an address of a forbidden class, in any spelling that is an IP address."""
    v4 = _v4(FORBIDDEN_V4[kind]) if kind in FORBIDDEN_V4 else st.nothing()
    known = st.tuples(st.sampled_from(list(CARRIED.values())), v4)
    # 0.0.0.1 behind an unknown prefix may be another address behind another prefix
    plain = v4.filter(lambda address: address.packed[0] != 0 or int(address) == 0)
    unknown = st.tuples(st.sampled_from(list(AMBIGUOUS.values())), plain)
    carried = (known | unknown).map(lambda drawn: drawn[0](drawn[1]))
    own = (
        st.sampled_from(FORBIDDEN_V6.get(kind, ())).flatmap(within)
        if kind in FORBIDDEN_V6
        else (st.nothing())
    )
    v6 = (carried | own.map(lambda address: IPv6Address(int(address)))).flatmap(_v6_texts)
    return v4.map(str) | v6


def forbidden_hosts(kind: str) -> st.SearchStrategy[str]:
    """Draw the host of a URL that stands for an IPv4 address of a forbidden class."""
    ways = st.sampled_from(list(SPELLED.values()))
    return st.tuples(ways, _v4(FORBIDDEN_V4[kind])).map(lambda drawn: drawn[0](drawn[1]))


def allowed() -> st.SearchStrategy[str]:
    """Draw an address that deliveries may go to, in any spelling that says so without doubt."""
    v4 = _v4(ALLOWED_V4)
    open_ways = [way for name, way in CARRIED.items() if name not in CLOSED_WAYS]
    carried = st.tuples(st.sampled_from(open_ways), v4).map(lambda two: two[0](two[1]))
    own = st.sampled_from(ALLOWED_V6).flatmap(within)
    return v4.map(str) | (carried | own).map(str)


CLASSES = tuple(dict.fromkeys((*FORBIDDEN_V4, *FORBIDDEN_V6)))
