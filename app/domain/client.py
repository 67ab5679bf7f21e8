"""A client, that is a calling service: its name, its weight, and where it may be notified."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from app.domain.errors import InvalidRequestError, NotFoundError, bad_member

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

MAX_WEIGHT = 100

MAX_GRACE = 30 * 24 * 3600.0
"""Seconds for which a secret that was replaced may go on signing."""

USUAL_GRACE = 24 * 3600.0

MAX_URL = 2048

MAX_HOSTS = 50

MAX_HOST = 253

_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:]*:[0-9a-f:.]*")
"""A name or address as a URL has it: no scheme, no port, no brackets."""


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

BOUNDS: Mapping[str, tuple[float, float]] = {
    "running_share": (0.001, 1),
    "queued_tasks": (1, MAX_QUEUED_TASKS),
    "queued_bytes": (1, MAX_QUEUED_BYTES),
}
"""What a client may have of its own instead of what the settings say: the least and the most."""


def checked_bounds(values: Mapping[str, float | None]) -> None:
    """Raise `InvalidRequestError` for a bound that no client can have; None: as the settings."""
    for name, value in values.items():
        least, most = BOUNDS[name]
        if value is not None and not least <= value <= most:
            detail = f"{name} is {least:g} to {most:g}, or unset."
            raise InvalidRequestError(detail)


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
    try:
        parts = urlsplit(url)
    except ValueError:
        return "should be an http or https URL with a host"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "should be an http or https URL with a host"
    try:
        parts.port  # noqa: B018  # reading it checks it
    except ValueError:
        return "should have a port from 0 to 65535"
    if any(ord(char) <= ord(" ") for char in url):
        return "should have no spaces or control characters"
    return None


def url_host(url: str) -> str:
    """Return a client's URL's host and port in small letters: what may be shown and counted by.

    Empty where the text is no URL.
    """
    try:
        return urlsplit(url).netloc.lower().rpartition("@")[2][:MAX_URL]
    except ValueError:
        return ""


def checked_hosts(hosts: Sequence[str] | None) -> list[str] | None:
    """Return the hosts in small letters, each once; raises `InvalidRequestError` for a bad one."""
    if hosts is None:
        return None
    if not 1 <= len(hosts) <= MAX_HOSTS:
        where, trouble = "/webhook_hosts", f"should name 1 to {MAX_HOSTS} hosts, or be null for any"
        raise bad_member(where, trouble)
    for place, host in enumerate(hosts):
        if len(host) > MAX_HOST or not _HOST.fullmatch(host.lower()):
            where = f"/webhook_hosts/{place}"
            trouble = "should be a host alone, as hooks.example.com: no scheme, port or path"
            raise bad_member(where, trouble)
    return sorted({host.lower() for host in hosts})
