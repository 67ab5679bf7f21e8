"""A URL of a caller's, read once: what is vetted is what is dialed, and what was given is called.

One parser decides. Another one's reading of the same text may lead to another host, so the parts
are put together again for the HTTP client, which splits nothing.
"""

from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlsplit

from yarl import URL

from app.domain.client import url_objection
from app.domain.hosts import ascii_host

objection_to_form = url_objection
"""What `Target.of` can read has no objection here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The parts of a URL."""

    scheme: str
    name: str
    """The host as it is compared: A-labels, small letters, no brackets, no dot at its end."""
    dot: bool
    """It was written with a dot at its end: no search list of the resolver's."""
    port: int | None
    path: str
    """Path and query as they were written, each character outside ASCII as UTF-8 in per cent."""
    has_user: bool

    @classmethod
    def of(cls, url: str) -> Self:
        """Read a URL that has the form of one; raises ValueError for others."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        name = ascii_host(host)
        if name is None:
            message = "no host"
            raise ValueError(message)
        return cls(
            scheme=parts.scheme,
            name=name,
            dot=host.endswith("."),
            port=parts.port,
            path=_path(url, parts.netloc),
            has_user="@" in parts.netloc,
        )

    @property
    def url(self) -> URL:
        """The same for the HTTP client, not to be encoded, normalised or split again."""
        host = f"[{self.name}]" if ":" in self.name else self.name + "." * self.dot
        authority = host if self.port is None else f"{host}:{self.port}"
        return URL.build(scheme=self.scheme, authority=authority, path=self.path, encoded=True)


def _path(url: str, netloc: str) -> str:
    """Take what follows the authority, without the fragment: that is never sent."""
    path = url.partition("#")[0].partition("//")[2][len(netloc) :]
    path = path if path.startswith("/") else f"/{path}"
    return "".join(char if char.isascii() else quote(char, errors="replace") for char in path)
