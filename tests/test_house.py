"""The rules of the house that no linter knows."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import house

ROOT = Path(__file__).parents[1]
LONGEST = 400
"""Lines of a file: what is longer has two subjects."""
MAY_SLEEP = {
    "tests/attacks/attack.py": "attackers and those who look on do things at a pace",
    "tests/leash.py": "it waits until what it ended is gone",
    "tests/postgres.py": "the same, where it blocks",
    "tests/stage.py": "patience: it looks again until there is something to see",
    "tests/outbound/emulators.py": "patience, where it blocks: an emulator is another program",
    "tests/outbound/stage.py": "a receiver's own pace is what some tests are about",
    "tests/services/test_statement_budget.py": "for no time: it lets the loop have a round",
    "tests/processes/test_uploads.py": "the same, of a sender",
}
"""Tests wait for conditions, never for a time; these few are how they wait."""
SLEEPS = re.compile(r"(?<!\w)sleep\(")
REMARK = re.compile(r'"{3}.*?"{3}|#[^\n]*', re.DOTALL)
MACHINE_PATH = re.compile(r"(?<![\w./:-])(?:/home/|/root/|/work/|/Users/|/tmp/pytest|[A-Z]:\\)")


def files(*patterns: str) -> list[str]:
    found = {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}
    return sorted(str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts)


SOURCES = files("app/**/*.py", "clients/**/*.py")
TESTS = files("tests/**/*.py")
DOCUMENTS = files(
    "*.md", "docs/**/*.md", "Makefile", "alembic.ini", "docker-compose.yml", "Dockerfile", "*.env*"
)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def lines(name: str) -> list[str]:
    return text(name).splitlines()


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


def test_a_file_has_one_subject() -> None:
    assert [name for name in SOURCES if len(lines(name)) > LONGEST] == []


def test_only_signals_notify_and_never_within_a_transaction() -> None:
    pattern = re.compile(r"pg_notify|\bNOTIFY\s+\w", re.IGNORECASE)
    speakers = {name for name in SOURCES for _ in found(re.compile("pg_notify"), name)}
    assert speakers == {"app/store/signals.py"}
    for name in set(files("migrations/**/*.py")) | (set(SOURCES) - speakers):
        code = REMARK.sub("", text(name))
        assert not pattern.search(code), name


def test_a_test_waits_for_what_it_wants_to_see() -> None:
    tests = (name for name in TESTS if name not in MAY_SLEEP)
    assert [line for name in tests for line in found(SLEEPS, name)] == []


def test_a_leave_to_sleep_that_is_not_used_goes() -> None:
    assert [name for name in MAY_SLEEP if not list(found(SLEEPS, name))] == []


def test_a_document_names_no_path_of_one_machine() -> None:
    assert [line for name in DOCUMENTS for line in found(MACHINE_PATH, name)] == []


@pytest.mark.parametrize("path", ["/home/me/x", "see /root/.cache", "`/Users/me`", "C:\\temp"])
def test_paths_of_one_machine_are_recognised(path: str) -> None:
    assert MACHINE_PATH.search(path)
    assert not MACHINE_PATH.search("https://a.test/work/1 app/home/x ./root/y GET /v1/tasks")


def test_a_module_says_what_it_is_for() -> None:
    assert [name for name in SOURCES if not text(name).lstrip().startswith('"""')] == []


def test_the_measures_are_taken_of_any_checkout(tmp_path: Path) -> None:
    (tmp_path / "app" / "store").mkdir(parents=True)
    long = "class Box:\n    def __init__(self, a, b, c, d, e, f, g, h):\n" + "        x()\n" * 40
    (tmp_path / "app" / "store" / "box.py").write_text(f"{long}        self.signals.announce(1)\n")
    code = house.Code.of(tmp_path)
    assert house.crowded(code) == [("app/store/box.py Box", 8)]
    assert house.woken(code) == [("app/store/box.py", 1)]
    assert [house.length(function) for _, function in code.functions()] == [42]


def test_those_who_reach_each_other_are_a_cycle() -> None:
    found = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}
    assert house.cycles(found) == [["b", "c"]]


def test_this_checkout_is_measured_whole() -> None:
    measured = dict(house.rows(ROOT))
    assert measured["app.store: arrows"].isdecimal()
    assert f"{len(SOURCES)} /" not in measured["files / lines"]  # the simulator is measured too
