"""The registries as data: what they close, and that Python's own copy closes no more."""

import ipaddress
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outbound.guard import Guard, PrivateNetworks, meanings
from app.outbound.registry import CLOSED, LINK_LOCAL, LOOPBACK, METADATA, NAT64, PRIVATE, within
from tests.each import each

OPEN = Guard(allow_loopback=False, blocked=())

SPECIAL = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32"),
    *("192.0.0.10/32", "192.0.0.170/32", "192.0.0.171/32", "192.0.2.0/24", "192.31.196.0/24"),
    *("192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "255.255.255.255/32"),
    *("::1/128", "::/128", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64"),
    *("100:0:0:1::/64", "2001::/23", "2001::/32", "2001:1::1/128", "2001:1::2/128"),
    *("2001:1::3/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:10::/28"),
    *("2001:20::/28", "2001:30::/28", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48"),
    *("3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10"),
)
"""Every entry of the two registries, as they were on 2025-10-09."""

ELSEWHERE = (*LOOPBACK, *LINK_LOCAL, *PRIVATE, *NAT64)


@each("text", SPECIAL)
def test_every_entry_of_the_registries_is_in_one_table(text: str) -> None:
    network = ip_network(text)
    tables = (*CLOSED, *ELSEWHERE)
    assert any(
        one.version == network.version
        and int(one.network_address) <= int(network.network_address)
        and int(network.broadcast_address) <= int(one.broadcast_address)
        for one in tables
    )
    if not within(network.network_address, (*PRIVATE, *NAT64)):
        for end in (network.network_address, network.broadcast_address):
            assert OPEN.objection_to_address(str(end)) is not None, end


EDGES = [
    int(edge) + step
    for network in (*CLOSED, *ELSEWHERE, *METADATA)
    for edge in (network.network_address, network.broadcast_address)
    for step in (-1, 0, 1)
    if network.version == 6
]
V6 = (st.sampled_from(EDGES) | st.integers(0, 2**128 - 1)).map(
    lambda bits: ipaddress.IPv6Address(bits % 2**128)
)
V4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)


@given(address=V4 | V6)
def test_python_closes_nothing_that_is_open_here(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if within(address, (*PRIVATE, *NAT64)):
        return
    usual = address.is_global and not address.is_multicast and not address.is_reserved
    if not usual:
        assert OPEN.objection_to_address(str(address)) is not None


@given(address=V4 | V6)
def test_what_an_address_carries_closes_it(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    for meant in meanings(address):
        if OPEN.objection_to_address(str(meant)) is not None:
            assert OPEN.objection_to_address(str(address)) is not None


PRIVATE_ONES = [
    *("10.1.2.3", "172.31.255.255", "192.168.0.1", "fd12::7", "fc00::1"),
    *("64:ff9b::10.1.2.3", "64:ff9b:1::192.168.7.7"),
]


@pytest.mark.parametrize("address", PRIVATE_ONES)
def test_private_networks_are_as_the_setting_says(address: str) -> None:
    said = {
        (private, listed): Guard(
            allow_loopback=True, blocked=(), private=private
        ).objection_to_address(address, listed=listed)
        for private in PrivateNetworks
        for listed in (False, True)
    }
    assert {key for key, objection in said.items() if objection is None} == {
        (PrivateNetworks.OPEN, False),
        (PrivateNetworks.OPEN, True),
        (PrivateNetworks.LISTED, True),
    }


@pytest.mark.parametrize("private", PrivateNetworks)
@pytest.mark.parametrize("address", ["fd00:ec2::254", "fd20:ce::254", "169.254.169.254"])
def test_metadata_is_closed_to_listed_hosts_too(address: str, private: PrivateNetworks) -> None:
    guard = Guard(allow_loopback=True, blocked=(), private=private)
    assert guard.objection_to_address(address, listed=True) is not None


@pytest.mark.parametrize("private", PrivateNetworks)
def test_a_literal_is_judged_when_the_url_is_given(private: PrivateNetworks) -> None:
    guard = Guard(allow_loopback=False, blocked=(), private=private)
    said = [
        guard.objection_to_url("http://10.1.2.3/hook", hosts, others=True)
        for hosts in (None, ["other.example"], ["10.1.2.3"])
    ]
    refused = {"open": 0, "listed": 2, "closed": 3}[private]
    assert [objection is not None for objection in said] == [place < refused for place in range(3)]


def test_public_addresses_stay_open() -> None:
    guard = Guard(allow_loopback=False, blocked=(), private=PrivateNetworks.CLOSED)
    for address in ("8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::8.8.8.8"):
        assert guard.objection_to_address(address) is None, address
