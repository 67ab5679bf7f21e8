"""Signs what is delivered (Standard Webhooks 1.0), by the specification's own library."""

from collections.abc import Sequence
from datetime import datetime

from cryptography.fernet import InvalidToken, MultiFernet
from standardwebhooks import Webhook


class UnopenedSecretError(Exception):
    """A signing secret was sealed with a `GATEWAY_SECRET_KEYS` entry that is gone."""


class Signing:
    """Opens clients' secrets and signs with them."""

    def __init__(self, vault: MultiFernet) -> None:
        self._vault = vault

    def headers(
        self, message: str, now: datetime, body: bytes, sealed: Sequence[bytes | None]
    ) -> dict[str, str]:
        """Return the headers of one attempt, a signature for each secret (rotation).

        `now` is UTC. Raises `UnopenedSecretError`.
        """
        text = body.decode()
        signatures = [
            Webhook(self._opened(secret)).sign(message, now, text) for secret in sealed if secret
        ]
        return {
            "webhook-id": message,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    def _opened(self, sealed: bytes) -> str:
        try:
            return self._vault.decrypt(sealed).decode()
        except InvalidToken:
            raise UnopenedSecretError from None
