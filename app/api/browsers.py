"""What every answer says to browsers: do not frame it, run nothing in it, keep nothing of it.

API answers are data. Where a browser is led to one nevertheless, these headers keep it from being
taken for a page, framed, cached, or read by another site.
"""

from collections.abc import Mapping

_NOTHING = "default-src 'none'; frame-ancestors 'none'"

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _NOTHING,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""For every answer that does not say otherwise."""

DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""For the page at /docs: its viewer sets styles by attributes, and runs no script but files."""

GUARDED: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-store",
}
"""For a result's file, which is a stranger's: no browser runs what is in it."""


_RAW = tuple((name.lower().encode(), value.encode()) for name, value in HEADERS.items())


RawHeaders = list[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case."""


def protect(headers: RawHeaders) -> None:
    """Add what is not said yet."""
    said = {name for name, _ in headers}
    headers.extend(pair for pair in _RAW if pair[0] not in said)
