"""Whether a request has shown who sends it: a valid key, or a callback URL's right token."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

_KNOWN = "caller_known"
_UNHURRIED = "body_unhurried"


def recognise(request: Request) -> None:
    """Note that its key or token is right: the server keeps such connections before others."""
    request.scope["state"][_KNOWN] = True


def is_known(scope: Mapping[str, Any]) -> bool:
    return bool(scope.get("state", {}).get(_KNOWN))


def take_time(request: Request) -> None:
    """Note that its body may take longer than others: the application bounds its progress."""
    request.scope["state"][_UNHURRIED] = True


def takes_time(scope: Mapping[str, Any]) -> bool:
    """Tell whether somebody else bounds the time of its body."""
    return bool(scope.get("state", {}).get(_UNHURRIED))
