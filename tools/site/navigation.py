"""Which pages the site has, and in which order."""

from collections.abc import Iterator, Mapping
from pathlib import Path

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Start": ("index.md", "tour.md", "glossary.md"),
    "Call it": (
        *("calling.md", "client.md", "receiving.md", "api.md", "states.md", "errors.md"),
        *("uploads.md", "migrating.md", "compat.md"),
    ),
    "Run it": (
        *("deploying.md", "kubernetes.md", "running.md"),
        *(
            "settings.md",
            "commands.md",
            "operating.md",
            "metrics.md",
            "spending.md",
        ),
        *("retention.md", "archive.md", "leaks.md", "threat-model.md", "SECURITY.md"),
        "CHANGELOG.md",
    ),
    "Change it": (
        *("CONTRIBUTING.md", "architecture.md", "promises.md", "simulator.md", "performance.md"),
        *("attacks.md", "fault-report.md", "database-events.md", "releasing.md"),
    ),
}
"""The pages that have a place; a new page that is not here comes last, under `More`."""

DECISIONS = "decisions"
"""The folder of the decisions, which are listed by number on a page of their own."""


def sections(source: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each section with those of its pages that are in `source`."""
    pages = {page.relative_to(source).as_posix() for page in source.rglob("*.md")}
    placed = {page for listed in SECTIONS.values() for page in listed}
    for title, listed in SECTIONS.items():
        yield title, [page for page in listed if page in pages]
    decisions = sorted(page for page in pages if page.startswith(f"{DECISIONS}/"))
    index = f"{DECISIONS}/index.md"
    yield "Decisions", [index, *(page for page in decisions if page != index)]
    more = sorted(pages - placed - set(decisions))
    if more:
        yield "More", more
