"""Webhooks of the gateway: who sent one, when, and what it says (Standard Webhooks 1.0)."""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from kie_gateway_client.errors import Unusable, WebhookRejected
from kie_gateway_client.exact import NotJSONError, instant, parse_object
from kie_gateway_client.words import EventType

if TYPE_CHECKING:
    from kie_gateway_client.models import Task

TOLERANCE = 300.0
"""Seconds by which a webhook may be older, or younger, than the clock."""
MAX_HEADER = 4096
MAX_SIGNATURES = 20
_PREFIX = "whsec_"
_ID, _TIMESTAMP, _SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
_MAX_DIGITS = 12


@dataclass(frozen=True)
class WebhookEvent:
    """A webhook that the gateway sent."""

    id: str
    """The same in every attempt of one delivery: remember it, and process it once."""
    type: EventType
    timestamp: datetime
    data: Mapping[str, Any] = field(repr=False)
    """Numbers are `int` or `Decimal`."""

    @property
    def task(self) -> "Task":
        """The task as it was then; keep the highest `version`.

        Raises `UnexpectedAnswer` for a webhook about no task, or whose body has no whole one: then
        read it by `data["id"]`.
        """
        from kie_gateway_client.models import Task  # noqa: PLC0415  # half of an import's time

        return Task.of(self.data)


def verify_webhook(
    body: bytes,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    *,
    tolerance: float = TOLERANCE,
    now: float | None = None,
) -> WebhookEvent:
    """Return the event, if one of the secrets signed these bytes a short time ago.

    `body` has the bytes as received; `secret` is `whsec_…`, or several while one replaces another.
    `now` is in Unix seconds, else the clock's. Raises `WebhookRejected`, and `Unusable` for a
    secret that is none.
    """
    keys = [_key(one) for one in ([secret] if isinstance(secret, str) else secret)]
    known = _known(headers)
    sent_at = _sent_at(known[_TIMESTAMP])
    _require_signed(body, known, keys)
    if abs((time.time() if now is None else now) - sent_at) > tolerance:
        _reject("its timestamp is too far from this clock")
    return _event(known[_ID], body)


def _known(headers: Mapping[str, str]) -> dict[str, str]:
    """Take the three headers; names in any case, each once."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        small = name.lower()
        if small not in {_ID, _TIMESTAMP, _SIGNATURE}:
            continue
        if small in found or not value or len(value) > MAX_HEADER:
            _reject(f"{small} is empty, too long, or there twice")
        found[small] = value
    for name in (_ID, _TIMESTAMP, _SIGNATURE):
        if name not in found:
            _reject(f"{name} is missing")
    return found


def _sent_at(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        _reject(f"{_TIMESTAMP} is no number of seconds")
    return int(text)


def _require_signed(body: bytes, known: Mapping[str, str], keys: Sequence[bytes]) -> None:
    """Compare all of them, in a time that depends on no content."""
    signed = f"{known[_ID]}.{known[_TIMESTAMP]}.".encode("utf-8", "replace") + body
    expected = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in keys]
    given = [
        signature.removeprefix("v1,").encode("utf-8", "replace")
        for signature in known[_SIGNATURE].split(" ")[:MAX_SIGNATURES]
        if signature.startswith("v1,")
    ]
    matches = [hmac.compare_digest(one, other) for one in expected for other in given]
    if not any(matches):
        _reject("no signature is right")


def _event(message: str, body: bytes) -> WebhookEvent:
    try:
        told = parse_object(body)
    except NotJSONError:
        told = {}
    type_, data = told.get("type"), told.get("data")
    timestamp = instant(told.get("timestamp"))
    if not isinstance(type_, str) or not isinstance(data, dict) or timestamp is None:
        _reject("its body is no event of the gateway's")
    return WebhookEvent(message, EventType(type_), timestamp, data)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        message = "a signing secret looks like whsec_… and then base64"
        raise Unusable(message)
    return key


def _reject(why: str) -> NoReturn:
    message = f"the webhook is rejected: {why}"
    raise WebhookRejected(message)
