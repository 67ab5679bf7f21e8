"""Installs the client with npm: the versions and digests of package-lock.json, nothing newer."""

import shutil
import subprocess
from pathlib import Path

PACKAGE = "@felores/kie-ai-mcp-server"
HERE = Path(__file__).parent
ROOM = HERE.parents[1] / "build" / "compat"
FILES = ("package.json", "package-lock.json")
OLDEST_NODE = 20
"""What the package asks for, and npm would merely warn about."""
COMMAND = ("npm", "ci", "--no-audit", "--no-fund", "--no-update-notifier")
LAST_WORDS = 2000
"""Characters of npm's log that are shown when it fails."""


class NotInstalledError(Exception):
    """The client cannot run here; the text says what is missing."""


def client(room: Path = ROOM) -> list[str]:
    """Give the command that starts the client, installed first; raises `NotInstalledError`."""
    node = _required("node")
    _required("npm")
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)  # noqa: S603  # the one on the path
    require_recent(told.stdout)
    if not is_installed(room):
        _install(room)
    return [node, str(room / "node_modules" / PACKAGE / "dist" / "index.js")]


def require_recent(version: str) -> None:
    """Raise `NotInstalledError` for a node such as `v18.20.4` that is too old."""
    if int(version.strip().removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        message = f"node {OLDEST_NODE} or newer is needed; this is {version.strip()}"
        raise NotInstalledError(message)


def is_installed(room: Path) -> bool:
    """Tell whether npm finished there with the very files that are here now."""
    return (room / "done").exists() and all(
        (room / name).read_bytes() == (HERE / name).read_bytes() for name in FILES
    )


def _required(command: str) -> str:
    found = shutil.which(command)
    if found is None:
        message = f"{command} is not on the path: `make compat` needs node {OLDEST_NODE} and npm"
        raise NotInstalledError(message)
    return found


def _install(room: Path) -> None:
    """Install anew. One dependency, sqlite3, may be compiled for this machine: minutes."""
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(HERE / name, room / name)
    done = subprocess.run(COMMAND, cwd=room, capture_output=True, text=True, check=False)  # noqa: S603  # no input
    if done.returncode:
        message = f"npm could not install the client:\n{(done.stdout + done.stderr)[-LAST_WORDS:]}"
        raise NotInstalledError(message)
    (room / "done").touch()
