"""What is wrong with a built site: broken links, and whatever another host would be asked for."""

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

_SCRIPT = re.compile(r"(<script\b[^>]*>).*?</script>", re.DOTALL)
_TAG = re.compile(r"<([a-z][\w-]*)((?:[^>\"']|\"[^\"]*\"|'[^']*')*)>")
_ATTRIBUTE = re.compile(r"([\w-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>\"']+))")
_IN_CSS = re.compile(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)")

LOADED: Mapping[str, tuple[str, ...]] = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "embed": ("src",),
    "object": ("data",),
}
"""What a browser fetches by itself, by tag."""

LOADING = frozenset(
    {"stylesheet", "preload", "prefetch", "preconnect", "dns-prefetch", "icon", "manifest"}
)
"""Kinds of `<link>` that make it fetch, or call, another place."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One opening tag of a page."""

    name: str
    attributes: Mapping[str, str]

    def fetched(self) -> Iterator[str]:
        """Yield the URLs that a browser fetches for it, unasked."""
        for name in LOADED.get(self.name, ()):
            for one in self.attributes.get(name, "").split(","):
                if one.strip():
                    yield one.split()[0]
        if self.name == "link" and LOADING & set(self.attributes.get("rel", "").split()):
            yield self.attributes.get("href", "")


def tags(text: str) -> Iterator[Tag]:
    for name, attributes in _TAG.findall(_SCRIPT.sub(r"\1", text)):
        found = _ATTRIBUTE.findall(attributes)
        yield Tag(name, {key: html.unescape("".join(values)) for key, *values in found})


def foreign(site: Path) -> list[str]:
    """List what the pages and style sheets fetch from other hosts; empty: nothing."""
    found = [
        f"{page.relative_to(site)}: <{tag.name}> {url}"
        for page in _pages(site)
        for tag in tags(page.read_text(encoding="utf-8"))
        for url in tag.fetched()
        if _is_elsewhere(url)
    ]
    for sheet in sorted(site.rglob("*.css")):
        urls = ("".join(each) for each in _IN_CSS.findall(sheet.read_text(encoding="utf-8")))
        found += [f"{sheet.relative_to(site)}: {url}" for url in urls if _is_elsewhere(url)]
    return found


def _is_elsewhere(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.netloc) or parts.scheme not in {"", "data"}


def broken(site: Path) -> list[str]:
    """List links that lead to no file, or to no place in it; empty: all are good."""
    pages = {page: list(tags(page.read_text(encoding="utf-8"))) for page in _pages(site)}
    anchors = {
        page: {
            tag.attributes[name]
            for tag in found
            for name in ("id", "name")
            if name in tag.attributes
        }
        for page, found in pages.items()
    }
    return [
        f"{page.relative_to(site)}: {url}"
        for page, found in pages.items()
        for tag in found
        for url in (*tag.fetched(), *_followed(tag))
        if not _is_elsewhere(url) and not _leads(site, page, url, anchors)
    ]


def _followed(tag: Tag) -> Iterator[str]:
    if tag.name == "a" and "href" in tag.attributes:
        yield tag.attributes["href"]


def _leads(site: Path, page: Path, url: str, anchors: Mapping[Path, set[str]]) -> bool:
    parts = urlsplit(url)
    if parts.scheme == "data":
        return True
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target.is_dir():
        target /= "index.html"
    if not target.is_relative_to(site) or not target.exists():
        return False
    anchor = unquote(parts.fragment)
    return not anchor or target not in anchors or anchor in anchors[target]


def _pages(site: Path) -> list[Path]:
    """List the pages; the builder's own page for what is not found has links from the root."""
    return [page for page in sorted(site.rglob("*.html")) if page.name != "404.html"]
