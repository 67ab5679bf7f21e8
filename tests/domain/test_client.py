"""What a client may be called, weigh, and be notified at."""

import pytest

from app.domain import client
from app.domain.client import (
    MAX_GRACE,
    MAX_URL,
    MAX_WEIGHT,
    checked_grace,
    checked_hosts,
    checked_name,
    checked_weight,
    is_name,
    no_such_client,
    url_host,
    url_objection,
)
from app.domain.errors import InvalidRequestError
from tests.each import each

HTTP = "should be an http or https URL with a host"
PORT = "should have a port from 0 to 65535"
SPACE = "should have no spaces or control characters"


@pytest.mark.parametrize("name", ["shop", "A", "0", "a.b_c-d", "x" * 64])
def test_a_name(name: str) -> None:
    assert is_name(name)
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["", ".a", "-a", "a b", "a\n", "a\0", "é", "x" * 65])
def test_no_name(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(InvalidRequestError, match="1 to 64 letters"):
        checked_name(name)


def test_a_name_that_nobody_has_is_quoted_as_far_as_it_can_be_printed() -> None:
    assert no_such_client("shop").detail.startswith("There is no client called shop; ")
    assert "\0" not in no_such_client("a\0").detail
    assert len(no_such_client("x" * 5000).detail) < 200


def test_bounds() -> None:
    assert [checked_weight(weight) for weight in (1, MAX_WEIGHT)] == [1, MAX_WEIGHT]
    assert [checked_grace(seconds) for seconds in (0, MAX_GRACE)] == [0, MAX_GRACE]
    for weight in (0, -1, MAX_WEIGHT + 1):
        with pytest.raises(InvalidRequestError):
            checked_weight(weight)
    for seconds in (-1, MAX_GRACE + 1, float("nan")):
        with pytest.raises(InvalidRequestError):
            checked_grace(seconds)


@each(
    ("url", "objection"),
    [
        ("https://hooks.example.com/kie?key=a", None),
        ("http://127.0.0.1:8080", None),
        ("HTTPS://[::1]:65535/", None),
        ("ftp://h.test/", HTTP),
        ("h.test/hook", HTTP),
        ("http:///hook", HTTP),
        ("http://[::1", HTTP),
        ("http://[x]/", HTTP),
        ("", HTTP),
        ("http://h.test:65536/", PORT),
        ("http://h.test:x/", PORT),
        ("http://h.test/a b", SPACE),
        ("http://h.test/\t", SPACE),
        ("http://h.test/" + "a" * MAX_URL, f"should have at most {MAX_URL} characters"),
    ],
)
def test_the_form_of_a_url(url: str, objection: str | None) -> None:
    assert url_objection(url) == objection


def test_what_is_too_long_is_not_remembered() -> None:
    before = client._objection.cache_info().currsize
    assert url_objection("http://never-seen.test/" + "a" * 1_000_000) is not None
    assert client._objection.cache_info().currsize == before


def test_a_urls_host_has_its_port_and_small_letters() -> None:
    assert url_host("https://Hooks.Example.COM:8443/Kie?key=A") == "hooks.example.com:8443"


def test_hosts_are_sorted_and_each_once() -> None:
    assert checked_hosts(None) is None
    assert checked_hosts(["B.test", "a.test", "b.TEST", "::1"]) == ["::1", "a.test", "b.test"]


@pytest.mark.parametrize(
    ("hosts", "pointer"),
    [
        ([], "/webhook_hosts"),
        (["h.test"] * 51, "/webhook_hosts"),
        (["h.test", "https://h.test"], "/webhook_hosts/1"),
        (["h.test:80"], "/webhook_hosts/0"),
        (["a" * 254], "/webhook_hosts/0"),
    ],
)
def test_a_bad_host_is_refused_at_its_place(hosts: list[str], pointer: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        checked_hosts(hosts)
    assert [flaw.pointer for flaw in caught.value.flaws] == [pointer]
