"""Whether a request has shown who sends it: a valid key, or a callback URL's right token."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

_KNOWN = "caller_known"


def recognise(request: Request) -> None:
    """Note that its key or token is right: the server keeps such connections before others."""
    request.scope["state"][_KNOWN] = True


def is_known(scope: Mapping[str, Any]) -> bool:
    return bool(scope.get("state", {}).get(_KNOWN))
