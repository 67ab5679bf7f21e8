"""Keeps clients' signing secrets: sealed in the database, opened only to sign or to be shown."""

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from app.domain.callback_url import derive


class UnopenedSecretError(Exception):
    """A secret was sealed with a `GATEWAY_SECRET_KEYS` entry that is gone."""


class Vault:
    """Seals with the first of the gateway's secrets and opens with any (Fernet)."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        keys = [base64.urlsafe_b64encode(derive(secret, "vault")) for secret in secret_keys]
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(self, secret: str) -> bytes:
        return self._fernet.encrypt(secret.encode())

    def open(self, sealed: bytes) -> str:
        """Return the secret; raises `UnopenedSecretError`."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise UnopenedSecretError from None

    def opens(self, sealed: bytes) -> bool:
        """Tell whether the secret can still be opened."""
        try:
            self.open(sealed)
        except UnopenedSecretError:
            return False
        return True
