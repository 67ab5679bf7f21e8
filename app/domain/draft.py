"""What a caller asks for when it creates a task."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.dialect import Dialect
from app.domain.exact_json import canonical


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A task before it exists: one value from the request to the row."""

    model: str
    input: dict[str, Any]
    metadata: dict[str, str]
    webhook_url: str | None
    priority: int
    submit_within: float | None
    """Seconds that the task may wait in the queue; None: as the policy says."""
    dialect: Dialect = Dialect.NATIVE

    @property
    def url_pointer(self) -> str:
        """Where the body of this API has the URL (RFC 6901)."""
        return _URL_POINTERS[self.dialect]


_URL_POINTERS: Mapping[Dialect, str] = {
    Dialect.NATIVE: "/webhook_url",
    Dialect.KIE: "/callBackUrl",
}


def fingerprint(draft: Draft) -> bytes:
    """SHA-256 over the canonical body: what makes two creates the same under one key."""
    body = {name: getattr(draft, name) for name in draft.__slots__}
    return hashlib.sha256(canonical(body)).digest()
