"""Keeps clients' signing secrets: sealed in the database, opened only to sign or to be shown."""

import base64
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from app.domain.callback_url import derive

if TYPE_CHECKING:
    from cryptography.fernet import Fernet


class UnopenedSecretError(Exception):
    """A secret was sealed with a `GATEWAY_SECRET_KEYS` entry that is gone."""


class Vault:
    """Seals with the first of the gateway's secrets and opens with any (Fernet).

    Without any, as a process that only receives callbacks has it, it does neither. cryptography is
    imported with the first secret: 6 MB, and many processes never see one.
    """

    def __init__(self, secret_keys: Sequence[str]) -> None:
        self._derived = [derive(secret, "vault") for secret in secret_keys]

    @cached_property
    def _keys(self) -> "Sequence[Fernet]":
        from cryptography.fernet import Fernet  # noqa: PLC0415  # see above

        return [Fernet(base64.urlsafe_b64encode(key)) for key in self._derived]

    def seal(self, secret: str) -> bytes:
        from cryptography.fernet import MultiFernet  # noqa: PLC0415  # see above

        return MultiFernet(self._keys).encrypt(secret.encode())

    def open(self, sealed: bytes) -> str:
        """Return the secret; raises `UnopenedSecretError`."""
        return _open(self._keys, sealed)

    def is_current(self, sealed: bytes) -> bool:
        """Tell whether the secret is sealed with the key that seals now."""
        try:
            _open(self._keys[:1], sealed)
        except UnopenedSecretError:
            return False
        return True

    def opens(self, sealed: bytes) -> bool:
        """Tell whether the secret can still be opened."""
        try:
            self.open(sealed)
        except UnopenedSecretError:
            return False
        return True


def _open(keys: "Sequence[Fernet]", sealed: bytes) -> str:
    from cryptography.fernet import InvalidToken  # noqa: PLC0415  # see above

    for key in keys:
        with suppress(InvalidToken):
            return key.decrypt(sealed).decode()
    raise UnopenedSecretError
