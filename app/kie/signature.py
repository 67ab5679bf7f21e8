"""Checks kie.ai's webhook signature: base64(HMAC-SHA256(key, taskId + "." + timestamp)).

It covers one task id and an instant, not the body: it says who called, not that what is said is
true. Whoever saw one signed callback can put any result under it.
"""

import base64
import hmac
import re
from collections.abc import Sequence
from datetime import datetime

from app.domain.evidence import Signature

MAX_AGE = 300
"""Seconds between kie.ai's clock and ours, either way."""

_UNIX_SECONDS = re.compile(r"\d{1,12}", re.ASCII)


def verify(
    keys: Sequence[bytes],
    kie_task_ids: Sequence[str],
    timestamp: str | None,
    signature: str | None,
    now: datetime,
) -> Signature:
    """Judge X-Webhook-Timestamp (unix seconds) and X-Webhook-Signature; `now` is aware.

    Any of the keys may have signed, but every id that the body names must be the signed one: a
    body with a second id would otherwise settle another task under this signature.
    """
    if not keys:
        return Signature.UNCHECKED
    if not timestamp or not signature:
        return Signature.MISSING
    if not kie_task_ids or not _UNIX_SECONDS.fullmatch(timestamp):
        return Signature.WRONG
    if not all(_signed(keys, kie_task_id, timestamp, signature) for kie_task_id in kie_task_ids):
        return Signature.WRONG
    age = abs(now.timestamp() - int(timestamp))
    return Signature.VALID if age <= MAX_AGE else Signature.STALE


def _signed(keys: Sequence[bytes], kie_task_id: str, timestamp: str, signature: str) -> bool:
    message = f"{kie_task_id}.{timestamp}".encode("utf-8", "surrogatepass")
    given = signature.encode("utf-8", "surrogatepass")
    return any(
        hmac.compare_digest(base64.b64encode(hmac.digest(key, message, "sha256")), given)
        for key in keys
    )
