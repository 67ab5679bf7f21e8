"""The figures as a table: each row says what it compares, and how far it should come. Pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Figures = Mapping[str, float]
Measured = Mapping[str, Figures]
"""By operation."""

KEPT = Path(__file__).with_name("figures.json")
PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """Everything that was measured in one run."""

    found: Mapping[str, Measured]
    """By subject."""
    skipped: Mapping[str, str]
    """Why, by subject."""
    postgres: str
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A figure of the gateway beside another one."""

    name: str
    operation: str
    figure: str
    unit: str = " ms"
    of: str = "gateway"
    base: str = "floor"
    """Whose figure stands beside it; empty: nobody's."""
    ratio: bool = True
    """Whether the goals are ratios to that, or plain values."""
    reach: float | None = None
    moonshot: float | None = None


ROWS = (
    Row(name="`/livez`, CPU", operation="livez", figure="cpu"),
    Row(name="GET one task, CPU", operation="read", figure="cpu", reach=5, moonshot=3),
    Row(name="… p95", operation="read", figure="p95"),
    Row(name="durable create at 50/s, CPU", operation="create", figure="cpu", reach=9, moonshot=5),
    Row(
        name="… SQL statements",
        operation="create",
        figure="statements",
        unit="",
        ratio=False,
        reach=16,
    ),
    Row(
        name="… transactions that write",
        operation="create",
        figure="transactions",
        unit="",
        ratio=False,
        reach=3,
    ),
    Row(name="… CPU of PostgreSQL", operation="create", figure="postgres_cpu"),
    Row(
        name="… p95 added to the upstream's answer",
        operation="create",
        figure="added_p95",
        ratio=False,
        reach=8,
    ),
    Row(
        name="callback in, settled, webhook out at 200/s, CPU",
        operation="callback",
        figure="cpu",
        reach=12,
        moonshot=8,
    ),
    Row(
        name="… SQL statements",
        operation="callback",
        figure="statements",
        unit="",
        ratio=False,
        reach=12,
    ),
    Row(name="… CPU of PostgreSQL", operation="callback", figure="postgres_cpu"),
    Row(
        name="… p95 from callback to webhook",
        operation="callback",
        figure="webhook_p95",
        base="",
        ratio=False,
        reach=50,
    ),
    Row(name="… with `before`, CPU", operation="callback", figure="cpu", of="confirm-before"),
    Row(
        name="… with `before`, p95 to webhook",
        operation="callback",
        figure="webhook_p95",
        of="confirm-before",
        base="",
    ),
    Row(name="… with HMAC and `after`, CPU", operation="callback", figure="cpu", of="hmac-after"),
    Row(
        name="… with HMAC and `after`, p95 to webhook",
        operation="callback",
        figure="webhook_p95",
        of="hmac-after",
        base="",
    ),
    Row(
        name="idle process, SQL per second",
        operation="idle",
        figure="statements_per_second",
        unit="",
        base="",
        ratio=False,
        reach=3,
    ),
    Row(
        name="… CPU",
        operation="idle",
        figure="cpu_percent",
        unit=" %",
        base="",
        ratio=False,
        reach=0.3,
    ),
    Row(
        name="memory of `serve` that idles",
        operation="idle",
        figure="memory",
        unit=" MB",
        base="",
        ratio=False,
        reach=90,
    ),
    Row(
        name="PostgreSQL's time per create, limit 10,000 beside 20",
        operation="create",
        figure="postgres_time",
        of="limit-10000",
        base="limit-20",
        reach=1.3,
    ),
    Row(
        name="create, CPU, beside a bare FastAPI + httpx forwarder",
        operation="create",
        figure="cpu",
        base="forwarder",
        reach=1.2,
        moonshot=1,
    ),
    Row(
        name="create, CPU, beside LiteLLM's pass-through",
        operation="create",
        figure="cpu",
        base="litellm",
        reach=1 / 3,
    ),
)

Cells = tuple[str, ...]
Side = Literal["before", "after"]


def cells(row: Row, found: Mapping[str, Measured]) -> Cells | None:
    """Return base, gateway, ratio and whether it is reached; None: it was not measured."""
    ours = _figure(found, row.of, row)
    if ours is None:
        return None
    base = _figure(found, row.base, row)
    ratio = ours / base if base else None
    compared = ratio if row.ratio else ours
    return (
        _written(base, row.unit),
        _written(ours, row.unit),
        _written(ratio, " x"),
        _verdict(row, compared),
    )


def _figure(found: Mapping[str, Measured], subject: str, row: Row) -> float | None:
    return found.get(subject, {}).get(row.operation, {}).get(row.figure)


def _verdict(row: Row, compared: float | None) -> str:
    if compared is None or row.reach is None:
        return ""
    if row.moonshot is not None and compared <= row.moonshot:
        return "moonshot"
    return "reached" if compared <= row.reach else "missed"


def _written(value: float | None, unit: str) -> str:
    return "" if value is None else f"{_rounded(value)}{unit}"


def _rounded(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004


def _goal(value: float | None, row: Row) -> str:
    if value is None:
        return ""
    return f"≤ {value:.3g}{' x' if row.ratio else row.unit}"


def _lines(found: Mapping[str, Measured]) -> Iterator[Cells]:
    yield ("", "beside", "gateway", "ratio", "reach", "moonshot", "")
    for row in ROWS:
        made = cells(row, found)
        if made is not None:
            base, ours, ratio, verdict = made
            yield (
                row.name,
                base,
                ours,
                ratio,
                _goal(row.reach, row),
                _goal(row.moonshot, row),
                verdict,
            )


def text(measurements: Measurements) -> str:
    """Write the table for a terminal."""
    lines = list(_lines(measurements.found))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    skipped = [f"skipped: {name}: {why}" for name, why in measurements.skipped.items()]
    return "\n".join([*rows, *skipped])


def short(figures: Figures) -> str:
    """Write one run's figures in a line."""
    return ", ".join(f"{name} {_rounded(value)}" for name, value in figures.items())


def keep(side: Side, measurements: Measurements) -> None:
    """Keep the figures of one side for docs/performance.md; those of other subjects stay."""
    kept: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    one = kept.setdefault(side, {"found": {}, "skipped": {}})
    new = asdict(measurements)
    one["found"] |= new.pop("found")
    one |= new
    KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    head, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n\n{table(kept)}\n\n{END}{tail}")


def table(kept: Mapping[str, Any]) -> str:
    """Write before and after beside each other, in Markdown."""
    lines: list[Cells] = [("", "beside", "before", "", "after", "", "reach", "moonshot", "")]
    for row in ROWS:
        before = cells(row, kept.get("before", {}).get("found", {}))
        after = cells(row, kept.get("after", {}).get("found", {}))
        if before is None and after is None:
            continue
        base, ours, ratio, verdict = after or ("", "", "", "")
        was = before or ("", "", "", "")
        goals = _goal(row.reach, row), _goal(row.moonshot, row)
        lines.append((row.name, base or was[0], was[1], was[2], ours, ratio, *goals, verdict))
    lines.insert(1, ("---", *["--:"] * 7, "---"))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
