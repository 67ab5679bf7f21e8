"""Whether the processes on one database agree in the settings that they have to share."""

from collections.abc import Iterable, Mapping

from app.domain.callback_url import derive

CLOCK_TOLERANCE = 5.0
"""Seconds that a process's clock may differ from the database's: receivers of webhooks allow 300,
and leases are a matter of seconds."""

FINGERPRINT_BYTES = 4
"""Enough to tell two secrets apart, and far too few to find one by."""

SHARED_SETTINGS = (
    "GATEWAY_SECRET_KEYS",
    "GATEWAY_CALLBACK_KEYS",
    "GATEWAY_KIE_API_KEY",
    "GATEWAY_KIE_CREATES_PER_10S",
    "GATEWAY_KIE_CREATE_WINDOW",
    "GATEWAY_KIE_QUERIES_PER_SECOND",
    "GATEWAY_KIE_MAX_RUNNING",
    "GATEWAY_ARCHIVE_URL",
)
"""What all processes on one database have to share: secrets sign and open, limits are counted."""

Fingerprints = Mapping[str, str]
"""By the setting's name: its value, or of a secret what shows only whether two are the same."""


def fingerprint(secret: str) -> str:
    """Return what tells whether two secrets are the same; nothing else follows from it."""
    return derive(secret, "fingerprint")[:FINGERPRINT_BYTES].hex()


def differing(found: Iterable[Fingerprints]) -> tuple[str, ...]:
    """Return the settings that two processes have differently; one that is not set differs not."""
    values: dict[str, set[str]] = {}
    for fingerprints in found:
        for name, value in fingerprints.items():
            values.setdefault(name, set()).add(value)
    return tuple(sorted(name for name, those in values.items() if len(those) > 1))
