"""The rules of the house that no linter knows."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 400
"""Lines of a file: what is longer has two subjects."""
MAY_SLEEP = {
    "tests/stage.py": "patience: it looks again until there is something to see",
}
"""Tests wait for conditions, never for a time; these few are how they wait."""
SLEEPS = re.compile(r"(?<!\w)sleep\(")
REMARK = re.compile(r'"{3}.*?"{3}|#[^\n]*', re.DOTALL)
MACHINE_PATH = re.compile(r"(?<![\w./:-])(?:/home/|/root/|/work/|/Users/|/tmp/pytest|[A-Z]:\\)")


def files(*patterns: str) -> list[str]:
    found = {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}
    return sorted(str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts)


SOURCES = files("app/**/*.py")
TESTS = files("tests/**/*.py")
DOCUMENTS = files(
    "*.md", "docs/**/*.md", "Makefile", "alembic.ini", "docker-compose.yml", "Dockerfile", "*.env*"
)


def lines(name: str) -> list[str]:
    return (ROOT / name).read_text(encoding="utf-8").splitlines()


def found(pattern: re.Pattern[str], name: str) -> Iterator[str]:
    for number, line in enumerate(lines(name), start=1):
        if pattern.search(line):
            yield f"{name}:{number}: {line.strip()}"


def test_there_is_something_to_look_at() -> None:
    assert {"app/main.py", "app/store/signals.py"} <= set(SOURCES)
    assert {"tests/conftest.py", "tests/test_house.py"} <= set(TESTS)
    assert "README.md" in DOCUMENTS


def test_the_rooms_import_each_other_only_as_the_contracts_allow() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(  # noqa: S603  # our own tool, no input
        [lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_has_one_subject(name: str) -> None:
    assert len(lines(name)) <= LONGEST


def test_only_signals_notify_and_never_within_a_transaction() -> None:
    pattern = re.compile(r"pg_notify|\bNOTIFY\s+\w", re.IGNORECASE)
    speakers = {name for name in SOURCES for _ in found(re.compile("pg_notify"), name)}
    assert speakers == {"app/store/signals.py"}
    for name in set(files("migrations/**/*.py")) | (set(SOURCES) - speakers):
        code = REMARK.sub("", (ROOT / name).read_text(encoding="utf-8"))
        assert not pattern.search(code), name


@pytest.mark.parametrize("name", [name for name in TESTS if name not in MAY_SLEEP])
def test_a_test_waits_for_what_it_wants_to_see(name: str) -> None:
    assert list(found(SLEEPS, name)) == []


@pytest.mark.parametrize("name", MAY_SLEEP)
def test_a_leave_to_sleep_that_is_not_used_goes(name: str) -> None:
    assert list(found(SLEEPS, name))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_names_no_path_of_one_machine(name: str) -> None:
    assert list(found(MACHINE_PATH, name)) == []


@pytest.mark.parametrize("path", ["/home/me/x", "see /root/.cache", "`/Users/me`", "C:\\temp"])
def test_paths_of_one_machine_are_recognised(path: str) -> None:
    assert MACHINE_PATH.search(path)
    assert not MACHINE_PATH.search("https://a.test/work/1 app/home/x ./root/y GET /v1/tasks")


@pytest.mark.parametrize("name", SOURCES)
def test_a_module_says_what_it_is_for(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8").lstrip().startswith('"""')
