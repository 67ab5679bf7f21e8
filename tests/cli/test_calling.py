"""Whom a command trusts: with TLS whom httpx does, and without TLS nobody, for it asks nobody."""

import ssl
from typing import Any

import httpx
import pytest

from app.cli.callers.client import calling
from tests.each import each


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What clients are made with."""
    found: list[Any] = []

    class Client(httpx.Client):
        def __init__(self, *, verify: Any, **others: Any) -> None:
            found.append(verify)
            super().__init__(verify=verify, **others)

    monkeypatch.setattr(httpx, "Client", Client)
    return found


def _trust(url: str, trusted: list[Any]) -> Any:
    with calling(url, "kgw_x"):
        pass
    return trusted.pop()


@each("url", ["https://gateway.test", "HTTPS://gateway.test/base", "https://127.0.0.1:8000"])
def test_tls_is_verified_as_httpx_does(url: str, trusted: list[Any]) -> None:
    assert _trust(url, trusted) is True


@each("url", ["http://gateway.test", "http://127.0.0.1:8000"])
def test_without_tls_no_authority_is_read_and_none_trusted(url: str, trusted: list[Any]) -> None:
    trust = _trust(url, trusted)

    assert (trust.verify_mode, trust.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert trust.get_ca_certs() == []
