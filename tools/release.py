"""Whether a release can be tagged: `python -m tools.release`, and `… DATE` that dates its changes.

The version is in `pyproject.toml`; the program reads it from the installed package. What cannot
read it there (the image's label, the manifests' tag, the document of the API) is compared.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNRELEASED = "Unreleased"
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_HEADING = re.compile(r"^## (\S+)(?: - (\S+)| \((unreleased)\))?$", re.MULTILINE)
_OLDEST = re.compile(r'^oldest_release: str = "([^"]+)"$', re.MULTILINE)

COPIES = {
    "Dockerfile": r'image\.version="([^"]+)"',
    "deploy/kustomize/example/kustomization.yaml": r"newTag: (\S+)",
    "clients/python/kie_gateway_client/__init__.py": r'^__version__ = "([^"]+)"',
}
"""Where the version is repeated, and how: a file that is not there repeats nothing."""


def version(root: Path = ROOT) -> str:
    """Return the version that the next tag has."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def problems(root: Path = ROOT) -> Iterator[str]:
    """Say what contradicts the version, at any time."""
    wanted = version(root)
    if not _VERSION.fullmatch(wanted):
        yield f"pyproject.toml: {wanted} is not MAJOR.MINOR.PATCH"
    for name, pattern in COPIES.items():
        found = re.findall(pattern, _text(root / name), re.MULTILINE)
        if found != [wanted] and (root / name).exists():
            yield f"{name}: has {', '.join(found) or 'no version'}, not {wanted}"
    document = root / "docs" / "openapi.json"
    if document.exists():
        said = json.loads(document.read_text(encoding="utf-8"))["info"]["version"]
        if said != wanted:
            yield f"docs/openapi.json: has {said}, not {wanted}; make docs"
    newest = next((found[0] for found in _releases(root)), "none")
    if newest != wanted:
        yield f"CHANGELOG.md: its newest release is {newest}, not {wanted}"
    yield from _too_new(root, wanted)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _too_new(root: Path, wanted: str) -> Iterator[str]:
    """Name the migrations that only a later release may run on."""
    for migration in sorted(root.glob("migrations/versions/*.py")):
        for oldest in _OLDEST.findall(_text(migration)):
            if _number(oldest) > _number(wanted):
                yield f"{migration.name}: oldest_release is {oldest}, later than {wanted}"


def unready(root: Path = ROOT) -> Iterator[str]:
    """Say what has to be done before the tag, beyond that."""
    installed = metadata.version("kie-gateway")
    if installed != version(root):
        yield f"the installed package is {installed}: make setup"
    name, day = next(_releases(root), ("", None))
    if day is None:
        yield f"CHANGELOG.md: {name} has no date; python -m tools.release {date.today()}"  # noqa: DTZ011  # the day of who releases
    if _pending(root):
        yield f"CHANGELOG.md: something is under {UNRELEASED}: move it into the release"
    if _git(root, "status", "--porcelain"):
        yield "git: there are changes that are not committed"
    if _git(root, "tag", "--list", f"v{version(root)}"):
        yield f"git: v{version(root)} is tagged already; raise the version"


def dated(text: str, day: date) -> str:
    """Date the newest release, and begin the next one above it."""
    heading = next((one for one in _HEADING.finditer(text) if one[3] is not None), None)
    if heading is None:
        message = "CHANGELOG.md: no release is (unreleased)"
        raise SystemExit(message)
    above = "" if f"## {UNRELEASED}\n" in text else f"## {UNRELEASED}\n\n"
    return f"{text[: heading.start()]}{above}## {heading[1]} - {day}{text[heading.end() :]}"


def _releases(root: Path) -> Iterator[tuple[str, str | None]]:
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    for name, day, _ in _HEADING.findall(text):
        if name != UNRELEASED:
            yield name, day or None


def _pending(root: Path) -> str:
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {UNRELEASED}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _git(root: Path, *arguments: str) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run(  # noqa: S603  # our own arguments
        [git, *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def main(arguments: Sequence[str]) -> None:
    if arguments:
        changes = ROOT / "CHANGELOG.md"
        day = date.fromisoformat(arguments[0])
        changes.write_text(dated(changes.read_text(encoding="utf-8"), day), encoding="utf-8")
        return
    found = [*problems(), *unready()]
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write(f"v{version()} can be tagged\n")


if __name__ == "__main__":
    main(sys.argv[1:])
