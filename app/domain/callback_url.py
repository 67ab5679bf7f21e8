"""The callback URL that a create carries: it names the task and proves that we made it.

Nothing is stored: the token is a truncated HMAC of the task's id under a key derived from the
gateway's secret, so it survives any loss of ours, and every retired secret still verifies.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from uuid import UUID

CALLBACK_PATH = "/callbacks/kie"
TOKEN_BYTES = 16
"""128 bits: RFC 2104 section 5 allows half of the hash; guessing 2**128 is out of reach."""


def derive(secret: str, purpose: str) -> bytes:
    """Derive a key of 32 bytes for one purpose: HKDF-Expand's first block (RFC 5869)."""
    return hmac.digest(secret.encode(), f"kie-gateway/{purpose}\x01".encode(), hashlib.sha256)


class CallbackUrls:
    """Makes and checks the callback URLs of tasks.

    `keys` are 32 bytes each: the first makes tokens, all verify. Without `public_url` there are no
    URLs, and the gateway polls.
    """

    def __init__(self, keys: Sequence[bytes], public_url: str | None) -> None:
        self._keys = tuple(keys)
        self._public_url = public_url

    def url(self, task_id: UUID) -> str | None:
        if self._public_url is None:
            return None
        return f"{self._public_url}{CALLBACK_PATH}/{task_id}/{self.tokens(task_id)[0]}"

    def tokens(self, task_id: UUID) -> tuple[str, ...]:
        """Every token that verifies for the task, the one in use first."""
        return tuple(_token(key, task_id) for key in self._keys)

    def verifies(self, task_id: UUID, token: str) -> bool:
        """Compare in constant time with the token of every key."""
        given = token.encode("utf-8", "replace")
        found = [hmac.compare_digest(given, right.encode()) for right in self.tokens(task_id)]
        return any(found)

    def is_foreign(self, task_id: UUID, url: str | None) -> bool:
        """Tell whether `url` is somebody else's; no URL at all is nobody's."""
        return url is not None and not self.is_own(task_id, url)

    def is_own(self, task_id: UUID, url: str | None) -> bool:
        """Tell whether `url` is this task's callback URL, under whichever public URL of ours.

        Only the path is compared: the public URL may have changed since the create.
        """
        head, _, token = (url or "").rpartition("/")
        return head.endswith(f"{CALLBACK_PATH}/{task_id}") and self.verifies(task_id, token)


def _token(key: bytes, task_id: UUID) -> str:
    digest = hmac.digest(key, task_id.bytes, hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:TOKEN_BYTES]).rstrip(b"=").decode()
