"""What the image's files are, what may not be among them, and whether any has changed."""

import hashlib
import re
import stat
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from tests.image.context import ROOT

UNWANTED = re.compile(
    r"(^|/)(\.git|\.env|\.venv|\.cache|\.ssh|docs|tests?|benchmarks|Dockerfile|Makefile"
    r"|\.(mypy|ruff|pytest)_cache|\.hypothesis|id_(rsa|ed25519))(/|$)"
    r"|\.(env|key|p12|lock|orig|rej)$"
)
CERTIFICATES = "certifi/cacert.pem"
"""The one .pem file: public certificates."""
UNCHECKED_HASH = 1
"""Of a bytecode file: it is believed without a look at its source."""
LOCKED = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_symlink() or path.is_file())


def size(paths: list[Path]) -> int:
    return sum(path.lstat().st_size for path in paths)


def largest(root: Path, count: int) -> list[tuple[str, int]]:
    """Return the directories with most bytes: packages by name, all else by its first levels."""
    sizes: Counter[str] = Counter()
    for path in files(root):
        name = path.relative_to(root).as_posix()
        head, packages, rest = name.partition("/site-packages/")
        place = packages.strip("/") + "/" + rest.split("/")[0] if packages else head
        sizes[place] += path.lstat().st_size
    return sizes.most_common(count)


def unwanted(root: Path) -> Iterator[str]:
    """Yield what does not belong into the image."""
    for path in files(root):
        name = path.relative_to(root).as_posix()
        if UNWANTED.search(name) or (name.endswith(".pem") and not name.endswith(CERTIFICATES)):
            yield name


def strangers(site_packages: Path) -> set[str]:
    """Return the distributions that are neither the project nor locked at this version."""
    present = {
        (_canonical(found.name), found.version)
        for found in metadata.distributions(path=[str(site_packages)])
    }
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {(_canonical(name), version) for name, version in LOCKED.findall(lock)}
    ours = ("kie-gateway", metadata.version("kie-gateway"))
    missing = {ours} - present
    return {f"{name}=={version}" for name, version in (present - locked - {ours}) | missing}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def uncompiled(root: Path) -> Iterator[str]:
    """Yield the modules whose bytecode is missing, or would be looked after at each start."""
    for path in root.rglob("*.py"):
        found = list((path.parent / "__pycache__").glob(f"{path.stem}.cpython-*.pyc"))
        flags = [int.from_bytes(code.read_bytes()[4:8], "little") for code in found]
        if flags != [UNCHECKED_HASH]:
            yield path.relative_to(root).as_posix()


def state(root: Path) -> dict[str, tuple[int, int, str]]:
    """Return every path's mode, time and content, to be compared."""
    return {
        path.relative_to(root).as_posix(): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            _content(path),
        )
        for path in [root, *root.rglob("*")]
    }


def _content(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def make_read_only(root: Path) -> None:
    """Take the right to write from everyone; the tree belongs to whoever built it."""
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)


def make_writable(root: Path) -> None:
    """Let its owner write again, so that it can be removed."""
    for path in [root, *root.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IWUSR)
