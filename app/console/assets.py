"""The stylesheet, the script and the icon, under names that change with what is in them.

So a browser may keep each for a year, and never shows an old one after an upgrade.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STATIC = "/console/static/"
_FILES = Path(__file__).parent / "static"
_TYPES: Mapping[str, str] = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file."""

    content: bytes
    media_type: str


def _named(name: str) -> tuple[str, Asset]:
    """Return a file with the name that it is served under."""
    content = (_FILES / name).read_bytes()
    stem, _, end = name.partition(".")
    served = f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{end}"
    return served, Asset(content=content, media_type=_TYPES[name])


_SERVED = {name: _named(name) for name in _TYPES}

ASSETS: Mapping[str, Asset] = dict(_SERVED.values())
"""By the names that they are served under."""


def url_of(name: str) -> str:
    """Return where a file is."""
    return STATIC + _SERVED[name][0]
