"""What FastAPI's own telemetry may record: with an OpenTelemetry SDK it writes down every URL.

A callback's URL is its key, so such requests are not traced, nor is any other whose URL has what
looks like one of our secrets: the log's patterns decide (app/log.py), so that both hide the same.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from app.log import redacted

_DECODINGS = 3
"""How often a URL in a URL may be percent-encoded and still be read."""


def is_secret(scope: Mapping[str, Any]) -> bool:
    """Return whether path or query hold a token, a key or a signing secret."""
    text = scope["path"] + "?" + scope.get("query_string", b"").decode("latin-1")
    for _ in range(_DECODINGS):
        if redacted(text) != text:
            return True
        decoded = unquote(text)
        if decoded == text:
            return False
        text = decoded
    return True
