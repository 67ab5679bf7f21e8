"""The browser of the tests: Debian's Chromium, driven by playwright, which brings none along."""

import shutil

ARGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]
"""As root, in a container, there is no sandbox; what is opened is our own."""


def program() -> str | None:
    """Return where it is; None: `apt-get install chromium` would bring it."""
    return shutil.which("chromium") or shutil.which("chromium-browser")
