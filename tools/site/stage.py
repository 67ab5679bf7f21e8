"""Lays the pages out for the site's builder: those of the root beside those of `docs/`."""

import posixpath
import re
import shutil
from pathlib import Path

ROOT_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
}
_LINK = re.compile(r"(?P<text>!?\[(?:[^\[\]]|\[[^\]]*\])*\])\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r"^# (.*)$", re.MULTILINE)
_BEFORE_LIST = re.compile(r"(?<=[^\n])\n(?=(?:- |1\. ))")


def staged(root: Path, source: Path) -> None:
    """Copy all pages of the checkout `root` to `source`, which is made anew."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(root / "docs", source)
    places = {f"docs/{path.relative_to(source).as_posix()}" for path in source.rglob("*")}
    for path in list(source.rglob("*.md")):
        name = f"docs/{path.relative_to(source).as_posix()}"
        path.write_text(_page(path.read_text(encoding="utf-8"), name, places), encoding="utf-8")
    for name, target in ROOT_PAGES.items():
        text = _page((root / name).read_text(encoding="utf-8"), name, places)
        (source / target).write_text(text, encoding="utf-8")
    (source / "decisions" / "index.md").write_text(_decisions(source), encoding="utf-8")


def _page(text: str, name: str, places: set[str]) -> str:
    """Let each link outside of code lead to where its target is on the site."""
    parts = _FENCE.split(text)
    return "".join(
        part if place % 2 else _LINK.sub(lambda found: _link(found, name, places), part)
        for place, part in enumerate(parts)
    )


def _link(found: re.Match[str], name: str, places: set[str]) -> str:
    target, hash_, anchor = found["target"].partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return found[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    there = _on_site(path, places)
    if there is None:  # a file of the code, which the site does not have
        return found["text"].lstrip("!")[1:-1]
    here = posixpath.dirname(_on_site(name, places) or name)
    return f"{found['text']}({posixpath.relpath(there, here or '.')}{hash_}{anchor})"


def _on_site(path: str, places: set[str]) -> str | None:
    """Return where a file of the checkout is on the site; None: nowhere."""
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    if path == "docs/decisions":
        return "decisions/index.md"
    return path.removeprefix("docs/") if path in places or path.startswith("docs/") else None


def _decisions(source: Path) -> str:
    rows = [
        f"- [{_title(page)}]({page.name})"
        for page in sorted((source / "decisions").glob("[0-9]*.md"))
    ]
    return "# Decisions\n\nWhy things are as they are, one page each.\n\n" + "\n".join(rows) + "\n"


def _title(page: Path) -> str:
    found = _TITLE.search(page.read_text(encoding="utf-8"))
    return found[1] if found else page.stem
