"""IANA's special-purpose address registries, as data: what no delivery goes to, by its name.

`iana-ipv4-special-registry` and `iana-ipv6-special-registry` (RFC 6890, as of 2025), with what
other registries keep apart: multicast, and site-local addresses. Entries that lie within others of
the same fate are left out.
"""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


def within(address: Address, those: Iterable[Network]) -> bool:
    """Tell whether one of the networks has the address."""
    return any(address.version == one.version and address in one for one in those)


LOOPBACK = networks("127.0.0.0/8", "::1/128")
LINK_LOCAL = networks("169.254.0.0/16", "fe80::/10")
PRIVATE = networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
"""RFC 1918 and RFC 4193: where callers may live, as GATEWAY_DELIVERY_PRIVATE_NETWORKS says."""

NAT64 = networks("64:ff9b::/96", "64:ff9b:1::/48")
"""IPv4-IPv6 Translat. (RFC 6052, 8215): in networks with IPv6 only, the way to IPv4. They are as
good as the address that they carry."""

CLOSED: Mapping[Network, str] = {
    ip_network(text): name
    for text, name in (
        ("0.0.0.0/8", "This network"),  # Linux takes 0.0.0.0 for loopback
        ("100.64.0.0/10", "Shared Address Space"),  # carriers' NAT, and some clouds' services
        ("192.0.0.0/24", "IETF Protocol Assignments"),
        ("192.0.2.0/24", "Documentation (TEST-NET-1)"),
        ("192.31.196.0/24", "AS112-v4"),
        ("192.52.193.0/24", "AMT"),
        ("192.88.99.0/24", "Deprecated (6to4 Relay Anycast)"),
        ("192.175.48.0/24", "Direct Delegation AS112 Service"),
        ("198.18.0.0/15", "Benchmarking"),
        ("198.51.100.0/24", "Documentation (TEST-NET-2)"),
        ("203.0.113.0/24", "Documentation (TEST-NET-3)"),
        ("224.0.0.0/4", "Multicast"),
        ("240.0.0.0/4", "Reserved"),  # and Limited Broadcast
        ("::/128", "Unspecified Address"),
        ("::ffff:0:0/96", "IPv4-mapped Address"),
        ("100::/64", "Discard-Only Address Block"),
        ("100:0:0:1::/64", "Dummy IPv6 Prefix"),
        ("2001::/23", "IETF Protocol Assignments"),  # TEREDO, ORCHID, Benchmarking, AMT, …
        ("2001:db8::/32", "Documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "Direct Delegation AS112 Service"),
        ("3fff::/20", "Documentation"),
        ("5f00::/16", "Segment Routing (SRv6) SIDs"),
        ("fec0::/10", "Site-Local Unicast"),  # deprecated by RFC 3879
        ("ff00::/8", "Multicast"),
    )
}
"""By IANA's own names, "globally reachable" ones too: what is there is nobody's webhook."""

METADATA: Mapping[Network, str] = {
    ip_network(text): owner
    for text, owner in (
        ("100.100.100.200/32", "Alibaba Cloud"),
        ("168.63.129.16/32", "Azure's wire server"),
        ("192.0.0.192/32", "Oracle Cloud"),
        ("fd00:ec2::/32", "AWS: metadata, time, DNS"),
        ("fd20:ce::254/128", "Google Cloud"),
        ("fd00:c1::a9fe:a9fe/128", "Oracle Cloud"),
        ("fd00:100::100:200/128", "Alibaba Cloud"),
        ("fd00:a9fe:a9fe::1/128", "Akamai"),
        ("fd00:42::42/128", "Scaleway"),
    )
}
"""Metadata services outside 169.254.0.0/16; some look like private or public addresses."""


_CLOSED = {
    version: [(one, name) for one, name in CLOSED.items() if one.version == version]
    for version in (4, 6)
}
_GLOBAL_UNICAST = networks("2000::/3")


def closed_name(address: Address) -> str | None:
    """Return the name under which IANA keeps the address from common use; None: it does not."""
    for network, name in _CLOSED[address.version]:
        if address in network:
            return name
    usual = address.version == 4 or within(address, (*_GLOBAL_UNICAST, *PRIVATE, *NAT64))  # noqa: PLR2004  # of IP
    return None if usual else "Reserved by IETF"
