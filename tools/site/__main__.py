"""Builds the site into `build/site` and checks it: `python -m tools.site`."""

import subprocess
import sys
import time
from pathlib import Path

from tools.site.check import broken, foreign
from tools.site.configuration import configuration
from tools.site.stage import staged

ROOT = Path(__file__).parents[2]


def built(root: Path, build: Path) -> Path:
    """Build the site of the checkout `root` below `build`; returns where it is."""
    source, site = build / "site-source", build / "site"
    staged(root, source)
    file = build / "zensical.toml"
    file.write_text(configuration(source, site, build), encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--config-file", str(file)]
    subprocess.run(command, cwd=build, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # ours
    return site.resolve()


def main() -> None:
    begun = time.perf_counter()
    site = built(ROOT, ROOT / "build")
    flaws = [f"broken link: {one}" for one in broken(site)]
    flaws += [f"another host: {one}" for one in foreign(site)]
    if flaws:
        sys.exit("\n".join(flaws))
    seconds = time.perf_counter() - begun
    sys.stdout.write(f"{site / 'index.html'}: {seconds:.1f} s, every link leads somewhere\n")


if __name__ == "__main__":
    main()
