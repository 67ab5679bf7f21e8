"""A client, that is a calling service: its name, its weight, and where it may be notified."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from app.domain.errors import InvalidRequestError, NotFoundError, bad_member
from app.domain.hosts import ascii_host, is_listed

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

MAX_WEIGHT = 100

MAX_GRACE = 30 * 24 * 3600.0
"""Seconds for which a secret that was replaced may go on signing."""

USUAL_GRACE = 24 * 3600.0

MAX_URL = 2048

MAX_HOSTS = 50


NO_WEB_URL = "should be an http or https URL with a host"


def is_name(text: str) -> bool:
    """Tell whether a client can have this name; PostgreSQL takes no NUL, nor all of Unicode."""
    return _NAME.fullmatch(text) is not None


def checked_name(name: str) -> str:
    """Return the name; raises `InvalidRequestError` for one that no client can have."""
    if is_name(name):
        return name
    detail = "A client's name is 1 to 64 letters, digits, dots, underscores or hyphens."
    raise InvalidRequestError(detail)


def no_such_client(name: str) -> NotFoundError:
    printable = name[:64] if name.isprintable() else ascii(name)[:64]
    return NotFoundError(f"There is no client called {printable}; see `kie-gateway clients list`.")


def checked_weight(weight: int) -> int:
    """Return the weight; raises `InvalidRequestError` for one outside 1 to `MAX_WEIGHT`."""
    if 1 <= weight <= MAX_WEIGHT:
        return weight
    detail = f"A weight is a whole number from 1 to {MAX_WEIGHT}."
    raise InvalidRequestError(detail)


MAX_QUEUED_TASKS = 2_000_000_000
MAX_QUEUED_BYTES = 2**62

MAX_ARCHIVE_DAYS = 36_500

BOUNDS: Mapping[str, tuple[float, float]] = {
    "running_share": (0.001, 1),
    "queued_tasks": (1, MAX_QUEUED_TASKS),
    "queued_bytes": (1, MAX_QUEUED_BYTES),
    "archive_days": (1, MAX_ARCHIVE_DAYS),
}
"""What a client may have of its own instead of what the settings say: the least and the most."""


def checked_bounds(values: Mapping[str, float | None]) -> None:
    """Raise `InvalidRequestError` for a bound that no client can have; None: as the settings."""
    for name, value in values.items():
        least, most = BOUNDS[name]
        if value is not None and not least <= value <= most:
            where, trouble = f"/{name}", f"should be {least} to {most}, or null"
            raise bad_member(where, trouble)


def checked_grace(seconds: float) -> float:
    """Return the grace; raises `InvalidRequestError` for one outside 0 to `MAX_GRACE` seconds."""
    if 0 <= seconds <= MAX_GRACE:
        return seconds
    detail = f"A grace is 0 to {MAX_GRACE:.0f} seconds."
    raise InvalidRequestError(detail)


def url_objection(url: str) -> str | None:
    """Say why this is no URL to notify a client at; None: it is one.

    Only its form counts here; where deliveries may go is for `app/outbound/guard.py`.
    """
    if len(url) > MAX_URL:
        return f"should have at most {MAX_URL} characters"
    return _objection(url)


@lru_cache(maxsize=256)  # a client notifies few URLs, and each create names one; none is long here
def _objection(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return NO_WEB_URL
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return NO_WEB_URL
    if any(char <= " " or char == "\x7f" for char in url):
        return "should have no spaces or control characters"
    return _objection_to_authority(parts)


def _objection_to_authority(parts: SplitResult) -> str | None:
    try:
        parts.port  # noqa: B018  # reading it checks it
    except ValueError:
        return "should have a port from 0 to 65535"
    if ascii_host(parts.hostname or "") is None:
        return "should have a host that is a name or an address"
    return None


def url_host(url: str) -> str:
    """Return a client's URL's host and port in small letters: what may be shown and counted by.

    Empty where the text is no URL.
    """
    try:
        return urlsplit(url).netloc.lower().rpartition("@")[2][:MAX_URL]
    except ValueError:
        return ""


def goes_to_listed(url: str, hosts: Sequence[str] | None) -> bool:
    """Tell whether the URL's host is one that the client's webhook hosts name."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return False
    return host is not None and is_listed(host, hosts)


def checked_hosts(hosts: Sequence[str] | None) -> list[str] | None:
    """Return the hosts as they are looked up, each once; raises `InvalidRequestError` for others.

    See `ascii_host`: both spellings of a name in a foreign script are one.
    """
    if hosts is None:
        return None
    if not 1 <= len(hosts) <= MAX_HOSTS:
        where, trouble = "/webhook_hosts", f"should name 1 to {MAX_HOSTS} hosts, or be null for any"
        raise bad_member(where, trouble)
    found: set[str] = set()
    for place, host in enumerate(hosts):
        known = ascii_host(host)
        if known is None:
            where = f"/webhook_hosts/{place}"
            trouble = "should be a host only, as hooks.example.com: no scheme, port or path"
            raise bad_member(where, trouble)
        found.add(known)
    return sorted(found)
