"""What a benchmark found, beside what it should be: a table, and whether all is well."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field


def load() -> str:
    """Tell how busy the machine has been for the last minute: figures suffer from others' work."""
    return f"{os.getloadavg()[0]:.1f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value; `good` is None where nothing is demanded of it."""

    part: str
    name: str
    value: str
    bound: str = ""
    good: bool | None = None
    load: str = field(default_factory=load)


def at_most(part: str, name: str, value: float, bound: float, unit: str = "") -> Figure:
    return Figure(
        part=part,
        name=name,
        value=f"{value:.4g}{unit}",
        bound=f"<= {bound:g}{unit}",
        good=value <= bound,
    )


def at_least(part: str, name: str, value: float, bound: float, unit: str = "") -> Figure:
    return Figure(
        part=part,
        name=name,
        value=f"{value:.4g}{unit}",
        bound=f">= {bound:g}{unit}",
        good=value >= bound,
    )


def table(figures: Iterable[Figure]) -> str:
    """Write the figures below each other; `load` is the machine's when each was taken."""
    verdicts = {True: "ok", False: "MISSED", None: ""}
    head = ("part", "figure", "measured", "bound", "", "load")
    rows = [
        head,
        *((f.part, f.name, f.value, f.bound, verdicts[f.good], f.load) for f in figures),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
