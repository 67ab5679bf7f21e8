"""The SBOM of what a deployment installs: `python -m tools.sbom [FILE]`, CycloneDX 1.5 as JSON.

uv writes it, from a project whose every package is pinned as in `requirements.lock`; then it is
compared with the lock file, hash by hash, because that file is what the image installs.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
EXTRAS = ("archive",)
"""What the lock file has beside what is always needed, as `make lock` resolves it."""
OUTPUT = ROOT / "build" / "sbom.cdx.json"

Packages = Mapping[tuple[str, str], frozenset[str]]
"""The SHA-256s of a package's files, by its name and version."""

_PINNED = re.compile(
    r"^([\w.-]+)==([^\s;\\]+)[^\n]*\n?((?:[ \t]+--hash=\S+[^\n]*\n?)*)", re.MULTILINE
)
_PROJECT = """\
[project]
name = "kie-gateway"
version = {version}
requires-python = {python}
dependencies = {dependencies}

[tool.uv]
constraint-dependencies = {pins}
"""


class SbomError(Exception):
    """The SBOM is not that of the lock file; the text says where they differ."""


def locked(text: str) -> Packages:
    """Read a lock file as `uv pip compile --generate-hashes` writes it."""
    return {
        (name, version): frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", hashes))
        for name, version, hashes in _PINNED.findall(text)
    }


def described(sbom: Mapping[str, Any]) -> Packages:
    """Read the packages of an SBOM."""
    return {
        (component["name"], component["version"]): frozenset(
            one["content"]
            for reference in component.get("externalReferences", ())
            for one in reference.get("hashes", ())
        )
        for component in sbom["components"]
    }


def compare(lock: Packages, sbom: Packages) -> None:
    """Raise `SbomError` unless both name the same packages, and the SBOM only locked files."""
    apart = sorted(f"{name} {version}" for name, version in lock.keys() ^ sbom.keys())
    unknown = sorted(
        name
        for (name, version) in sbom
        if not sbom[name, version] <= lock.get((name, version), frozenset())
    )
    without = sorted(name for (name, _), hashes in sbom.items() if not hashes)
    for what, names in (("in one only", apart), ("other files", unknown), ("no hash", without)):
        if names:
            message = f"the SBOM and {LOCK.name} differ, {what}: {', '.join(names)}"
            raise SbomError(message)


def made(lock: Packages) -> dict[str, Any]:
    """Have uv describe the project with the lock's versions; raises `SbomError`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *(one for extra in EXTRAS for one in extras[extra])]
    pins = [f"{name}=={version}" for name, version in lock]
    filled = _PROJECT.format(
        version=json.dumps(project["version"]),
        python=json.dumps(project["requires-python"]),
        dependencies=json.dumps(needed),
        pins=json.dumps(pins),
    )
    with tempfile.TemporaryDirectory(prefix="kie-gateway-sbom-") as folder:
        (Path(folder) / "pyproject.toml").write_text(filled, encoding="utf-8")
        _uv(folder, "lock")
        written = _uv(folder, "export", "--frozen", "--preview", "--format", "cyclonedx1.5")
    found: dict[str, Any] = json.loads(written)
    return found


def _uv(folder: str, *arguments: str) -> str:
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run(  # noqa: S603  # our own tool
        [uv, *arguments, "--quiet", "--directory", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SbomError(done.stderr.strip())
    return done.stdout


def write(target: Path = OUTPUT) -> int:
    """Write the SBOM, and return how many packages it has; raises `SbomError`."""
    lock = locked(LOCK.read_text(encoding="utf-8"))
    sbom = made(lock)
    compare(lock, described(sbom))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(sbom, indent=2) + "\n", encoding="utf-8")
    return len(lock)


def main() -> None:
    target = Path(sys.argv[1]) if sys.argv[1:] else OUTPUT
    try:
        count = write(target)
    except SbomError as error:
        raise SystemExit(str(error)) from None
    sys.stdout.write(f"{target}: {count} packages of {LOCK.name}, each with its hashes\n")


if __name__ == "__main__":
    main()
