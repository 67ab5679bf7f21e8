"""Where deliveries must not go, in every spelling; and where they may."""

from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outbound.guard import Guard
from tests.each import each
from tests.outbound.addresses import (
    AMBIGUOUS,
    CARRIED,
    CLASSES,
    FORBIDDEN_V4,
    GUARD,
    SPELLED,
    allowed,
    forbidden,
    forbidden_hosts,
)

OPEN = Guard(allow_loopback=True, blocked=())

# -- addresses


@pytest.mark.parametrize("kind", CLASSES)
@given(data=st.data())
def test_a_forbidden_address_is_refused(kind: str, data: st.DataObject) -> None:
    address = data.draw(forbidden(kind))
    assert GUARD.objection_to_address(address) is not None, address


@each("carried", [*CARRIED, *AMBIGUOUS])
@each("address", ["127.0.0.1", "169.254.169.254", "100.100.100.200"])
def test_the_well_known_ones_in_every_disguise(address: str, carried: str) -> None:
    disguised = str({**CARRIED, **AMBIGUOUS}[carried](IPv4Address(address)))
    for spelled in (disguised, f"{disguised}%eth0", disguised.upper()):
        assert GUARD.objection_to_address(spelled) is not None, spelled


@given(address=allowed())
def test_any_other_address_is_not(address: str) -> None:
    assert GUARD.objection_to_address(address) is None, address


@each("carried", AMBIGUOUS)
@each("address", ["8.8.8.8", "10.1.2.3", "192.168.200.7"])
def test_behind_a_networks_own_translator(address: str, carried: str) -> None:
    assert GUARD.objection_to_address(str(AMBIGUOUS[carried](IPv4Address(address)))) is None


@pytest.mark.parametrize("text", ["", "localhost", "0x7f.1", "2130706433", "127.1", "1.2.3.4.5"])
def test_what_is_no_address_is_refused(text: str) -> None:
    assert GUARD.objection_to_address(text) == "is no IP address"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.255.0.9", "::1", "64:ff9b::127.0.0.1"])
def test_loopback_only_when_told(address: str) -> None:
    assert GUARD.objection_to_address(address) == "leads to this machine itself"
    assert OPEN.objection_to_address(address) is None


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind not in {"loopback", "blocked"}])
@given(data=st.data())
def test_with_loopback_the_rest_stays_closed(kind: str, data: st.DataObject) -> None:
    address = data.draw(forbidden(kind).filter(lambda text: not _is_loopback(text)))
    assert OPEN.objection_to_address(address) is not None, address


def _is_loopback(text: str) -> bool:
    """Tell ::1 from 0.0.0.1, which is written in the same way."""
    return ip_address(text.partition("%")[0]).is_loopback


def test_an_open_loopback_may_be_blocked_in_part() -> None:
    guard = Guard(allow_loopback=True, blocked=(ip_network("127.0.0.53/32"),))
    assert guard.objection_to_address("127.0.0.1") is None
    assert guard.objection_to_address("64:ff9b::127.0.0.53") == (
        "is in GATEWAY_DELIVERY_BLOCKED_NETWORKS"
    )


# -- URLs


@pytest.mark.parametrize("kind", FORBIDDEN_V4)
@given(data=st.data())
def test_a_forbidden_host_is_refused_in_the_url(kind: str, data: st.DataObject) -> None:
    host = data.draw(forbidden_hosts(kind))
    assert GUARD.objection_to_url(f"http://{host}/hook") is not None, host


@pytest.mark.parametrize("kind", CLASSES)
@given(data=st.data())
def test_a_forbidden_ipv6_host_is_refused_in_the_url(kind: str, data: st.DataObject) -> None:
    address = data.draw(forbidden(kind).filter(lambda text: ":" in text))
    assert GUARD.objection_to_url(f"https://[{address}]/hook") is not None, address


@each("spelled", SPELLED)
@each("address", ["8.8.8.8", "10.1.2.3"])
def test_an_allowed_host_in_any_spelling_is_not(address: str, spelled: str) -> None:
    assert GUARD.objection_to_url(f"http://{SPELLED[spelled](IPv4Address(address))}/") is None


ALLOWED_URLS = [
    "https://example.com/hook",
    "http://billing.internal:8080/hook?of=1",
    "https://example.com:443/",
    "http://example.com:80",
    "http://10.1.2.3:9000/",
    "https://[fd12::7]:8443/hook",
    "HTTPS://EXAMPLE.COM/",
    "https://münchen.example/",
]


@pytest.mark.parametrize("url", ALLOWED_URLS)
def test_an_ordinary_url(url: str) -> None:
    assert GUARD.objection_to_url(url) is None


REFUSED_URLS = [
    ("ftp://example.com/", "should be an http or https URL with a host"),
    ("file:///etc/passwd", "should be an http or https URL with a host"),
    ("example.com/hook", "should be an http or https URL with a host"),
    ("http:///hook", "should be an http or https URL with a host"),
    ("http://" + "a" * 2048, "should have at most 2048 characters"),
    ("http://[::1", "should be an http or https URL with a host"),
    ("http://example.com:99999/", "should have a port from 0 to 65535"),
    ("http://example.com:x/", "should have a port from 0 to 65535"),
    ("http://user@example.com/", "should have no user or password in it"),
    ("http://:secret@example.com/", "should have no user or password in it"),
    ("http://example.com:22/", "should have port 80, 443, or one above 1023"),
    ("http://example.com:0/", "should have port 80, 443, or one above 1023"),
    ("http://localhost/", "leads to this machine itself"),
    ("http://LOCALHOST.:8080/", "leads to this machine itself"),
    ("http://a.localhost/", "leads to this machine itself"),
    ("http://127.0.0.1./", "leads to this machine itself"),
]


@each(("url", "objection"), REFUSED_URLS)
def test_a_refused_url(url: str, objection: str) -> None:
    assert GUARD.objection_to_url(url) == objection


@given(text=st.text())
def test_no_text_breaks_it(text: str) -> None:
    GUARD.objection_to_url(f"http://{text}/")
    GUARD.objection_to_address(text)


def test_only_the_clients_hosts() -> None:
    hosts = ["Hooks.example.com"]
    assert GUARD.objection_to_url("https://hooks.EXAMPLE.com/a", hosts) is None
    objection = "has a host that is not among this client's webhook hosts"
    for host in ("example.com", "hooks.example.com.evil.test", "xhooks.example.com"):
        assert GUARD.objection_to_url(f"https://{host}/a", hosts) == objection
    assert GUARD.objection_to_url("https://anything.test/", []) == objection
