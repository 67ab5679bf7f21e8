"""Signs what is delivered: as Standard Webhooks 1.0 has it, and as kie.ai does."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

from standardwebhooks import Webhook

from app.services.clients.vault import Vault


class Signing:
    """Opens clients' secrets and signs with them."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def headers(
        self, message: str, now: datetime, body: bytes, sealed: Sequence[bytes | None]
    ) -> dict[str, str]:
        """Return the headers of one attempt, a signature for each secret (rotation).

        `now` is UTC. Raises `UnopenedSecretError`.
        """
        text = body.decode()
        signatures = [
            Webhook(self._vault.open(secret)).sign(message, now, text)
            for secret in sealed
            if secret
        ]
        return {
            "webhook-id": message,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    def kie_headers(self, task_id: str, now: datetime, sealed: bytes) -> dict[str, str]:
        """Return kie.ai's own: base64(HMAC-SHA256(key, taskId + "." + timestamp)).

        The key is the whole text of the secret, `whsec_` too: kie.ai's keys are opaque text.
        There is room for one signature, so that of a rotation's two secrets the new one signs.
        Raises `UnopenedSecretError`.
        """
        timestamp = str(int(now.timestamp()))
        message = f"{task_id}.{timestamp}".encode()
        digest = hmac.digest(self._vault.open(sealed).encode(), message, hashlib.sha256)
        return {
            "X-Webhook-Timestamp": timestamp,
            "X-Webhook-Signature": base64.b64encode(digest).decode(),
        }
