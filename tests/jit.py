"""Runs the tests of the store and of admission where JIT is on and nothing was ever analyzed.

PostgreSQL compiles large statements by default, and the embedded server cannot: `python -m
tests.jit` starts Debian's 15, which can. A statement that is compiled takes many times as long,
and plans without statistics are not those of a database that has been at work.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests import postgres
from tests.conftest import GIVEN

ROOT = Path(__file__).parents[1]
SETTINGS = {"jit": "on", "jit_above_cost": "1000", "autovacuum": "off"}
TESTS = ("tests/store", "tests/services/account", "tests/services/tasks/test_submit.py")
NEEDED = "left out: PostgreSQL 15 with JIT is not here (Debian's package: postgresql-15)"


def main() -> int:
    if not (postgres.DEBIAN / "postgres").exists():
        sys.stdout.write(f"{NEEDED}\n")
        return 0
    with postgres.servers(postgres.DEBIAN) as make:
        server = make.new(**SETTINGS)
        assert server.fetch("SELECT pg_jit_available()"), NEEDED
        return subprocess.run(  # noqa: S603  # our own tools
            [sys.executable, "-m", "pytest", "-q", "-n", "2", "-m", "not long", *TESTS],
            cwd=ROOT,
            env={**os.environ, GIVEN: server.dsn},
            check=False,
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
