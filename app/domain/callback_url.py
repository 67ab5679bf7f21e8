"""The callback URL that a create carries: it names the task and proves that we made it.

Nothing is stored: the token is a truncated HMAC of the task's id under a key derived from the
gateway's secret, so it survives any loss of ours, and every retired secret still verifies.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

CALLBACK_PATH = "/callbacks/kie"
TOKEN_BYTES = 16
"""128 bits: RFC 2104 section 5 allows half of the hash; guessing 2**128 is out of reach."""

_OURS = re.compile(rf"{CALLBACK_PATH}/(?P<task>[0-9a-f-]{{36}})/[^/]*\Z")


class Echo(StrEnum):
    """Whose callback URL kie.ai echoes about a task."""

    NONE = "none"
    OWN = "own"
    """The task's: it proves whose id it is."""
    ANOTHERS = "anothers"
    """Another task's of a gateway: what is reported is not for this one."""
    STRANGE = "strange"
    """No gateway's."""


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

    def echo(self, task_id: UUID, url: str | None) -> Echo:
        """Tell whose callback URL this is, under whichever public URL of ours.

        Only the path is compared: the public URL may have changed since the create.
        """
        if url is None:
            return Echo.NONE
        found = _OURS.search(url)
        if found is None:
            return Echo.STRANGE
        if found["task"] != str(task_id):
            return Echo.ANOTHERS
        token = url.rpartition("/")[2]
        return Echo.OWN if self.verifies(task_id, token) else Echo.STRANGE


def _token(key: bytes, task_id: UUID) -> str:
    digest = hmac.digest(key, task_id.bytes, hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:TOKEN_BYTES]).rstrip(b"=").decode()
