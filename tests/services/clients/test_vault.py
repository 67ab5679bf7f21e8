"""Secrets at rest: sealed with the first key, opened with any, and never with a strange one."""

import pytest

from app.services.clients.vault import UnopenedSecretError, Vault

OLD, NEW = "an-old-secret-of-the-gateway", "a-new-secret-of-the-gateway"


def test_a_secret_survives_a_new_key() -> None:
    sealed = Vault([OLD]).seal("whsec_abc")
    assert b"whsec" not in sealed
    assert Vault([NEW, OLD]).open(sealed) == "whsec_abc"
    assert Vault([NEW, OLD]).opens(sealed)


def test_the_first_key_seals() -> None:
    sealed = Vault([NEW, OLD]).seal("whsec_abc")
    assert Vault([NEW]).open(sealed) == "whsec_abc"
    assert not Vault([OLD]).opens(sealed)


@pytest.mark.parametrize(
    "sealed", [b"", b"nonsense", Vault([OLD]).seal("x")[:-1]], ids=["empty", "nonsense", "cut off"]
)
def test_what_cannot_be_opened_says_so(sealed: bytes) -> None:
    vault = Vault([OLD])
    with pytest.raises(UnopenedSecretError):
        vault.open(sealed)
    assert not vault.opens(sealed)
