"""Hosts of URLs in the one form in which they are looked up, compared and kept."""

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv6Address

import idna

MAX_HOST = 253

_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


def ascii_host(host: str) -> str | None:
    """Return a name or address in small letters, a foreign script as A-labels; None: it is none.

    IDNA 2008 with the mapping of UTS 46: `MÜNCHEN.example` and `xn--mnchen-3ya.example` are one.
    Without the dot that may end a name, without brackets; an IPv6 address in its short form, and
    no zone, which only this machine could read.
    """
    if ":" in host:
        return _ipv6(host)
    if not host.isascii():
        try:
            host = idna.encode(host[: MAX_HOST + 1], uts46=True).decode("ascii")
        except UnicodeError:
            return None
    name = host.lower().removesuffix(".")
    return name if len(name) <= MAX_HOST and _NAME.fullmatch(name) else None


def is_listed(host: str, hosts: Sequence[str] | None) -> bool:
    """Tell whether these hosts name this one, in whichever spelling; None names nothing."""
    return hosts is not None and ascii_host(host) in {ascii_host(known) for known in hosts}


def _ipv6(text: str) -> str | None:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return None
    return None if address.scope_id else str(address)
