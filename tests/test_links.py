"""The pages name files that exist: a move in the code has to reach the documents too."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("clients/**/*.md"))
HISTORY = {"CHANGELOG.md"}
"""Pages that may name what is gone."""
FOLDERS = "app|benchmarks|clients|deploy|docs|migrations|simulator|tests"
NAMED = re.compile(rf"`((?:{FOLDERS})/[\w./*-]*)(?:::\w+)?`")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def text(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def missing_paths(page: Path) -> Iterator[str]:
    for path in NAMED.findall(text(page)):
        if not any(ROOT.glob(path.rstrip("/"))):
            yield f"{page.relative_to(ROOT)}: {path}"


def missing_links(page: Path) -> Iterator[str]:
    for target in LINK.findall(text(page)):
        if not (page.parent / target).exists():
            yield f"{page.relative_to(ROOT)}: {target}"


def test_the_paths_that_pages_name_exist() -> None:
    assert [one for page in PAGES if page.name not in HISTORY for one in missing_paths(page)] == []


def test_the_links_between_pages_lead_somewhere() -> None:
    assert [one for page in PAGES for one in missing_links(page)] == []


def test_each_decision_names_what_enforces_it() -> None:
    decisions = sorted(ROOT.glob("docs/decisions/*.md"))
    numbers = [int(page.name.partition("-")[0]) for page in decisions]
    assert numbers == list(range(1, len(decisions) + 1))
    parts = ("**Context.**", "**Decision.**", "**Consequences.**", "**Alternatives.**")
    for number, page in zip(numbers, decisions, strict=True):
        said = page.read_text(encoding="utf-8")
        assert said.startswith(f"# {number}. "), page.name
        assert [part for part in (*parts, "**Enforced by**") if part not in said] == [], page.name


def test_the_architecture_names_every_package() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    packages = {path.parent.name for path in ROOT.glob("app/**/__init__.py")}
    modules = {path.stem for path in ROOT.glob("app/[!_]*.py")}
    assert {name for name in packages | modules if not re.search(rf"\b{name}\b", page)} == set()
